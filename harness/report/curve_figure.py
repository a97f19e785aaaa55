"""The arms' validation curves on the page: lines to point at and to switch off, drawn without matplotlib."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.records.load import SweepRecords
from harness.report import formats
from harness.report.arm_rows import is_all
from harness.report.curves import Curve, arm_curves, invalid_arms, merged, valid_curves
from harness.report.figures import GREY, NAMED, arm_colours
from harness.report.templating import render

WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 10, 40
TICKS = 6  # at most so many on each side


@dataclass(frozen=True)
class Point:
    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Line:
    """One curve, of all arms that have it. band: of the range over seeds; empty without one"""

    name: str
    arms: str
    colour: str
    kind: str  # best, plain, faint, invalid
    last: str
    path: str
    band: str
    points: tuple[Point, ...]


def curve_figure(sweep: SweepRecords) -> str:
    """HTML; sweep: one block, with a validation"""
    invalid = invalid_arms(sweep)
    refuted = [curve for curve in arm_curves(sweep) if curve.arms[0] in invalid]
    valid = merged(valid_curves(sweep))
    scales = _Scales.of([*valid, *refuted])
    colours, levels = arm_colours(sweep), {run.arm: run.levels for run in sweep.runs}
    lines = []
    for index, curve in enumerate(valid):
        best = any(is_all(levels[arm], "on") for arm in curve.arms)
        kind = "best" if best else "plain" if index < NAMED else "faint"
        lines.append(_line(curve, colours[curve.arms[0]], kind, scales))
    lines += [_line(curve, GREY, "invalid", scales) for curve in refuted]
    return render("curves.jinja", lines=lines, scales=scales, width=WIDTH, height=HEIGHT, left=LEFT, right=RIGHT)


@dataclass(frozen=True)
class _Scales:
    last: float
    low: float
    high: float

    @classmethod
    def of(cls, curves: Sequence[Curve]) -> "_Scales":
        rewards = [reward for curve in curves for reward in (*curve.low, *curve.high)]
        last = max(step for curve in curves for step in curve.steps)
        return cls(max(last, 1.0), min([0.0, *rewards]), max([0.1, *rewards]))

    def x(self, step: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * step / self.last, 1)

    def y(self, reward: float) -> float:
        share = (reward - self.low) / (self.high - self.low)
        return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share, 1)

    @property
    def steps(self) -> list[tuple[float, str]]:
        return [(self.x(step), f"{step:g}") for step in _ticks(0.0, self.last, whole=True)]

    @property
    def rewards(self) -> list[tuple[float, str]]:
        return [(self.y(reward), f"{reward:g}".replace("-", "−")) for reward in _ticks(self.low, self.high)]


def _ticks(low: float, high: float, whole: bool = False) -> Iterator[float]:
    """Round numbers within the range, TICKS at most."""
    sizes = (factor * 10.0**power for power in range(-3, 6) for factor in (1, 2, 5))
    size = next(s for s in sizes if (high - low) / s <= TICKS and (s >= 1 or not whole))
    yield from (round(n * size, 6) for n in range(int(low // size), int(high // size) + 2) if low <= n * size <= high)


def _line(curve: Curve, colour: str, kind: str, scales: _Scales) -> Line:
    name = curve.label(40) + (" INVALID" if kind == "invalid" else "")
    points = tuple(
        Point(scales.x(step), scales.y(mean), f"{name}, step {step:g}: {formats.reward(mean)}{_range(low, high)}")
        for step, mean, low, high in zip(curve.steps, curve.mean, curve.low, curve.high, strict=True)
    )
    upper = [f"{scales.x(s)} {scales.y(r)}" for s, r in zip(curve.steps, curve.high, strict=True)]
    lower = [f"{scales.x(s)} {scales.y(r)}" for s, r in zip(curve.steps, curve.low, strict=True)]
    return Line(
        name=name,
        arms=" ".join(curve.arms),
        colour=colour,
        kind=kind,
        last=formats.reward(curve.mean[-1]),
        path="M" + "L".join(f"{point.x} {point.y}" for point in points),
        band="M" + "L".join((*upper, *reversed(lower))) + "z" if curve.low != curve.high else "",
        points=points,
    )


def _range(low: float, high: float) -> str:
    return "" if low == high else f" (seeds {formats.reward(low)} to {formats.reward(high)})"
