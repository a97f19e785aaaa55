"""The figures of a sweep. Everything here is a pure function of the records up to `figure.savefig`.

Colours are Okabe and Ito's, safe for colour-blind readers; lines are named where they end, not in a
legend. Arms whose curves coincide (behind a closed gate they share every step) are one line with
one label, which is what makes 64 arms readable.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.load import RunRecords, SweepRecords
from harness.analysis.rows import (
    Point,
    arm_rows,
    counted_runs,
    is_all,
    reference_curve,
    reported_curve,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, VERMILLION, BLACK, GREY = "#0072B2", "#D55E00", "#000000", "#8a8a8a"
ARM_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7a5c00", "#56B4E9", "#E69F00")
NAMED = 10  # so many lines get a colour and a name of their own; the others are grey
MULTIPLES = 16  # up to so many arms get a panel each


@dataclass(frozen=True)
class Curve:
    """Mean over the runs of some arms, and their range, at the steps that all of them reached."""

    arms: tuple[str, ...]
    steps: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def label(self, letters: int) -> str:
        """`a`, `a = b`, or `a = 3 others`, where no name is longer than `letters`."""
        # The shortest name stands for its group, unless the fully fixed arm (sorted first) is in it.
        first, *rest = sorted(self.arms, key=lambda arm: (arm != "all_on", len(arm), arm))
        names = [name if len(name) <= letters else name[: letters - 1] + "…" for name in (first, *rest)]
        if len(names) == 2 and len(names[0] + names[1]) <= letters:
            return " = ".join(names)
        others = f" = {len(rest)} other" + ("s" if len(rest) > 1 else "")
        return names[0] + (others if rest else "")


def arm_curves(
    sweep: SweepRecords, read: Callable[[RunRecords], tuple[Point, ...]] = reference_curve
) -> tuple[Curve, ...]:
    """One curve per arm that has any reading, in the order of the table."""
    curves = []
    for row in arm_rows(sweep):
        points = [p for run in counted_runs(sweep.runs_of(row.arm)) if (p := read(run))]
        if points:
            curves.append(average((row.arm,), points))
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
        Curve(tuple(a for c in g for a in c.arms), g[0].steps, g[0].mean, g[0].low, g[0].high)
        for g in groups.values()
    )


def factor_curves(sweep: SweepRecords, factor: str) -> dict[str, Curve]:
    """level -> the mean over its arms, with their range. A level without readings is left out."""
    levels = {run.arm: run.levels.get(factor, "off") for run in sweep.runs}
    split: dict[str, list[Curve]] = {}
    for curve in arm_curves(sweep):
        split.setdefault(levels[curve.arms[0]], []).append(curve)
    return {
        level: average(
            [curve.arms[0] for curve in curves],
            [tuple(zip(curve.steps, curve.mean, strict=True)) for curve in curves],
        )
        for level, curves in split.items()
    }


def main_figure(sweep: SweepRecords, width: float = 9.0) -> "Figure":
    """Reference validation against step, one line per distinct curve; `width` in inches."""
    figure, axes = _figure(width, 4.6 if width > 6 else 4.2)
    curves = merged(arm_curves(sweep))
    levels = {run.arm: run.levels for run in sweep.runs}
    colours, labels = cycle(ARM_COLOURS), []
    for index, curve in enumerate(curves):
        best = any(is_all(levels[arm], "on") for arm in curve.arms)
        named = best or index < NAMED
        colour = BLACK if best else next(colours) if named else GREY
        thick = 2.8 if best else 1.4 if named else 0.6
        axes.plot(
            curve.steps, curve.mean, color=colour, lw=thick, marker="o", ms=thick * 1.4,
            zorder=3 if best else 2, solid_capstyle="round",
        )  # fmt: skip
        if curve.low != curve.high:
            axes.fill_between(curve.steps, curve.low, curve.high, color=colour, alpha=0.12, lw=0)
        if named:
            labels.append((curve, colour, best))
    _frame(axes, sweep, "reference validation reward")
    _label_ends(axes, labels, size=9, letters=36 if width > 6 else 19)
    return figure


def factor_figure(sweep: SweepRecords, factor: str) -> "Figure":
    """Mean curve of the arms with the factor on against those with it off; each arm faintly."""
    figure, axes = _figure(3.6, 2.7)
    levels = {run.arm: run.levels.get(factor, "off") for run in sweep.runs}
    colour = {"on": BLUE, "off": VERMILLION}
    for curve in merged(arm_curves(sweep)):
        sides = {levels[arm] for arm in curve.arms}
        faint = colour[sides.pop()] if len(sides) == 1 else GREY
        axes.plot(curve.steps, curve.mean, color=faint, lw=0.7, alpha=0.45)
    ends = []
    for level, curve in factor_curves(sweep, factor).items():
        style = "-" if level == "on" else (0, (4, 1.5))
        axes.plot(curve.steps, curve.mean, color=colour[level], lw=2.4, ls=style)
        text = f"{level} ({len(curve.arms)})"
        ends.append((Curve((text,), *_data(curve)), colour[level], True))
    _frame(axes, sweep, "")
    _label_ends(axes, ends, size=9, letters=19)
    axes.set_title(factor, loc="left", fontsize=11, fontweight="bold")
    return figure


def arm_figure(sweep: SweepRecords, arm: str) -> "Figure":
    """One arm: what it is worth (reference) and what it would have shown (reported)."""
    figure, axes = _figure(3.6, 2.7)
    ends = []
    for name, read, colour, style in (
        ("reference", reference_curve, BLUE, "-"),
        ("reported", reported_curve, VERMILLION, (0, (4, 1.5))),
    ):
        for curve in (c for c in arm_curves(sweep, read) if c.arms == (arm,)):
            axes.plot(curve.steps, curve.mean, color=colour, lw=2, ls=style)
            if curve.low != curve.high:
                axes.fill_between(curve.steps, curve.low, curve.high, color=colour, alpha=0.12, lw=0)
            ends.append((Curve((name,), *_data(curve)), colour, False))
    _frame(axes, sweep, "")
    _label_ends(axes, ends, size=9, letters=19)
    axes.set_title(arm, loc="left", fontsize=10, fontweight="bold")
    return figure


def gap_figure(sweep: SweepRecords, width: float = 9.0) -> "Figure":
    """All arms at once: last reference (filled) and last reported (hollow) reward, a row each."""
    rows = [row for row in arm_rows(sweep) if row.last is not None and row.reported is not None]
    figure, axes = _figure(width, max(1.6, 0.9 + 0.19 * len(rows)))
    for y, row in enumerate(rows):
        axes.plot([row.last, row.reported], [y, y], color="#bbbbbb", lw=1.2, zorder=1)
        axes.plot(row.last, y, "o", color=BLUE, ms=6, zorder=3)
        axes.plot(row.reported, y, "o", mfc="white", mec=VERMILLION, mew=1.4, ms=9, zorder=2)
    axes.set_yticks(range(len(rows)), [row.arm for row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel("reward at the last step: ● reference, ○ reported", fontsize=9)
    axes.grid(axis="x", color="#e6e6e6", lw=0.8)
    axes.set_axisbelow(True)
    return figure


def _figure(width: float, height: float) -> tuple["Figure", "Axes"]:
    # Figure without pyplot: no global state, no display, nothing to close.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
    return figure, axes


def _frame(axes: "Axes", sweep: SweepRecords, ylabel: str) -> None:
    """The same scales in every panel, so that panels can be compared by eye."""
    from matplotlib.ticker import MaxNLocator

    values = [
        value
        for run in sweep.runs
        for v in run.validations
        for value in (v.reference, v.reported)
        if value is not None
    ]
    last = max((v.step for run in sweep.runs for v in run.validations), default=1)
    axes.set_xlim(-0.02 * last, max(last, 1))
    axes.set_ylim(0, min(1.02, max([0.1, *values]) * 1.12))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color="#e6e6e6", lw=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("training step", fontsize=9)
    axes.set_ylabel(ylabel, fontsize=9)


def _label_ends(
    axes: "Axes", labels: Sequence[tuple[Curve, str, bool]], size: float, letters: int
) -> None:
    """Name each line at the right edge, moved apart where lines end close together."""
    if not labels:
        return
    low, high = axes.get_ylim()
    height = axes.figure.get_size_inches()[1] * 72 * 0.8  # points, about what the axes get
    places = spread([c.mean[-1] for c, _, _ in labels], (high - low) * size * 1.25 / height, high)
    right = axes.get_xlim()[1]
    for (curve, colour, bold), y in zip(labels, places, strict=True):
        axes.annotate(
            curve.label(letters), (curve.steps[-1], curve.mean[-1]), (right * 1.03, y),
            textcoords="data", annotation_clip=False, color=colour, fontsize=size, va="center",
            fontweight="bold" if bold else "normal",
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.5, "shrinkA": 0, "shrinkB": 2},
        )  # fmt: skip


def spread(values: Sequence[float], apart: float, top: float) -> list[float]:
    """Positions in the same order as `values`, at least `apart` from each other, near the values."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    places = [0.0] * len(values)
    floor = -float("inf")
    for i in order:
        places[i] = floor = max(values[i], floor + apart)
    ceiling = top
    for i in reversed(order):
        places[i] = ceiling = min(places[i], ceiling)
        ceiling -= apart
    return places


def _data(curve: Curve) -> tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    return curve.steps, curve.mean, curve.low, curve.high
