"""Which policy: one of ours by its name, or a checkpoint of one's own with what vLLM must be told of it."""

from __future__ import annotations

import os
from dataclasses import KW_ONLY, dataclass, fields
from pathlib import Path
from typing import Any

from harness.errors import ConfigError
from harness.policy import hub

HUB_NAMES = tuple(hub.HUB)
BUNDLED = ("micro", "micro_search")  # they come with the harness
POLICIES = (*BUNDLED, "smollm2_135m", "smollm2_135m_raw", *HUB_NAMES)
DTYPES = ("float32", "bfloat16")
OWN = ("tool_parser", "chat_template", "max_model_len", "dtype")


@dataclass(frozen=True)
class PolicySource:
    """name: one of POLICIES; of a checkpoint of one's own, what it is called: the folder's name where none is given.

    path: a checkpoint folder; hub: OWNER/MODEL of the Hugging Face hub, OWNER/MODEL@REVISION for one that is pinned
    The rest belongs to path and hub, and has vLLM's names and meanings:
    tool_parser: --tool-call-parser; chat_template: a file, or `qwen` for ours; None: the checkpoint's own
    max_model_len: tokens, None: what the model was made for; dtype: None: as the checkpoint says
    """

    name: str | None = None
    _: KW_ONLY
    path: str | None = None
    hub: str | None = None
    tool_parser: str | None = None
    chat_template: str | None = None
    max_model_len: int | None = None
    dtype: str | None = None

    @property
    def is_own(self) -> bool:
        return bool(self.path or self.hub)

    def __post_init__(self) -> None:
        if self.path and self.hub:
            raise ConfigError(f"policy.path is {self.path} and policy.hub is {self.hub}; give one of them.")
        if self.is_own:
            self._check_own()
            return
        if not self.name:
            raise ConfigError(
                "Which policy? Give policy.path=FOLDER or policy.hub=OWNER/MODEL, or choose policy=micro."
            )
        if given := [name for name in OWN if getattr(self, name) is not None]:
            raise ConfigError(
                f"policy.{given[0]} is given with policy={self.name}, which has its own. It belongs to "
                "policy.path=FOLDER or policy.hub=OWNER/MODEL."
            )

    def _check_own(self) -> None:
        if self.hub and self.hub.count("/") != 1:
            raise ConfigError(f"policy.hub is {self.hub!r}; expected OWNER/MODEL, e.g. Qwen/Qwen3-0.6B.")
        if self.path:
            self._set("path", os.path.abspath(os.path.expanduser(self.path)))
        if self.name is None or self.name in POLICIES:  # the latter: path over a policy that the group names
            self._set("name", Path(self.path).name if self.path else str(self.hub).split("/")[1].partition("@")[0])
        if self.max_model_len is not None and self.max_model_len <= 0:
            raise ConfigError(f"policy.max_model_len is {self.max_model_len}; expected a number of tokens above 0.")
        if self.dtype is not None and self.dtype not in DTYPES:
            raise ConfigError(f"policy.dtype is {self.dtype!r}; expected {' or '.join(DTYPES)}.")
        if self.chat_template and self.chat_template != "qwen":
            self._set("chat_template", os.path.abspath(os.path.expanduser(self.chat_template)))

    def _set(self, field: str, value: Any) -> None:
        object.__setattr__(self, field, value)

    def plain(self) -> dict[str, Any]:
        """What is given, by field; paths are absolute."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}
