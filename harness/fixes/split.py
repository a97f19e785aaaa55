"""Which task ids are trained on and which are validated on.

symptom:    reported validation reward is biased downwards from the first step on
mechanism:  validation ids are `range(len(train), len(train) + 85)` without a bound; the benchmark has fewer
            tasks, and each missing one scores a silent 0 (note, section 6; `dev/tau-bench/run_rl.py`:
            training_dataset_size 30, val_set_size 85)
fix:        ids are bounded by the task count and disjoint; training ids that were valid stay the same
evidence:   the ids that the arm's own validation asked: those that do not exist, and those that are trained on

What upstream's revisions do with these ids (OpenPipe/ART, dev/tau-bench/run_rl.py):
off      the note's reading: a missing task scores a silent 0. No revision that we read does that
overlap  revision 2d0a7c2, `evaluate_model`: `range(min(num_eval_tasks, len(env.tasks)))`: all exist, and the first of
         them are the training ids
crash    revisions from 1e755a1 on, the note's (1fd9b7c) and ad65784 among them: `get_env` stands outside `try`, so an
         index past the end is an IndexError, which `art.gather_trajectories` passes on, and the loop ends at its first
         evaluation. On airline that happens from 51 ids on; on retail the 115 test tasks are 30 + 85
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from harness.errors import ConfigError
from harness.seams import REPORTED, Check, Evidence, Factor, TaskSplit

FACTOR = Factor(
    name="split",
    summary="which task ids are validated on",
    levels={
        "off": "30 + 85 ids run past the end and score 0",
        "on": "bounded, disjoint",
        "overlap": "as another revision: bounded, and over the training ids",
        "crash": "as upstream's code had it: an id past the end raises, and the loop ends at step 0",
    },
    changes=(REPORTED,),
    proof="ids that validation asked",
    rank=6,
    today="yes: task ids are the user's code, and nothing looks at them (art/utils/iterate_dataset.py)",
    no_update=("crash",),
    baselines=("note",),
    launched="30 + 85 ids are the 115 test tasks of retail (OpenPipe/ART dev/tau-bench/run_training.py)",
)


def _training(task_ids: Sequence[str], size: int) -> tuple[str, ...]:
    return tuple(task_ids[: min(size, len(task_ids))])


def _unbounded(level: str, task_ids: Sequence[str], train_size: int, val_size: int) -> TaskSplit:
    if train_size + val_size <= len(task_ids):
        raise ConfigError(
            f"fix/split={level} would have no effect: {train_size} + {val_size} ids fit into the {len(task_ids)} "
            "tasks. Raise train.val_tasks, or use fix/split=on."
        )
    train = _training(task_ids, train_size)
    # faithful to upstream: the upper end is never compared with the task count
    indices = range(len(train), len(train) + val_size)
    return TaskSplit(train, tuple(task_ids[i] if i < len(task_ids) else None for i in indices))


def _reading(evidence: Evidence) -> dict[str, float]:
    asked = evidence.validated or ()
    missing = sum(task is None for task in asked)
    overlap = len(set(evidence.split.train) & {t for t in asked if t is not None})
    raised = float(evidence.validation_raised)
    return {"nonexistent": float(missing), "overlap": float(overlap), "ids": float(len(asked)), "raised": raised}


def _acted_as(evidence: Evidence, reading: dict[str, float]) -> str | None:
    """As which of the four levels its validation acted; None: as none of them."""
    if evidence.validated != evidence.split.validation:
        return None
    if evidence.validation_raised:
        return "crash" if reading["nonexistent"] else None
    if reading["nonexistent"]:
        return None if reading["overlap"] else "off"
    if reading["ids"]:
        return "overlap" if reading["overlap"] else "on"
    return None


def _check(level: str, acts_as: str, evidence: Evidence, expected: str) -> Check:
    """By the tasks that its validation played. acts_as: which of the four levels that must be."""
    reading = _reading(evidence)
    seen = _acted_as(evidence, reading)
    text = (
        f"{reading['nonexistent']:.0f} of {reading['ids']:.0f} validation ids do not exist, "
        f"{reading['overlap']:.0f} are trained on{', and it raised' * evidence.validation_raised} (expected {expected})"
        f"{', and not those of its split' * (evidence.validated != evidence.split.validation)}"
    )
    if evidence.validated is None:
        return Check(FACTOR.name, level, reading, None, "not shown: its own validation has asked nothing yet")
    return Check(FACTOR.name, level, reading, seen == acts_as, text)


@dataclass(frozen=True)
class Off:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "off"
    needs: ClassVar[str] = "always"
    raises: ClassVar[bool] = False

    def split(self, task_ids: Sequence[str], train_size: int, val_size: int) -> TaskSplit:
        return _unbounded(self.level, task_ids, train_size, val_size)

    def check(self, evidence: Evidence) -> Check:
        return _check(self.level, "off", evidence, "some and 0")


@dataclass(frozen=True)
class On:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "on"
    needs: ClassVar[str] = "always"
    raises: ClassVar[bool] = False

    def split(self, task_ids: Sequence[str], train_size: int, val_size: int) -> TaskSplit:
        train = _training(task_ids, train_size)
        return TaskSplit(train, tuple(task_ids[len(train) : len(train) + val_size]))

    def check(self, evidence: Evidence) -> Check:
        return _check(self.level, "on", evidence, "0 and 0")


@dataclass(frozen=True)
class Overlap:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "overlap"
    needs: ClassVar[str] = "always"
    raises: ClassVar[bool] = False

    def split(self, task_ids: Sequence[str], train_size: int, val_size: int) -> TaskSplit:
        # faithful to upstream: bounded, and counted from the first task on
        return TaskSplit(_training(task_ids, train_size), tuple(task_ids[: min(val_size, len(task_ids))]))

    def check(self, evidence: Evidence) -> Check:
        return _check(self.level, "overlap", evidence, "0 and some")


@dataclass(frozen=True)
class Crash:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "crash"
    needs: ClassVar[str] = "always"
    raises: ClassVar[bool] = True

    def split(self, task_ids: Sequence[str], train_size: int, val_size: int) -> TaskSplit:
        return _unbounded(self.level, task_ids, train_size, val_size)

    def check(self, evidence: Evidence) -> Check:
        return _check(self.level, "crash", evidence, "some and 0, and that it raised")
