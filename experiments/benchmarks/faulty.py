"""What faults.py injects where a user's own code may stand: a fix at the seam `update`, and an environment.

The fix `fault` calls the trainer with an option that goes wrong there; on does nothing. Its checks say nothing: what is
asked is what the harness sees.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from harness.env import Conversation, Environment, load_domain
from harness.seams import BATCH, Check, Evidence, Factor

FAULTY_UPDATE = 2  # the update that goes wrong, counted from 1
FOR_EVER = 10_000.0  # seconds

LEVELS = {
    "on": "no fault",
    "off": "no fault, called by another name",
    "nan_loss": "the loss is NaN",
    "infinite_norm": "the loss is finite, the gradient's norm is not",
    "infinite_rate": "loss and gradient are finite, the step is not",
    "out_of_memory": "the trainer asks for more memory than there is",
    "never": "the trainer's thread waits for ever, its process answers",
}
FACTOR = Factor("fault", "what goes wrong in the trainer", LEVELS, (BATCH,), "none: what is asked is what is seen")


class Epsilon(float):
    """An option of the loss that does something where the trainer computes with it."""

    def act(self) -> None:
        raise NotImplementedError

    def __rsub__(self, other: float) -> float:
        self.act()
        return other - float(self)


class OutOfMemory(Epsilon):
    def act(self) -> None:
        torch.empty(1 << 50)


class Never(Epsilon):
    def act(self) -> None:
        time.sleep(FOR_EVER)


OPTIONS: dict[str, dict[str, Any]] = {
    "nan_loss": {"epsilon": float("nan")},
    "infinite_norm": {"epsilon": -1e30, "epsilon_high": 1e30},  # every ratio is clipped to 1e30
    "infinite_rate": {"learning_rate": float("inf")},
    "out_of_memory": {"epsilon": OutOfMemory(1.0)},
    "never": {"epsilon": Never(1.0)},
}


@dataclass(frozen=True)
class On:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "on"
    needs: ClassVar[str] = "always"
    seam: ClassVar[str] = "update"

    calls: list[int] = field(default_factory=list)  # one, once: a run that starts again meets it no more

    def update(self, options: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(1)
        return options | (OPTIONS.get(self.level, {}) if len(self.calls) == FAULTY_UPDATE else {})

    def check(self, evidence: Evidence) -> Check:
        return Check(FACTOR.name, self.level, {}, None, "not shown: nothing is compared")


class Off(On):
    level: ClassVar[str] = "off"


class NanLoss(On):
    level: ClassVar[str] = "nan_loss"


class InfiniteNorm(On):
    level: ClassVar[str] = "infinite_norm"


class InfiniteRate(On):
    level: ClassVar[str] = "infinite_rate"


class NoMemory(On):
    level: ClassVar[str] = "out_of_memory"


class NoAnswer(On):
    level: ClassVar[str] = "never"


CLASSES: tuple[type[On], ...] = (On, Off, NanLoss, InfiniteNorm, InfiniteRate, NoMemory, NoAnswer)


class BrokenConversation:
    def __init__(self, conversation: Conversation, kind: str) -> None:
        self._conversation, self._kind = conversation, kind

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conversation, name)

    def call_tool(self, call_id: str, name: str, arguments: Any) -> str:
        if self._kind == "tool":
            raise OSError("the tool's database is gone")
        return self._conversation.call_tool(call_id, name, arguments)

    async def reply(self, text: str) -> str | None:
        if self._kind == "user":
            raise TimeoutError("the user's service did not answer")
        return await self._conversation.reply(text)


def load(tasks: int, broken: Mapping[str, str]) -> Environment:
    """The environment of `env._target_`: the mock domain, broken in single tasks.

    broken: by task id `tool`, `user` or `task`, what raises
    """
    domain = load_domain("mock", tasks=tasks)
    whole = domain.start

    def start(task_id: str, seed: int = 0) -> Any:
        kind = broken.get(task_id)
        conversation = whole("no-such-task" if kind == "task" else task_id, seed)
        return conversation if kind is None else BrokenConversation(conversation, kind)

    vars(domain)["start"] = start
    return domain
