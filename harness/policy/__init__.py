"""What is trained: a base checkpoint with its tokenizer and chat template. Loads; trains nothing.

    source.py   PolicySource: one of ours by its name, or policy.path / policy.hub and what vLLM must be told
    own.py      a checkpoint of one's own: its files checked, its digest
    template.py what a chat template does with tools and tool calls, before vLLM and ART find out
    hub.py      models of the Hugging Face hub; qwen.jinja is the template that Qwen's get
    smollm2.py  SmolLM2-135M-Instruct, which is published as a GGUF
    micro/, micro_search/   0.6 M parameters with a tokenizer and template of their own; in this package
    command.py  `harness policy list` and `fetch`

The warm starts of these two and of smollm2_135m are made by experiments/warm_starts/. No environment, no factor and no
engine is known here. `load_policy(name or source)` says where the files are; `ready(policy)` makes the folder that
transformers and vLLM read.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import ConfigError
from harness.policy import hub, own, smollm2, template
from harness.policy.source import BUNDLED, HUB_NAMES, POLICIES, PolicySource

__all__ = [
    "BUNDLED",
    "HUB_NAMES",
    "POLICIES",
    "Policy",
    "PolicySource",
    "bundled",
    "doubles_calls",
    "load_policy",
    "ready",
    "template_warnings",
]

MICRO = Path(__file__).parent / "micro" / "checkpoint"
MICRO_CONTEXT = 1024  # tokens


@dataclass(frozen=True)
class Policy:
    """A base model as the engine needs it."""

    name: str  # the name under which it is served
    path: Path  # config.json, model.safetensors, tokenizer.json, tokenizer_config.json, chat_template.jinja
    tool_parser: str  # vLLM's --tool-call-parser
    max_model_len: int  # tokens
    dtype: str
    digest: str  # of the files' content
    chat_template: str | None = None  # a text in place of the folder's own, until `ready`


def load_policy(source: str | PolicySource) -> Policy:
    """The policy of this name or source; writes nothing. Raises ConfigError for an unknown name or for files that are
    not there or cannot be used."""
    if isinstance(source, PolicySource) and source.is_own:
        return _own(source)
    name = source if isinstance(source, str) else str(source.name)
    if name in BUNDLED:
        path = bundled(name)
        return Policy(name, path, "hermes", MICRO_CONTEXT, "float32", digest_files(path))
    if name == "smollm2_135m":
        return _smollm2_warm(name)
    if name == "smollm2_135m_raw":
        return _smollm2_raw(name)
    if name in HUB_NAMES:
        return _from_hub(name)
    raise ConfigError(unknown_policy(name))


def bundled(name: str) -> Path:
    """The folder of a policy that comes with the harness."""
    return MICRO.parents[1] / name / "checkpoint"


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


def _own(source: PolicySource) -> Policy:
    folder = own.folder_of(source)
    config, parser = own.read_config(folder), own.parser_of(source)
    context, dtype = own.context_of(source, config), own.dtype_of(source, config)
    text = own.template_of(source, folder)
    digest = own.digest(folder, text)
    return Policy(str(source.name), folder, parser, context, dtype, digest, text if source.chat_template else None)


def ready(policy: Policy) -> Policy:
    """The policy with a folder that holds its template: vLLM and ART read it from there, so both have the same."""
    if policy.chat_template is None:
        return policy
    path = own.view(policy.path, f"own-{policy.digest}", policy.chat_template)
    return replace(policy, path=path, chat_template=None)


def template_warnings(policy: Policy, tools: Sequence[dict[str, Any]]) -> list[str]:
    """Sentences about what the chat template does with these tools. Raises ConfigError; see `template.check`."""
    return template.check(policy.name, _template(policy), policy.path / "tokenizer.json", tools)


def doubles_calls(policy: Policy, tools: Sequence[dict[str, Any]]) -> bool:
    """Whether stock ART would train on this policy's calls twice; see `template.doubles_calls`."""
    return template.doubles_calls(policy.name, _template(policy), tools)


def _template(policy: Policy) -> str:
    return policy.chat_template or template.read(policy.path) or ""


def digest_files(folder: Path) -> str:
    """Of all files in a checkpoint folder, names and content. Raises ConfigError without a model in it."""
    if not (folder / "model.safetensors").is_file():
        build = f"python -m experiments.warm_starts.micro --out {folder}"
        raise ConfigError(f"{folder} holds no model.safetensors. Build it: {build}")
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
