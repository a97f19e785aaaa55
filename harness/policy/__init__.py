"""What is trained: a base checkpoint with its tokenizer and chat template.

    micro/      0.6 M parameters, own tokenizer and template, warm-started on imperfect demonstrations; in this package
    smollm2.py  SmolLM2-135M-Instruct, fetched by `harness policy fetch smollm2_135m_raw` and read through gguf.py
    retail/     its warm start on demonstrations of retail tasks: `python -m experiments.warm_starts.retail`, on a GPU
    hub.py      Qwen's instruction models, fetched by `harness policy fetch NAME`, with a template of ours
    command.py  `harness policy list` and `fetch`

`load_policy(name)` gives a folder that transformers and vLLM read.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ConfigError
from harness.policy import hub, smollm2

__all__ = ["POLICIES", "Policy", "load_policy"]

HUB_NAMES = tuple(hub.HUB)
POLICIES = ("micro", "smollm2_135m", "smollm2_135m_raw", *HUB_NAMES)
MICRO = Path(__file__).parent / "micro" / "checkpoint"


@dataclass(frozen=True)
class Policy:
    """A base model as the engine needs it."""

    name: str  # the name under which it is served
    path: Path  # config.json, model.safetensors, tokenizer.json, tokenizer_config.json, chat_template.jinja
    tool_parser: str  # vLLM's --tool-call-parser
    max_model_len: int  # tokens
    dtype: str
    digest: str  # of the files' content


def load_policy(name: str) -> Policy:
    """The policy of this name. Raises ConfigError for an unknown name or for files that are not there."""
    if name == "micro":
        return Policy(name, MICRO, "hermes", 1024, "float32", digest_files(MICRO))
    if name == "smollm2_135m":
        return _smollm2_warm(name)
    if name == "smollm2_135m_raw":
        return _smollm2_raw(name)
    if name in HUB_NAMES:
        return _from_hub(name)
    raise ConfigError(unknown_policy(name))


def unknown_policy(name: str) -> str:
    near = difflib.get_close_matches(name, POLICIES, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"No policy is called {name!r}.{hint} Valid: {', '.join(POLICIES)}."


def _smollm2_warm(name: str) -> Policy:
    path = smollm2.warm_checkpoint()
    if not path.is_dir():
        raise ConfigError(
            f"policy={name} is not on this machine; expected it in {path}. Make it of the base ({smollm2.COMMAND}):\n"
            "  python -m experiments.warm_starts.retail --out FOLDER     trains it on a GPU, in about 5 minutes\n"
            "  python -m experiments.warm_starts.retail --apply FOLDER   takes what was trained elsewhere\n"
            f"policy={name}_raw is the base alone; it seldom calls a tool."
        )
    context = json.loads((path / "config.json").read_text(encoding="utf-8"))["max_position_embeddings"]
    return Policy(name, path, "hermes", context, "bfloat16", digest_files(path))


def _smollm2_raw(name: str) -> Policy:
    path = smollm2.checkpoint()
    if not path.is_dir():
        raise ConfigError(f"policy={name} is not on this machine; expected it in {path}. Fetch it: {smollm2.COMMAND}")
    return Policy(name, path, "hermes", 8192, "bfloat16", digest_files(path))


def _from_hub(name: str) -> Policy:
    model, path = hub.HUB[name], hub.find(name)
    return Policy(name, path, model.tool_parser, model.max_model_len, model.dtype, hub.digest(path))


def digest_files(folder: Path) -> str:
    """Of all files in a checkpoint folder, names and content. Raises ConfigError without a model in it."""
    if not (folder / "model.safetensors").is_file():
        build = f"python -m experiments.warm_starts.micro --out {folder}"
        raise ConfigError(f"{folder} holds no model.safetensors. Build it: {build}")
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
