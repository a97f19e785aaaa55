"""The figures of a sweep: pure functions from records to matplotlib figures, which nobody has saved yet.

Colours are of palette.py; lines are named where they end, not in a
legend. Arms whose curves coincide (behind a closed gate they share every step) are one line with
one label, which is what makes 64 arms readable.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.records.load import SweepRecords
from harness.report.arm_rows import arm_rows, is_all, reference_curve, reported_curve
from harness.report.curves import (
    Curve,
    Read,
    arm_curves,
    contrasted_factors,
    factor_curves,
    invalid_arms,
    merged,
    pair_curves,
    valid_curves,
)
from harness.report.palette import palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, VERMILLION, BLACK, GREY = "#0072B2", "#D55E00", "#000000", "#707070"
NAMED = 10  # so many lines get a name; the others are thin
MULTIPLES = 16  # up to so many arms get a panel each


DASHED = (0, (4, 1.5))


@dataclass(frozen=True)
class End:
    """Where a line ends, and what is written there."""

    text: str
    step: float
    reward: float
    colour: str
    bold: bool


def overview_figure(sweep: SweepRecords) -> "Figure":
    """The arms by reference validation, and beside it by what they would have shown."""
    figure = _figure(13, 4.6)
    left, right = (_axes(figure, 1, 2, place) for place in (1, 2))
    draw_arms(left, sweep, letters=24)
    draw_arms(right, sweep, letters=24, read=reported_curve)
    left.set_title("reference validation", loc="left", fontsize=11, fontweight="bold")
    right.set_title("reported by the arms (colour: their reference curve)", loc="left", fontsize=11, fontweight="bold")
    return figure


def factors_figure(sweep: SweepRecords) -> "Figure":
    """All factor panels in one picture, three in a row."""
    factors = contrasted_factors(sweep)
    rows = -(-len(factors) // 3)
    figure = _figure(11, 2.8 * rows)
    for place, factor in enumerate(factors, start=1):
        draw_factor(_axes(figure, rows, 3, place), sweep, factor)
    return figure


def factor_figure(sweep: SweepRecords, factor: str) -> "Figure":
    figure = _figure(3.6, 2.7)
    draw_factor(_axes(figure), sweep, factor)
    return figure


def arm_figure(sweep: SweepRecords, arm: str) -> "Figure":
    figure = _figure(3.6, 2.7)
    draw_arm(_axes(figure), sweep, arm)
    return figure


def draw_arms(axes: "Axes", sweep: SweepRecords, letters: int, read: Read = reference_curve) -> None:
    """One line per distinct curve; all fixes on is thick and black, INVALID arms are grey and dotted.

    A colour stands for a reference curve, so in a panel of reported rewards lines of one colour are
    equally good policies that look different.
    """
    colours, levels = arm_colours(sweep), {run.arm: run.levels for run in sweep.runs}
    ends: list[End] = []
    for index, curve in enumerate(merged(valid_curves(sweep, read))):
        best = any(is_all(levels[arm], "on") for arm in curve.arms)
        colour = BLACK if best else colours[curve.arms[0]]
        width = 2.8 if best else 1.4 if index < NAMED else 0.6
        axes.plot(curve.steps, curve.mean, color=colour, lw=width, marker="o", ms=width * 1.4, zorder=2 + best)
        _band(axes, curve, colour)
        if (best or index < NAMED) and len(ends) < NAMED:
            ends.append(End(curve.label(letters), curve.steps[-1], curve.mean[-1], colour, best))
    invalid = invalid_arms(sweep)
    for curve in (c for c in arm_curves(sweep, read) if c.arms[0] in invalid):
        axes.plot(curve.steps, curve.mean, color=GREY, lw=1.2, ls=":")
        if len(ends) < NAMED:
            text = f"{curve.label(letters)} INVALID"
            ends.append(End(text, curve.steps[-1], curve.mean[-1], GREY, False))
    _frame(axes, sweep, "reward")
    _label_ends(axes, ends)


def arm_colours(sweep: SweepRecords) -> dict[str, str]:
    """A colour per distinct reference curve, black for the one of the fully fixed arm, grey for arms without a valid
    one. Arms whose curves coincide are one line, and have its colour."""
    levels = {run.arm: run.levels for run in sweep.runs}
    free, colours = palette(), {arm: GREY for arm in sweep.arms}
    for curve in merged(valid_curves(sweep)):
        best = any(is_all(levels[arm], "on") for arm in curve.arms)
        colours |= dict.fromkeys(curve.arms, BLACK if best else next(free))
    return colours


def draw_factor(axes: "Axes", sweep: SweepRecords, factor: str) -> None:
    """The pair of arms that shows what the fix does, where the sweep has one; else the means of the two levels."""
    pair = pair_curves(sweep, factor)
    ends = _draw_pair(axes, pair, arm_colours(sweep)) if pair else _draw_levels(axes, sweep, factor)
    _frame(axes, sweep, "")
    _label_ends(axes, ends)
    axes.set_title(factor, loc="left", fontsize=11, fontweight="bold")


def _draw_pair(axes: "Axes", pair: dict[str, Curve], colours: Mapping[str, str]) -> list[End]:
    """The first of the two has the fix; the other one is dashed, grey where it would hide in the first one's colour."""
    first, second = (colours[curve.arms[0]] for curve in pair.values())
    drawn = (first, "-"), (GREY if second == first else second, DASHED)
    ends = []
    for (name, curve), (colour, style) in zip(pair.items(), drawn, strict=True):
        axes.plot(curve.steps, curve.mean, color=colour, lw=2.4, ls=style, zorder=3)
        _band(axes, curve, colour)
        ends.append(End(name, curve.steps[-1], curve.mean[-1], colour, True))
    one, other = pair.values()
    if (one.steps, one.mean) == (other.steps, other.mean):
        ends = [End("both", ends[0].step, ends[0].reward, BLACK, True)]
    return ends


def _draw_levels(axes: "Axes", sweep: SweepRecords, factor: str) -> list[End]:
    """Mean curve of the arms with the factor on against those with it off; each arm faintly."""
    levels = {run.arm: run.levels.get(factor, "off") for run in sweep.runs}
    free = (colour for colour in palette() if colour not in (BLUE, VERMILLION))
    colours = {"on": BLUE, "off": VERMILLION}
    colours |= {level: next(free) for level in sorted(set(levels.values()) - set(colours))}
    for curve in merged(valid_curves(sweep)):
        sides = {levels[arm] for arm in curve.arms}
        faint = colours[sides.pop()] if len(sides) == 1 else GREY
        axes.plot(curve.steps, curve.mean, color=faint, lw=0.7, alpha=0.45)
    ends = []
    for level, curve in factor_curves(sweep, factor).items():
        axes.plot(curve.steps, curve.mean, color=colours[level], lw=2.4, ls="-" if level == "on" else DASHED)
        text = f"{level} ({len(curve.arms)})"
        ends.append(End(text, curve.steps[-1], curve.mean[-1], colours[level], True))
    return ends


def draw_arm(axes: "Axes", sweep: SweepRecords, arm: str) -> None:
    """One arm: what it is worth (reference) and what it would have shown (reported)."""
    ends: list[End] = []
    for name, read, colour, style in (
        ("reference", reference_curve, BLUE, "-"),
        ("reported", reported_curve, VERMILLION, DASHED),
    ):
        for curve in (c for c in arm_curves(sweep, read) if c.arms == (arm,)):
            axes.plot(curve.steps, curve.mean, color=colour, lw=2, ls=style)
            _band(axes, curve, colour)
            ends.append(End(name, curve.steps[-1], curve.mean[-1], colour, False))
    if len(ends) == 2 and ends[0].reward == ends[1].reward:
        ends = [End("both", ends[0].step, ends[0].reward, BLACK, False)]
    _frame(axes, sweep, "")
    _label_ends(axes, ends)
    axes.set_title(arm, loc="left", fontsize=10, fontweight="bold")


def gap_figure(sweep: SweepRecords, width: float = 9.0) -> "Figure":
    """All arms at once: last reference (filled) and last reported (hollow) reward, a row each."""
    rows = [
        (row.arm, row.last, row.reported)
        for row in arm_rows(sweep)
        if row.last is not None and row.reported is not None
    ]
    figure = _figure(width, max(1.6, 0.9 + 0.19 * len(rows)))
    axes = _axes(figure)
    arms, places = [arm for arm, *_ in rows], list(range(len(rows)))
    last, reported = [last for _, last, _ in rows], [reported for *_, reported in rows]
    axes.hlines(places, last, reported, color="#bbbbbb", lw=1.2, zorder=1)
    axes.plot(last, places, "o", color=BLUE, ms=6, zorder=3)
    axes.plot(reported, places, "o", mfc="white", mec=VERMILLION, mew=1.4, ms=9, zorder=2)
    axes.set_yticks(places, arms, fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(left=_floor([*last, *reported]))
    axes.set_xlabel("reward at the last step: ● reference, ○ reported", fontsize=9)
    axes.grid(axis="x", color="#e6e6e6", lw=0.8)
    axes.set_axisbelow(True)
    return figure


def _figure(width: float, height: float) -> "Figure":
    # Figure without pyplot: no global state, no display, nothing to close.
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams["text.parse_math"] = False  # a name with two dollars is no formula
    return Figure(figsize=(width, height), layout="constrained")


def _axes(figure: "Figure", rows: int = 1, columns: int = 1, place: int = 1) -> "Axes":
    axes = figure.add_subplot(rows, columns, place)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
    return axes


def _band(axes: "Axes", curve: Curve, colour: str) -> None:
    if curve.low != curve.high:
        axes.fill_between(curve.steps, curve.low, curve.high, color=colour, alpha=0.12, lw=0)


def _frame(axes: "Axes", sweep: SweepRecords, ylabel: str) -> None:
    """The same scales in every panel, so that panels can be compared by eye."""
    from matplotlib.ticker import MaxNLocator

    values = [
        value for run in sweep.runs for v in run.validations for value in (v.reference, v.reported) if value is not None
    ]
    last = max((v.step for run in sweep.runs for v in run.validations), default=1)
    axes.set_xlim(-0.02 * last, max(last, 1))
    axes.set_ylim(_floor(values), min(1.02, max([0.1, *values]) * 1.12))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color="#e6e6e6", lw=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("training step", fontsize=9)
    axes.set_ylabel(ylabel, fontsize=9)


def _floor(rewards: Sequence[float]) -> float:
    """0, or somewhat below the lowest reward: what an arm reports may be as low as −1."""
    return min([0.0, *rewards]) * 1.05


def _label_ends(axes: "Axes", ends: Sequence[End], size: float = 9) -> None:
    """Name each line at the right edge, moved apart where lines end close together."""
    low, high = axes.get_ylim()
    rows = axes.get_subplotspec().get_gridspec().nrows  # type: ignore[union-attr]
    figure = axes.get_figure(root=True)
    assert figure is not None
    height = figure.get_size_inches()[1] / rows * 72 * 0.75  # points, about what the axes get
    places = spread([end.reward for end in ends], (high - low) * size * 1.25 / height, high)
    right = axes.get_xlim()[1]
    for end, y in zip(ends, places, strict=True):
        axes.annotate(
            end.text,
            (end.step, end.reward),
            (right * 1.03, y),
            textcoords="data",
            annotation_clip=False,
            color=end.colour,
            fontsize=size,
            va="center",
            fontweight="bold" if end.bold else "normal",
            # grey and dotted, so that it is not taken for data where a run has not gone all the way
            arrowprops={
                "arrowstyle": "-",
                "color": GREY,
                "lw": 0.6,
                "ls": ":",
                "shrinkA": 0,
                "shrinkB": 2,
                "relpos": (0, 0.5),
            },
        )


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
