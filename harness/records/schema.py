"""What a record says: one definition for those who write and those who read.

A line on disk has the keys of `line()`; a sweep that was made by older code may lack some of them.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypedDict

from harness.records.together import shown_together

Record = dict[str, Any]
TaskGroups = dict[str, str]  # of a manifest: the name of its group by task id; a task that is absent has its own
STATES = ("completed", "running", "failed", "missing")
TRAINING, VALIDATION = "training", "validation"  # kinds of kept rollouts; older ones name none, and are of training
FILES = ("steps", "validation", "checks")  # of a run, written line by line
RECORDS = 1  # version of what this file says; docs/records.md has its history
UNRECORDED = "unrecorded"  # names the source of runs that were made before sources were recorded


class StepRecord(TypedDict, total=False):
    """One training step of one run. `step` counts updates from 1; None where nothing could be measured.

    reward, raw_reward: means over the rollouts that are present, in −1..1 and 0..1
    groups_with_spread: groups whose rewards differ; missing: rollouts that infrastructure failed
    probs_corr, logprob_gap (nats): the sampler against the trainer, at the first gradient step
    trainer: how the update was computed; empty where it was found in the store
    update: names the update, None: none was made; update_shared_with: the run that computed it
    longer_than_row: trajectories that are cut because a row has less room
    rendered_apart: rollouts that were trained and of whose first prompt ART renders more than the tools otherwise than
        the server did
    """

    step: int
    reward: float | None
    raw_reward: float | None
    groups: int
    groups_with_spread: int
    rollouts: int
    missing: int
    trainable_tokens: int
    gradient_steps: int
    advanced_without_training: bool
    probs_corr: float | None
    logprob_gap: float | None
    loss: float | None
    entropy: float | None
    grad_norm: float | None
    episodes: dict[str, int]
    trainer: dict[str, float]
    update: str | None
    update_shared_with: str | None
    longer_than_row: int
    rendered_apart: int
    seconds: dict[str, float]


# What may differ between a run and its replay: how long it took, how it was computed, and by whom.
NOT_RESULTS = ("seconds", "trainer", "episodes", "update_shared_with")


@dataclass(frozen=True)
class ValidationRecord:
    """One validation of one run. Rewards are means, None where there is no reading.

    reference, by_task, missing: the reference protocol, in 0..1; a task without a reading is None
    reported, reported_by_task, reported_n, nonexistent: what the arm shows by its own rules, in −1..1
    sampled, sampled_at: rewards of further reference episodes of each task and their temperature; none: not asked for
    seconds: wall-clock of all
    episodes: how many the run computed for it, and how many it found; empty in older records
    also: of further validation sets, by name, the rewards by task, in 0..1; they are part of no effect
    """

    step: int
    reference: float | None
    by_task: dict[str, float | None]
    missing: int
    reported: float | None
    reported_n: int
    nonexistent: int
    reported_by_task: dict[str, float] = field(default_factory=dict)
    seconds: float | None = None
    sampled: dict[str, tuple[float | None, ...]] = field(default_factory=dict)
    sampled_at: float | None = None
    episodes: dict[str, int] = field(default_factory=dict)
    also: dict[str, dict[str, float | None]] = field(default_factory=dict)

    @property
    def asked(self) -> int:
        """Episodes that it takes."""
        beside = sum(map(len, (*self.sampled.values(), *self.also.values())))
        return len(self.by_task) + self.reported_n - self.nonexistent + beside

    def line(self) -> Record:
        further = {"sampled": {"temperature": self.sampled_at, "by_task": self.sampled}} if self.sampled else {}
        return {
            "step": self.step,
            "reference": {"mean": self.reference, "by_task": self.by_task, "missing": self.missing},
            "reported": {
                "mean": self.reported,
                "n": self.reported_n,
                "by_task": self.reported_by_task,
                "nonexistent": self.nonexistent,
            },
            **further,
            **({"episodes": self.episodes} if self.episodes else {}),
            **({"also": self.also} if self.also else {}),
            "seconds": self.seconds,
        }

    @classmethod
    def of(cls, line: Record) -> "ValidationRecord":
        reference, reported = line.get("reference") or {}, line.get("reported") or {}
        sampled = line.get("sampled") or {}
        return cls(
            step=int(line["step"]),
            reference=reference.get("mean"),
            by_task=dict(reference.get("by_task") or {}),
            missing=int(reference.get("missing") or 0),
            reported=reported.get("mean"),
            reported_n=int(reported.get("n") or 0),
            nonexistent=int(reported.get("nonexistent") or 0),
            reported_by_task=dict(reported.get("by_task") or {}),
            seconds=line.get("seconds"),
            sampled={task: tuple(rewards) for task, rewards in (sampled.get("by_task") or {}).items()},
            sampled_at=sampled.get("temperature"),
            episodes=dict(line.get("episodes") or {}),
            also={name: dict(rewards) for name, rewards in (line.get("also") or {}).items()},
        )


@dataclass(frozen=True)
class CheckRecord:
    """One reading of one manipulation check. took_effect None: nothing to judge at that step."""

    step: int
    factor: str
    level: str
    reading: dict[str, float | None]
    took_effect: bool | None
    text: str

    def line(self) -> Record:
        return dict(vars(self))

    @classmethod
    def of(cls, line: Record) -> "CheckRecord":
        return cls(
            step=int(line["step"]),
            factor=str(line.get("factor", "?")),
            level=str(line.get("level", "?")),
            reading=dict(line.get("reading") or {}),
            took_effect=line.get("took_effect"),
            text=str(line.get("text", "")),
        )


class Judged(Protocol):
    """A check, as it is made or as it is recorded."""

    @property
    def factor(self) -> str: ...
    @property
    def took_effect(self) -> bool | None: ...
    @property
    def reading(self) -> Mapping[str, float | None]: ...


def not_shown(checks: Iterable[Judged]) -> tuple[str, ...]:
    """The factors that were checked and whose checks never could tell, neither a step's alone nor all together, in the
    order of the checks."""
    of: dict[str, list[Judged]] = {}
    for check in checks:
        of.setdefault(check.factor, []).append(check)
    return tuple(
        factor
        for factor, asked in of.items()
        if all(check.took_effect is None for check in asked) and not shown_together(check.reading for check in asked)
    )


def validity_word(valid: bool, hidden: Collection[str]) -> str:
    """Of a run that completed, for who watches it. hidden: its factors whose checks never could tell"""
    return "INVALID" if not valid else "not shown" if hidden else "valid"


@dataclass(frozen=True)
class StatusRecord:
    """Where a run stands. valid: False only once it has completed and a switch did not take effect.

    invalid: (factor, the reading that shows it)
    ended_at: the step at which the loop of a completed run ended by itself, earlier than planned; None: as planned
    sources: names, in the manifest, of the sources that it comes from; none in older records
    """

    state: str
    valid: bool
    invalid: tuple[tuple[str, str], ...]
    findings: tuple[str, ...]
    error: str | None
    seconds: float | None
    ended_at: int | None = None
    sources: tuple[str, ...] = ()

    @classmethod
    def of(cls, status: Record, started: bool) -> "StatusRecord":
        """started: whether the run has any record; a run without a status may have been killed in its first moment."""
        state = status.get("state", "running" if started else "missing")
        return cls(
            state=state if state in STATES else "running",
            valid=status.get("validity") != "INVALID",
            invalid=tuple((str(i.get("factor", "?")), str(i.get("reading", ""))) for i in status.get("invalid") or ()),
            findings=tuple(str(text) for text in status.get("findings") or ()),
            error=status.get("error"),
            seconds=status.get("seconds"),
            ended_at=status.get("ended_at"),
            sources=tuple(status.get("sources") or ()),
        )


@dataclass(frozen=True)
class PlannedRun:
    """A line of the plan. config_digest: None in a plan that names none; block: empty in a sweep without blocks."""

    run: str
    arm: str
    levels: dict[str, str]
    seed: int
    config_digest: str | None = None
    block: str = ""

    def line(self) -> Record:
        return {name: value for name, value in vars(self).items() if name != "block" or value}

    @classmethod
    def of(cls, line: Record) -> "PlannedRun":
        arm, seed = str(line["arm"]), int(line["seed"])
        return cls(
            run=str(line.get("run", f"{arm}/seed={seed}")),
            arm=arm,
            levels=dict(line.get("levels", {})),
            seed=seed,
            config_digest=line.get("config_digest"),
            block=str(line.get("block", "")),
        )


@dataclass(frozen=True)
class RunContent:
    """All records of one run as they lie on the disk. unreadable: lines that a crash tore apart,
    or that are gone from a completed run."""

    status: Record
    steps: list[Record]
    validation: list[Record]
    checks: list[Record]
    unreadable: int = 0

    @property
    def started(self) -> bool:
        return bool(self.status or self.steps or self.validation)


KEYS = {
    "steps": frozenset(StepRecord.__annotations__),
    "validation": frozenset(("step", "reference", "reported", "sampled", "episodes", "also", "seconds")),
    "checks": frozenset(CheckRecord.__annotations__),
}
