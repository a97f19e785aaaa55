"""An ART project of one's own: its tasks and its rollout function, in the place of an environment.

`env._target_` names a function that returns a `Project`. Its episodes are played by `project_player.py`, which calls
the rollout; a conversation is never started.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from harness.errors import ConfigError

if TYPE_CHECKING:
    import art

Rollout = Callable[["art.Model[Any]", Any], Awaitable["art.Trajectory"]]


@dataclass(frozen=True)
class Project:
    """name: for plans and messages

    rollout: `async (model, task) -> art.Trajectory`, the project's own
    train, validation: the tasks by their ids, in a fixed order; whatever the rollout takes
    tools: the schemas that its requests carry
    version: another one whenever rollout, reward, tools or tasks change: a sweep is not continued with it
    groups: see `TaskGroups`
    Raises ConfigError for an id that is in both.
    """

    name: str
    rollout: Rollout
    train: Mapping[str, Any]
    validation: Mapping[str, Any]
    tools: list[dict[str, Any]]
    version: str
    groups: Mapping[str, str] = field(default_factory=dict)
    system_prompt: str = field(default="", init=False)  # the rollout has its own

    def __post_init__(self) -> None:
        if both := [task for task in self.train if task in self.validation]:
            raise ConfigError(f"Task {both[0]!r} of project {self.name} is in train and validation; expected in one.")

    @property
    def train_ids(self) -> list[str]:
        return list(self.train)

    @property
    def test_ids(self) -> list[str]:
        return list(self.validation)

    @property
    def task_groups(self) -> Mapping[str, str]:
        return self.groups

    @property
    def digest(self) -> str:
        said = [self.name, self.version, self.tools, self.train_ids, self.test_ids]
        return f"project/{_digest(said)}"

    def task(self, task_id: str) -> Any:
        """What the rollout is called with. Raises KeyError for an id that does not exist."""
        return self.train[task_id] if task_id in self.train else self.validation[task_id]

    def task_digest(self, task_id: str) -> str:
        """Of the task where it is plain data; its id where only the project knows what it holds."""
        try:
            return _digest([task_id, _plain(self.task(task_id))])
        except TypeError:
            return task_id

    def start(self, task_id: str, seed: int) -> NoReturn:
        raise ConfigError(
            f"The tasks of project {self.name} are played by its own rollout alone, which asks a policy: "
            "`+ablation=smoke` instead of doctor shows what they earn."
        )


def _plain(task: Any) -> Any:
    if dataclasses.is_dataclass(task) and not isinstance(task, type):
        return dataclasses.asdict(task)
    return task.model_dump() if hasattr(task, "model_dump") else task


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
