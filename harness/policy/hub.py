"""Fetches one of Qwen's instruction models and makes it ready for the harness.

A pinned revision comes from the Hugging Face hub into its own cache. What transformers and vLLM read is a folder of
links to it, in the user's cache, with a chat template of ours (`qwen.jinja`): Qwen's templates show a tool call that
ART tokenises twice.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import ConfigError, SetupError
from harness.machine.environments import check_disk

COMMAND = "python -m harness policy fetch"
TEMPLATE = Path(__file__).with_name("qwen.jinja")
REVISION = 1  # of what this file and the template make of a model: raise it with a change
SENTINELS = 16  # tokens that the template knows as ART's; see `sentinels`
PATTERNS = ("*.json", "*.safetensors", "merges.txt")
OURS = ("chat_template.jinja", "tokenizer_config.json")


@dataclass(frozen=True)
class HubModel:
    """A repository of the hub at one commit. gib: of its weights; max_model_len: tokens that the server admits."""

    repository: str
    revision: str
    gib: float
    max_model_len: int = 32768
    tool_parser: str = "hermes"
    dtype: str = "bfloat16"


HUB: dict[str, HubModel] = {
    "qwen2_5_7b": HubModel("Qwen/Qwen2.5-7B-Instruct", "a09a35458c702b33eeacc393d103063234e8bc28", 14.2),
    "qwen2_5_14b": HubModel("Qwen/Qwen2.5-14B-Instruct", "cf98f3b3bbb457ad9e2bb7baf9a0125b6b88caa8", 27.5),
    "qwen3_4b": HubModel("Qwen/Qwen3-4B-Instruct-2507", "cdbee75f17c01a7cc42f958dc650907174af0554", 7.5),
}


def checkpoint(name: str) -> Path:
    """Where the folder of a policy lies, made or not."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "ablation-harness" / f"{name}-{HUB[name].revision[:12]}.{REVISION}"


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
        target = file.resolve()
        if file.suffix == ".safetensors" and target.parent.name == "blobs":
            total.update(f"{file.name}\0{target.name}\0".encode())
        else:
            with target.open("rb") as content:
                total.update(f"{file.name}\0".encode() + hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()[:16]


def make(name: str, say: Callable[[str], None]) -> Path:
    """The policy's folder, made if it is not there. Raises SetupError if the model cannot be had."""
    folder = checkpoint(name)
    if folder.is_dir():
        say(f"{find(name)} is there already")
        return folder
    snapshot = fetch(HUB[name], say)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        made = Path(scratch) / "made"
        link(snapshot, made)
        made.rename(folder)  # whole or not at all
    say(f"{folder} is ready")
    return folder


def fetch(model: HubModel, say: Callable[[str], None]) -> Path:
    """The snapshot in the hub's cache, downloaded where it is not complete. Raises SetupError if it cannot be had."""
    from huggingface_hub import constants, snapshot_download

    wanted = {"repo_id": model.repository, "revision": model.revision, "allow_patterns": list(PATTERNS)}
    try:
        here = Path(snapshot_download(**wanted, local_files_only=True))
    except Exception:
        here = None  # the hub has a dozen errors for "not there"; what matters is said below
    if here is not None and is_complete(here):
        return here
    check_disk(Path(constants.HF_HUB_CACHE), model.gib + 1)
    say(f"downloading {model.repository}@{model.revision[:12]} ({model.gib:g} GiB) into {constants.HF_HUB_CACHE}")
    try:
        return Path(snapshot_download(**wanted))
    except Exception as error:
        raise SetupError(
            f"{model.repository} could not be downloaded: {type(error).__name__}: {str(error).splitlines()[0]}\n"
            "Check the network, HF_HUB_OFFLINE (must be unset) and HF_TOKEN if a mirror asks for one; or copy a "
            f"machine's hub cache that has it and set HF_HUB_CACHE. Then run the same command again."
        ) from None


def is_complete(snapshot: Path) -> bool:
    """Whether all files that a model needs are there: an interrupted download leaves some out."""
    index = snapshot / "model.safetensors.index.json"
    if index.is_file():
        weights = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    else:
        weights = {"model.safetensors"}
    return all(
        (snapshot / name).is_file() for name in ("config.json", "tokenizer.json", "tokenizer_config.json", *weights)
    )


def link(snapshot: Path, folder: Path) -> None:
    """Links to a snapshot's files, with our template for this tokenizer in place of the model's own."""
    from transformers import AutoTokenizer

    folder.mkdir()
    for file in snapshot.iterdir():
        if file.is_file() and file.name not in OURS:
            (folder / file.name).symlink_to(file.resolve())
    settings = json.loads((snapshot / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    known = json.dumps(sentinels(AutoTokenizer.from_pretrained(folder)), ensure_ascii=False)
    template = TEMPLATE.read_text(encoding="utf-8").replace("SENTINELS", known)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


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
