"""Fetches models of the Hugging Face hub; those of Qwen's that have a name here are made ready for the harness.

A model comes into the hub's own cache, those that have a name here at a pinned revision. What transformers and vLLM
read of these is a folder of links to it, in the user's cache, with a chat template of ours (`qwen.jinja`): Qwen's
templates show a tool call that ART tokenises twice.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import ConfigError, SetupError
from harness.machine.environments import check_disk

COMMAND = "python -m harness policy fetch"
TEMPLATE = Path(__file__).with_name("qwen.jinja")
REVISION = 1  # of what this file and the template make of a model: raise it with a change
SENTINELS = 16  # tokens that the template knows as ART's; see `sentinels`
PATTERNS = ("*.json", "*.safetensors", "*.jinja", "merges.txt")
OURS = ("chat_template.jinja", "tokenizer_config.json")


@dataclass(frozen=True)
class HubModel:
    """A repository of the hub at one commit. gib: of its weights, 0 where that is not known beforehand;
    max_model_len: tokens that the server admits."""

    repository: str
    revision: str
    gib: float = 0.0
    max_model_len: int = 32768
    tool_parser: str = "hermes"
    dtype: str = "bfloat16"


HUB: dict[str, HubModel] = {
    "qwen2_5_7b": HubModel("Qwen/Qwen2.5-7B-Instruct", "a09a35458c702b33eeacc393d103063234e8bc28", 14.2),
    "qwen2_5_14b": HubModel("Qwen/Qwen2.5-14B-Instruct", "cf98f3b3bbb457ad9e2bb7baf9a0125b6b88caa8", 27.5),
    "qwen3_4b": HubModel("Qwen/Qwen3-4B-Instruct-2507", "cdbee75f17c01a7cc42f958dc650907174af0554", 7.5),
}


def cache() -> Path:
    """Where folders that are made of checkpoints lie."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ablation-harness"


def checkpoint(name: str) -> Path:
    """Where the folder of a policy lies, made or not."""
    return cache() / f"{name}-{HUB[name].revision[:12]}.{REVISION}"


def any_model(given: str) -> HubModel:
    """OWNER/MODEL, or OWNER/MODEL@REVISION."""
    repository, _, revision = given.partition("@")
    return HubModel(repository, revision or "main")


def snapshot(given: str) -> Path:
    """The fetched snapshot of OWNER/MODEL[@REVISION]. Raises ConfigError with the command that fetches it."""
    if (there := _fetched(any_model(given))) is None:
        raise ConfigError(f"policy.hub={given} is not on this machine. Where there is a network: {COMMAND} {given}")
    return there


def find(name: str) -> Path:
    """The folder of a policy that was made ready. Raises ConfigError when it was not, or its weights are gone."""
    folder = checkpoint(name)
    if not folder.is_dir():
        raise ConfigError(
            f"policy={name} is not on this machine; expected it in {folder}. Fetch {HUB[name].repository} "
            f"({HUB[name].gib:g} GiB): {COMMAND} {name}"
        )
    broken = sorted(file.name for file in folder.iterdir() if not file.exists())
    if broken:
        raise ConfigError(
            f"{folder} links to files that are gone from the hub's cache: {', '.join(broken)}. "
            f"Remove that folder and fetch them again: {COMMAND} {name}"
        )
    return folder


def digest(folder: Path) -> str:
    """Of a folder's content without reading the weights: the hub's cache names a large file by its SHA-256.

    Weights that are no link into such a cache are read, which takes a minute for 30 GB.
    """
    total = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        total.update(fingerprint(file))
    return total.hexdigest()[:16]


def fingerprint(file: Path) -> bytes:
    """Of a file's name and content; see `digest`."""
    target = file.resolve()
    if file.suffix == ".safetensors" and target.parent.name == "blobs":
        return f"{file.name}\0{target.name}\0".encode()
    with target.open("rb") as content:
        return f"{file.name}\0".encode() + hashlib.file_digest(content, "sha256").digest()


def make(name: str, say: Callable[[str], None]) -> Path:
    """The policy's folder, made if it is not there. Raises SetupError if the model cannot be had."""
    folder = checkpoint(name)
    if folder.is_dir():
        say(f"{find(name)} is there already")
        return folder
    here = fetch(HUB[name], say)
    make_view(folder, here.iterdir(), here, qwen_template(here))
    say(f"{folder} is ready")
    return folder


def fetch(model: HubModel, say: Callable[[str], None]) -> Path:
    """The snapshot in the hub's cache, downloaded where it is not complete. Raises SetupError if it cannot be had."""
    from huggingface_hub import constants, snapshot_download

    if (there := _fetched(model)) is not None:
        return there
    check_disk(Path(constants.HF_HUB_CACHE), model.gib + 1)
    size = f" ({model.gib:g} GiB)" if model.gib else ""
    say(f"downloading {model.repository}@{model.revision[:12]}{size} into {constants.HF_HUB_CACHE}")
    try:
        return Path(snapshot_download(model.repository, revision=model.revision, allow_patterns=list(PATTERNS)))
    except Exception as error:
        raise SetupError(
            f"{model.repository} could not be downloaded: {type(error).__name__}: {str(error).splitlines()[0]}\n"
            "Check the network, HF_HUB_OFFLINE (must be unset) and HF_TOKEN if a mirror asks for one; or copy a "
            f"machine's hub cache that has it and set HF_HUB_CACHE. Then run the same command again."
        ) from None


def _fetched(model: HubModel) -> Path | None:
    """The whole snapshot in the hub's cache; None where it is not there."""
    from huggingface_hub import snapshot_download

    try:
        here = Path(snapshot_download(model.repository, revision=model.revision, local_files_only=True))
    except Exception:
        return None  # the hub has a dozen errors for "not there"; what matters is said by who asks
    return here if is_complete(here) else None


def is_complete(snapshot: Path) -> bool:
    """Whether all files that a model needs are there: an interrupted download leaves some out."""
    names = ("config.json", "tokenizer.json", "tokenizer_config.json")
    return all((snapshot / name).is_file() for name in names) and not missing_weights(snapshot)


def missing_weights(folder: Path) -> list[str]:
    """Files of weights that should be in a checkpoint folder and are not."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    else:
        names = ["model.safetensors"]
    return [name for name in names if not (folder / name).is_file()]


def make_view(folder: Path, files: Iterable[Path], origin: Path, chat_template: str) -> Path:
    """Makes `folder`: links to these files of a checkpoint, `origin`, with another chat template. Whole or not at all;
    one that is there is replaced."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        for file in files:
            if file.is_file() and file.name not in OURS:
                (made / file.name).symlink_to(file.resolve())
        settings = json.loads((origin / "tokenizer_config.json").read_text(encoding="utf-8"))
        settings.pop("chat_template", None)
        (made / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        (made / "chat_template.jinja").write_text(chat_template, encoding="utf-8")
        if folder.is_dir():
            folder.rename(Path(scratch) / "before")
        try:
            made.rename(folder)
        except OSError:  # another process was faster, with the same files
            if not folder.is_dir():
                raise
    return folder


def qwen_template(folder: Path) -> str:
    """Our template for the format of Qwen2.5 and Qwen3, with the sentinels of this folder's tokenizer."""
    from transformers import AutoTokenizer

    known = json.dumps(sentinels(AutoTokenizer.from_pretrained(folder)), ensure_ascii=False)
    return TEMPLATE.read_text(encoding="utf-8").replace("SENTINELS", known)


def sentinels(tokenizer: Any) -> list[str]:
    """The texts that ART may stand for a trained turn: of the highest ids below `vocab_size` (ART takes the highest
    that the conversation lacks), from the top.

    Raises ConfigError if one of them does not stay one token in a turn: ART could not find it again.
    """
    tokens = []
    for token in range(tokenizer.vocab_size - 1, tokenizer.vocab_size - 1 - SENTINELS, -1):
        text = tokenizer.decode([token])
        turn = tokenizer.encode(f"<|im_start|>assistant\n{text}<|im_end|>\n", add_special_tokens=False)
        if turn.count(token) == 1:
            tokens.append(text)
        elif not tokens:
            raise ConfigError(f"Token {token} ({text!r}) does not survive in a turn; ART cannot train this model.")
    return tokens
