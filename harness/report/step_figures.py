"""Effects over the steps, one panel per fix."""

from typing import TYPE_CHECKING

from harness.report.figures import BLACK, BLUE, VERMILLION, _axes, _figure
from harness.report.step_text import decided, decided_together, leading_curves
from harness.stats.by_step import EffectCurve
from harness.stats.effects import Effects
from harness.stats.reward_range import DIFFERENCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = (
    "Dark band: 95 % interval of one step; light band: 95 % for all steps of that fix together (it may run out of the "
    "panel). Both are cut where rewards end; an arrowhead marks where that cuts one step's interval. Filled: decided, "
    "had one stopped there (Holm over the fixes); large: also over the steps. Grey strip: next to nothing. Dotted: the "
    "middle of the curve."
)
ALT = "Effect of each fix against training step with bands"


def steps_figure(effects: Effects, width: float = 9.0) -> "Figure":
    curves = leading_curves(effects)
    columns = 3 if width > 6 else 2
    rows = -(-len(curves) // columns)
    figure = _figure(width, (2.3 if width > 6 else 1.9) * rows)
    low, high = _limits(curves)
    for place, curve in enumerate(curves, start=1):
        axes = _axes(figure, rows, columns, place)
        draw_curve(axes, curve, effects.settled.middle if effects.settled else None)
        axes.set_ylim(low, high)
        axes.set_title(" × ".join(curve.factors), loc="left", fontsize=11, fontweight="bold")
        if (place - 1) % columns:
            axes.set_yticklabels([])
        if place > len(curves) - columns:
            axes.set_xlabel("training step", fontsize=9)
    return figure


def draw_curve(axes: "Axes", curve: EffectCurve, middle: int | None) -> None:
    from matplotlib.ticker import MaxNLocator

    points = [(p, p.value) for p in curve.points if p.value is not None]
    steps, values = [p.step for p, _ in points], [v for _, v in points]
    axes.axhspan(-curve.margin, curve.margin, color="#efefef", lw=0, zorder=0)
    axes.axhline(0, color=BLACK, lw=0.8, zorder=1)
    if middle is not None:
        axes.axvline(middle, color="#999999", lw=0.8, ls=":", zorder=1)
    together, alone = [(p.low_all, p.high_all) for p, _ in points], [(p.low, p.high) for p, _ in points]
    for bounds, alpha in ((together, 0.13), (alone, 0.25)):
        lows, highs = ([_inside(x) for x in side] for side in zip(*bounds, strict=True))
        axes.fill_between(steps, lows, highs, color=BLUE, alpha=alpha, lw=0, zorder=2)
    axes.plot(steps, values, color="#444444", lw=1.4, zorder=3)
    for point, value in points:
        colour = "#444444" if not decided(point) else BLUE if value > 0 else VERMILLION
        face, size = colour if decided(point) else "white", 7 if decided_together(point) else 4.5
        axes.plot(point.step, value, "o", mfc=face, mec=colour, mew=1.2, ms=size, zorder=4)
        for end, mark in ((point.low, "v"), (point.high, "^")):
            if end is not None and abs(end) > DIFFERENCE[1] + 1e-9:
                axes.plot(point.step, _inside(end), mark, color=BLUE, ms=4, zorder=4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color="#e6e6e6", lw=0.8)
    axes.set_axisbelow(True)


def _inside(end: float | None) -> float:
    """An end of an interval, no farther than rewards go; NaN where there is none."""
    least, most = DIFFERENCE
    return float("nan") if end is None else min(max(end, least), most)


def _limits(curves: tuple[EffectCurve, ...]) -> tuple[float, float]:
    """One scale for all panels: every value and one step's interval, as far as rewards go."""
    ends = [x for c in curves for p in c.points for x in (p.low, p.high) if x is not None]
    low, high = max(-1.0, min([-0.1, *ends])), min(1.0, max([0.1, *ends]))
    return low - 0.05 * (high - low), high + 0.05 * (high - low)
