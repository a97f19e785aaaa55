"""A checkpoint of one's own: found, checked file by file, and described as the engine needs it.

Reads no weights but for their digest. What vLLM or ART would stumble over minutes later is refused here.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import ConfigError
from harness.machine.environments import server_env
from harness.policy import hub, template
from harness.policy.source import DTYPES, PolicySource

READ = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")  # what transformers and vLLM read of a folder
USUAL = "hermes (Qwen2.5, Qwen3), llama3_json, mistral"


def folder_of(source: PolicySource) -> Path:
    """The folder that path or hub names. Raises ConfigError when it is not there or lacks a file."""
    if source.hub:
        return _checked_files(hub.snapshot(source.hub), f"policy.hub={source.hub}")
    folder = Path(str(source.path))
    if not folder.is_dir():
        kind = "is a file" if folder.exists() else "does not exist"
        raise ConfigError(f"policy.path={folder} {kind}; expected a checkpoint folder as `save_pretrained` writes it.")
    return _checked_files(folder, f"policy.path={folder}")


def _checked_files(folder: Path, option: str) -> Path:
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise ConfigError(
            f"{option} holds a LoRA adapter alone. Merge it into its base first (peft: `merge_and_unload`), and save "
            "model and tokenizer to one folder."
        )
    names = ["config.json", "tokenizer.json", "tokenizer_config.json"]
    missing = [name for name in names if not (folder / name).is_file()] + hub.missing_weights(folder)
    if not missing:
        return folder
    shown = ", ".join(missing[:4]) + ", …" * (len(missing) > 4)
    other = next((p.name for p in sorted(folder.iterdir()) if p.suffix in (".bin", ".pt", ".gguf")), None)
    hint = f" {other} is not read: save the model as safetensors." if other and "model.safetensors" in missing else ""
    raise ConfigError(
        f"{option} lacks {shown}.{hint} Expected what `model.save_pretrained` and `tokenizer.save_pretrained` write."
    )


def read_config(folder: Path) -> dict[str, Any]:
    """config.json. Raises ConfigError for what is no text model."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kinds = config.get("architectures") or ["no architecture"]
    if not str(kinds[0]).endswith("ForCausalLM"):
        raise ConfigError(f"{folder}/config.json describes {kinds[0]}; expected a text model, …ForCausalLM.")
    return config


def parser_of(source: PolicySource) -> str:
    """The tool parser. Raises ConfigError where none is named, or the server's vLLM has no such one."""
    known = sorted(_parsers())
    if source.tool_parser is None:
        more = f"; vLLM here knows {', '.join(known)}" if known else ""
        raise ConfigError(
            f"policy.tool_parser is missing: how {source.name} writes a tool call, by vLLM's name: {USUAL}{more}."
        )
    if known and source.tool_parser not in known:
        near = difflib.get_close_matches(source.tool_parser, known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(
            f"policy.tool_parser is {source.tool_parser!r}, which the server's vLLM does not know.{hint} "
            f"It knows {', '.join(known)}."
        )
    return source.tool_parser


def _parsers() -> set[str]:
    """Names that the server's vLLM registers; none where it is not installed yet: then it says so itself."""
    from harness.machine.gpu import gpus  # NVIDIA's bindings; the doctor reads policies before they are there

    given = os.environ.get("HARNESS_VLLM_PYTHON")
    home = Path(given).parent.parent if given else server_env(gpu=bool(gpus()))
    for file in home.glob("lib/python*/site-packages/vllm/tool_parsers/__init__.py"):
        return set(re.findall(r'^ {4}"([\w.-]+)": \(', file.read_text(encoding="utf-8"), re.MULTILINE))
    return set()


def context_of(source: PolicySource, config: dict[str, Any]) -> int:
    """Tokens that the server admits. Raises ConfigError for more than the model was made for."""
    made_for = config.get("max_position_embeddings")
    if source.max_model_len is None:
        if made_for is None:
            raise ConfigError(
                f"config.json of {source.name} states no max_position_embeddings: give policy.max_model_len."
            )
        return int(made_for)
    if made_for is not None and source.max_model_len > made_for:
        raise ConfigError(
            f"policy.max_model_len is {source.max_model_len}, and {source.name} was made for {made_for} tokens "
            "(max_position_embeddings in its config.json). Give no more than that."
        )
    return source.max_model_len


def dtype_of(source: PolicySource, config: dict[str, Any]) -> str:
    """float32 for a checkpoint that is written so, else bfloat16, unless one is given."""
    written = config.get("dtype") or config.get("torch_dtype")
    return source.dtype or (written if written in DTYPES else "bfloat16")


def template_of(source: PolicySource, folder: Path) -> str:
    """The chat template's text. Raises ConfigError where there is none."""
    if source.chat_template == "qwen":
        return hub.qwen_template(folder)
    if source.chat_template:
        file = Path(source.chat_template)
        if not file.is_file():
            raise ConfigError(f"policy.chat_template={file} is no file; expected a Jinja template, or the word qwen.")
        return file.read_text(encoding="utf-8")
    text = template.read(folder)
    if text is None:
        raise ConfigError(
            f"{folder} has no chat template: neither chat_template.jinja nor one in tokenizer_config.json. Give "
            "policy.chat_template=FILE, or policy.chat_template=qwen for the format of Qwen2.5 and Qwen3."
        )
    return text


def digest(folder: Path, chat_template: str) -> str:
    """Of the files that are read and of the template. A second per GB, unless the hub's cache names the weights."""
    total = hashlib.sha256(chat_template.encode())
    for file in _files(folder):
        total.update(hub.fingerprint(file))
    return total.hexdigest()[:16]


def _files(folder: Path) -> Iterator[Path]:
    return (f for f in sorted(folder.iterdir()) if f.is_file() and any(f.match(pattern) for pattern in READ))


def view(folder: Path, name: str, chat_template: str) -> Path:
    """A folder of links to these files with this template in place of theirs, made if it is not there."""
    made = hub.cache() / name
    wanted = {file.name: file for file in _files(folder) if file.name not in hub.OURS}
    if made.is_dir() and all((made / each).resolve() == file.resolve() for each, file in wanted.items()):
        return made
    return hub.make_view(made, wanted.values(), folder, chat_template)
