"""Numbers for the end-of-sweep table: one row per arm, and what was computed against shared."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.records.load import RecordedRun, SweepRecords
from harness.records.reuse import Reuse, recorded_reuse

Point = tuple[float, float]  # step, reward


@dataclass(frozen=True)
class ArmRow:
    """One arm, in one block. Rewards are means over its valid runs (over all its runs where none is valid).

    `slope` is reward per step (least squares), `area` the mean height of the curve (trapezoids
    over the step range, so in 0..1), `gap` reported minus reference, at the last step.
    """

    arm: str
    levels: dict[str, str]
    seeds: tuple[int, ...]
    first: float | None
    last: float | None
    slope: float | None
    area: float | None
    reported: float | None
    gap: float | None
    runs: int
    invalid_runs: int
    invalid_factors: tuple[str, ...]
    states: dict[str, int]
    at_step: int | None  # the least advanced run's last validated step
    block: str = ""
    not_shown_runs: int = 0  # completed and not INVALID, with a switch that nothing could judge
    not_shown_factors: tuple[str, ...] = ()


def arm_rows(sweep: SweepRecords) -> tuple[ArmRow, ...]:
    """One row per arm, block by block: the fully fixed arm first, then by last reference validation."""
    blocks = map(sweep.of_block, sweep.blocks)
    return tuple(_arm_row(arm, block.runs_of(arm)) for block in blocks for arm in arms_in_order(block))


def arms_in_order(sweep: SweepRecords) -> tuple[str, ...]:
    """The fully fixed arm first, then by last reference validation. Of a sweep without blocks, or of one block."""

    def rank(arm: str) -> tuple[bool, bool, float, str]:
        runs = sweep.runs_of(arm)
        last = _last(counted_runs(runs))
        return not is_all(runs[0].levels, "on"), last is None, -(last or 0.0), arm

    return tuple(sorted(sweep.arms, key=rank))


def is_all(levels: dict[str, str], level: str) -> bool:
    """Whether every factor of an arm has this level."""
    return bool(levels) and all(value == level for value in levels.values())


def counted_runs(runs: Sequence[RecordedRun]) -> tuple[RecordedRun, ...]:
    """The runs that stand for their arm: the valid ones, or all of them where none is valid."""
    valid = tuple(run for run in runs if run.valid)
    return valid or tuple(runs)


def reference_curve(run: RecordedRun) -> tuple[Point, ...]:
    return tuple((v.step, v.reference) for v in run.validations if v.reference is not None)


def reported_curve(run: RecordedRun) -> tuple[Point, ...]:
    return tuple((v.step, v.reported) for v in run.validations if v.reported is not None)


def slope(curve: Sequence[Point]) -> float | None:
    """Least-squares slope in reward per step; None below two points."""
    if len(curve) < 2:
        return None
    steps, rewards = np.array(curve, dtype=float).T
    centred = steps - steps.mean()
    return float(centred @ rewards / (centred @ centred))


def area(curve: Sequence[Point]) -> float | None:
    """Area under the curve by trapezoids, divided by the step range; None below two points."""
    if len(curve) < 2:
        return None
    steps, rewards = np.array(curve, dtype=float).T
    return float(np.trapezoid(rewards, steps) / (steps[-1] - steps[0]))


def reuse_rows(sweep: SweepRecords) -> tuple[Reuse, ...]:
    """What the runs recorded; of older ones what the store counted (`reuse.json`) or, without, the steps alone.

    The store counts a sweep that was continued twice, since it replays: what the records hold was asked for once, and
    what was found is no more than what is left of it.
    """
    recorded = recorded_reuse(sweep.runs)
    if len(recorded) == len(KINDS):
        return tuple(recorded[kind] for kind in KINDS)
    steps = [step for run in sweep.runs for step in run.steps]
    held = {
        "updates": recorded["updates"].asked,
        "episodes": sum(int((step.get("episodes") or {}).get("asked") or 0) for step in steps)
        + sum(v.asked for run in sweep.runs for v in run.validations),
    }
    counted = {
        kind: _bounded(Reuse(kind, c["asked"], c.get("computed"), c.get("shared")), held.get(kind) or c["asked"])
        for kind, c in sweep.reuse.items()
        if isinstance(c, dict) and "asked" in c
    }
    counted |= {kind: row for kind, row in recorded.items() if kind in counted}
    episodes = [step.get("episodes") or {} for step in steps]
    shared = sum(1 for step in steps if step.get("update_shared_with"))
    # A step without trainable tokens asks for no gradient, but it still is an asked-for update.
    of_steps = {
        "episodes": Reuse("training episodes", *(_total(episodes, key) for key in _COUNTS)),
        "updates": Reuse("updates", len(steps), len(steps) - shared, shared),
    }
    return tuple((of_steps | counted).values())


def _bounded(counted: Reuse, held: int) -> Reuse:
    """What was counted over several starts, of which the runs hold so many."""
    if counted.asked <= held:
        return counted
    rest = None if counted.computed is None else max(0, held - counted.computed)
    shared = rest if rest is None or counted.shared is None else min(counted.shared, rest)
    return replace(counted, asked=held, shared=shared)


KINDS = ("episodes", "updates")
_COUNTS = ("asked", "computed", "shared")


def _total(counts: Iterable[dict[str, int]], key: str) -> int:
    return sum(int(count.get(key) or 0) for count in counts)


def _arm_row(arm: str, runs: Sequence[RecordedRun]) -> ArmRow:
    counted = counted_runs(runs)
    curves = [curve for run in counted if (curve := reference_curve(run))]
    ends = [run.validations[-1] for run in counted if run.validations]
    invalid = [run for run in runs if not run.valid]
    hidden = [run for run in runs if run.valid and run.state == "completed" and run.not_shown]
    return ArmRow(
        arm=arm,
        levels=runs[0].levels,
        seeds=tuple(sorted(run.seed for run in runs)),
        first=_mean(curve[0][1] for curve in curves),
        last=_last(counted),
        slope=_mean(slope(curve) for curve in curves),
        area=_mean(area(curve) for curve in curves),
        reported=_mean(end.reported for end in ends),
        gap=_mean(
            end.reported - end.reference for end in ends if end.reported is not None and end.reference is not None
        ),
        runs=len(runs),
        invalid_runs=len(invalid),
        invalid_factors=tuple(dict.fromkeys(f for run in invalid for f, _ in run.invalid)),
        states=dict(Counter(run.state for run in runs)),
        at_step=min((run.validations[-1].step for run in runs if run.validations), default=None),
        block=runs[0].block,
        not_shown_runs=len(hidden),
        not_shown_factors=tuple(dict.fromkeys(factor for run in hidden for factor in run.not_shown)),
    )


def _last(runs: Iterable[RecordedRun]) -> float | None:
    return _mean(curve[-1][1] for run in runs if (curve := reference_curve(run)))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
