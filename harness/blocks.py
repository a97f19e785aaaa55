"""Blocks: a second axis of a sweep. The same arms and seeds at several values of other options, as learning rates.

A block is one value of each of these options. What the runs of a sweep are held together by cannot be one of them: the
tasks, the steps at which they are compared, the protocol of the reference validation, and how and where they are
computed.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import ConfigError

NONE = ""  # the name of the only block of a sweep without blocks
VARIED = ("train", "rollout", "policy", "fix")  # sections with options that may differ between blocks
TASKS = "all blocks have the same tasks"
PROTOCOL = "the reference validation is the same in all blocks"
COMPUTED = "it says how and where a sweep is computed"
IN_A_SENTENCE = "it is one for a sweep"
# Options and sections that are one for a sweep, and why.
ONE: Mapping[str, str] = {
    "train.steps": "all runs are compared at the same steps",
    "train.train_tasks": TASKS,
    "train.val_tasks": TASKS,
    "rollout.max_tokens": PROTOCOL,
    "rollout.max_turns": PROTOCOL,
    "rollout.max_prompt_tokens": PROTOCOL,
    "rollout.players": COMPUTED,
    "env": TASKS,
    "user": TASKS,
    "validation": PROTOCOL,
    "stats": "one margin is chosen before the data",
    "baseline": "off has one meaning",
    "factors": "all blocks compare the same fixes",
    "ablation": "all blocks have arms of the same design",
    "backend": COMPUTED,
    "reuse": COMPUTED,
    "tracking": COMPUTED,
    "results": COMPUTED,
    "sweep": COMPUTED,
    "plan_only": COMPUTED,
    "resume": COMPUTED,
}


@dataclass(frozen=True)
class Block:
    """options: (dotted name, or group, as on the command line; its value), in the order given."""

    options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Block":
        return cls(tuple(options.items()))

    @property
    def as_dict(self) -> dict[str, Any]:
        return dict(self.options)

    @property
    def name(self) -> str:
        """`learning_rate=0.002`, `learning_rate=0.002,loss=ppo`; a plain folder name. NONE without options."""
        last = [option.rpartition(".")[2] for option, _ in self.options]
        names = last if len(set(last)) == len(last) else [option for option, _ in self.options]
        return ",".join(f"{name}={_text(value)}" for name, (_, value) in zip(names, self.options, strict=True))


def _text(value: object) -> str:
    value = int(value) if isinstance(value, float) and value.is_integer() else value  # 1 and 1.0 are one block
    text = {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))
    return re.sub(r"[^\w.+-]", "_", text)


def why_one(option: str) -> str:
    """Why an option or a whole section cannot differ between blocks; empty where it can.

    option: dotted, or the name of a group of options (`train`), of which some may
    """
    section = option.partition(".")[0].partition("/")[0]
    return ONE.get(option) or ONE.get(section) or ("" if section in VARIED else IN_A_SENTENCE)


def refuse_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Raises ConfigError where the configurations of two blocks differ in what is one for a sweep."""
    for option in different(one, other):
        if why := why_one(option):
            raise ConfigError(
                f"{option} cannot differ between the blocks of a sweep: {why}. Give it one value, and start one sweep "
                "per value."
            )


def different(one: Mapping[str, Any], other: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Dotted names of what differs in two nested configurations."""
    for key in dict.fromkeys((*one, *other)):
        left, right = one.get(key), other.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            yield from different(left, right, f"{before}{key}.")
        elif left != right:
            yield before + key


def apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What a nested configuration has otherwise than another, nested as it is; None for what it lacks."""
    out: dict[str, Any] = {}
    for key in dict.fromkeys((*one, *other)):
        value, there = one.get(key), other.get(key)
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            if inner := apart(value, there):
                out[key] = inner
        elif value != there:
            out[key] = value
    return out
