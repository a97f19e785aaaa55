"""Curves of a sweep as plain data: per arm, per level of a factor, and which of them coincide."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.designs import is_orthogonal
from harness.factors import Arm
from harness.records.load import RecordedRun, SweepRecords
from harness.report.arm_rows import Point, arms_in_order, counted_runs, reference_curve

Read = Callable[[RecordedRun], tuple[Point, ...]]


@dataclass(frozen=True)
class Curve:
    """Mean over the runs of some arms, and their range, at the steps that all of them reached."""

    arms: tuple[str, ...]
    steps: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def label(self, letters: int) -> str:
        """`a`, `a = b`, or `a and 3 others`, where no name is longer than `letters`."""
        # The shortest name stands for its group, unless the fully fixed arm is in it.
        first, *rest = sorted(self.arms, key=lambda arm: (arm != "all_on", len(arm), arm))
        if len(rest) == 1 and len(first + rest[0]) <= letters:
            return f"{first} = {rest[0]}"
        name = first if len(first) <= letters else first[: letters - 1] + "…"
        return name + (f" and {len(rest)} other{'s' if len(rest) > 1 else ''}" if rest else "")


def arm_curves(sweep: SweepRecords, read: Read = reference_curve) -> tuple[Curve, ...]:
    """One curve per arm that has any validation, in the order of the table; of its valid runs, if any."""
    curves = []
    for arm in arms_in_order(sweep):
        points = [p for run in counted_runs(sweep.runs_of(arm)) if (p := read(run))]
        if points:
            curves.append(average((arm,), points))
    return tuple(curves)


def average(arms: Sequence[str], curves: Sequence[Sequence[Point]]) -> Curve:
    """Mean, lowest and highest of several curves over the steps that all of them have."""
    tables = [dict(curve) for curve in curves]
    steps = sorted(set.intersection(*(set(table) for table in tables)))
    values = np.array([[table[step] for step in steps] for table in tables]).reshape(-1, len(steps))
    return Curve(
        tuple(arms),
        tuple(steps),
        tuple(values.mean(axis=0).tolist()),
        tuple(values.min(axis=0).tolist()),
        tuple(values.max(axis=0).tolist()),
    )


def merged(curves: Sequence[Curve]) -> tuple[Curve, ...]:
    """Curves that coincide as one, with the names of all their arms."""
    groups: dict[tuple[object, ...], list[Curve]] = {}
    for curve in curves:
        groups.setdefault((curve.steps, np.round(curve.mean, 9).tobytes()), []).append(curve)
    return tuple(
        Curve(tuple(a for c in g for a in c.arms), g[0].steps, g[0].mean, g[0].low, g[0].high) for g in groups.values()
    )


def invalid_arms(sweep: SweepRecords) -> frozenset[str]:
    """The arms without a valid run: their switch did not work, so they show nothing about its factor."""
    return frozenset(arm for arm in sweep.arms if not any(run.valid for run in sweep.runs_of(arm)))


def valid_curves(sweep: SweepRecords, read: Read = reference_curve) -> tuple[Curve, ...]:
    invalid = invalid_arms(sweep)
    return tuple(curve for curve in arm_curves(sweep, read) if curve.arms[0] not in invalid)


def factor_curves(sweep: SweepRecords, factor: str) -> dict[str, Curve]:
    """level -> the mean over its valid arms, with their range. A level without validations is left out."""
    levels = {run.arm: run.levels.get(factor, "off") for run in sweep.runs}
    split: dict[str, list[Curve]] = {}
    for curve in valid_curves(sweep):
        split.setdefault(levels[curve.arms[0]], []).append(curve)
    return {
        level: average(
            [curve.arms[0] for curve in curves],
            [tuple(zip(curve.steps, curve.mean, strict=True)) for curve in curves],
        )
        for level, curves in split.items()
    }


def pair_curves(sweep: SweepRecords, factor: str) -> dict[str, Curve]:
    """The two arms that show what a fix does, by the names of their lines: `all on` and `without` it, else
    `alone` and `all off`. Empty where an arm of both pairs is absent or has no valid run."""
    levels = {run.arm: run.levels for run in sweep.runs}
    found: dict[str, Curve] = {}
    for curve in valid_curves(sweep):
        on = {f for f, level in levels[curve.arms[0]].items() if level == "on"}
        off = {f for f, level in levels[curve.arms[0]].items() if level == "off"}
        if on | off < set(levels[curve.arms[0]]):  # a further level is neither
            continue
        is_one = {"all on": not off, "without": off == {factor}, "alone": on == {factor}, "all off": not on}
        found |= {name: curve for name, yes in is_one.items() if yes}
    for pair in (("all on", "without"), ("alone", "all off")):
        if all(name in found for name in pair):
            return {name: found[name] for name in pair}
    return {}


def contrasted_factors(sweep: SweepRecords) -> tuple[str, ...]:
    """The factors that a panel can show: by a pair of arms, or in a balanced design by the means of its levels.

    Level means of an unbalanced design would compare arms that differ in much else.
    """
    balanced = is_orthogonal([Arm.of(levels) for levels in {run.arm: run.levels for run in sweep.runs}.values()])
    return tuple(
        factor
        for factor in sweep.factors
        if pair_curves(sweep, factor) or (balanced and len(factor_curves(sweep, factor)) > 1)
    )
