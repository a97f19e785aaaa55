"""Which task ids are trained on and which are validated on.

symptom:    reported validation reward is biased downwards from the first step on
mechanism:  validation ids are `range(len(train), len(train) + 85)` without a bound; the benchmark has fewer
            tasks, and each missing one scores a silent 0 (note, section 6; `dev/tau-bench/run_rl.py`:
            training_dataset_size 30, val_set_size 85)
fix:        ids are bounded by the task count and disjoint; training ids that were valid stay the same
evidence:   validation ids that do not exist; overlap of training and validation
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from harness.errors import ConfigError
from harness.seams import REPORTED, Check, Evidence, Factor, TaskSplit

FACTOR = Factor(
    name="split",
    summary="which task ids are validated on",
    levels={"off": "30 + 85 task ids run past the end; missing tasks score 0", "on": "bounded, disjoint"},
    changes=(REPORTED,),
    proof="ids that do not exist",
    rank=6,
)


def _reading(split: TaskSplit) -> dict[str, float]:
    missing = sum(task is None for task in split.validation)
    overlap = len(set(split.train) & {t for t in split.validation if t is not None})
    return {"nonexistent": float(missing), "overlap": float(overlap), "ids": float(len(split.validation))}


@dataclass(frozen=True)
class Off:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "off"
    needs: ClassVar[str] = "always"

    def split(self, task_ids: Sequence[str], train_size: int, val_size: int) -> TaskSplit:
        if train_size + val_size <= len(task_ids):
            raise ConfigError(
                f"fix/split=off would have no effect: {train_size} + {val_size} ids fit into the {len(task_ids)} "
                "tasks. Raise train.val_tasks, or use fix/split=on."
            )
        train = tuple(task_ids[i] for i in range(min(train_size, len(task_ids))))
        # faithful to upstream: the upper end is never compared with the task count
        indices = range(len(train), len(train) + val_size)
        return TaskSplit(train, tuple(task_ids[i] if i < len(task_ids) else None for i in indices))

    def check(self, evidence: Evidence) -> Check:
        reading = _reading(evidence.split)
        return Check(
            self.factor.name,
            self.level,
            reading,
            reading["nonexistent"] > 0,
            f"{reading['nonexistent']:.0f} of {reading['ids']:.0f} validation ids do not exist (expected some)",
        )


@dataclass(frozen=True)
class On:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "on"
    needs: ClassVar[str] = "always"

    def split(self, task_ids: Sequence[str], train_size: int, val_size: int) -> TaskSplit:
        train = tuple(task_ids[: min(train_size, len(task_ids))])
        return TaskSplit(train, tuple(task_ids[len(train) : len(train) + val_size]))

    def check(self, evidence: Evidence) -> Check:
        reading = _reading(evidence.split)
        return Check(
            self.factor.name,
            self.level,
            reading,
            reading["nonexistent"] == 0 and reading["overlap"] == 0 and reading["ids"] > 0,
            f"{reading['nonexistent']:.0f} of {reading['ids']:.0f} validation ids do not exist, "
            f"{reading['overlap']:.0f} are trained on (expected 0 and 0)",
        )
