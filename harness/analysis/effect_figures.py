"""Forest plot and Shapley bars: from effects to matplotlib figures, each also in a narrow form for phones."""

from collections.abc import Callable, Sequence
from math import isfinite
from typing import TYPE_CHECKING

from harness.analysis import phrases
from harness.analysis.effects import LOWERS, NO_EFFECT, RAISES, Effect, Effects, margin_of
from harness.analysis.figures import BLACK, BLUE, GREY, VERMILLION, _axes, _figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, NARROW = 9.0, 4.2  # inches


def forest_figure(effects: Effects, width: float = WIDE) -> "Figure":
    """One panel per kind of effect, with a scale of its own: means over a factorial are diluted."""
    kinds = phrases.answered_kinds(effects)
    wide = width > 6
    figure = _figure(width, 3.1 if wide else 2.75 * len(kinds))
    for place, kind in enumerate(kinds, start=1):
        axes = _axes(figure, *((1, len(kinds)) if wide else (len(kinds), 1)), place)
        draw_forest(axes, effects.of(kind), margin_of(kind, "final", effects.steps))
        if kind == "main":  # diluted, so on a scale of its own
            axes.set_xlim(*_limits(effects, ("main",)))
        else:
            axes.set_xlim(*_limits(effects, ("leave_one_out", "added_alone")))
        axes.locator_params(axis="x", nbins=5)
        axes.set_title(phrases.KIND_TITLES[kind], loc="left", fontsize=11, fontweight="bold")
        if wide and place > 1:
            axes.set_yticklabels([])
    return figure


def draw_forest(axes: "Axes", found: Sequence[Effect], margin: float) -> None:
    """Thick: the 95 % interval of one effect; thin: of all together. Filled: decided; hollow: undecided."""
    axes.axvspan(-margin, margin, color="#efefef", lw=0, zorder=0)
    axes.axvline(0, color=BLACK, lw=0.8, zorder=1)
    for y, effect in enumerate(found):
        if effect.value is None:
            style = {"textcoords": "offset points", "va": "center", "fontsize": 8, "color": GREY}
            axes.annotate("not answered", (0, y), (4, 0), **style)
            continue
        colour = {RAISES: BLUE, LOWERS: VERMILLION}.get(effect.verdict, "#444444")
        axes.plot([effect.low_all, effect.high_all], [y, y], color=colour, lw=1.1, zorder=2)
        axes.plot([effect.low, effect.high], [y, y], color=colour, lw=3.4, solid_capstyle="butt", zorder=3)
        mark = "s" if effect.verdict == NO_EFFECT else "o"
        face = colour if effect.verdict in (RAISES, LOWERS) else "white"
        axes.plot(effect.value, y, mark, mfc=face, mec=colour, mew=1.6, ms=7.5, zorder=4)
    axes.set_yticks(range(len(found)), [e.factors[0] + " + …" * bool(e.aliases) for e in found], fontsize=10)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.grid(axis="x", color="#e6e6e6", lw=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("change of the final reference reward", fontsize=9)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _limits(effects: Effects, kinds: Sequence[str]) -> tuple[float, float]:
    """One scale for these kinds: all their intervals, and the strip of next to nothing, are inside."""
    margin = margin_of(kinds[0], "final", effects.steps)
    ends = [x for k in kinds for e in effects.of(k) for x in (e.low_all, e.high_all) if x is not None and isfinite(x)]
    low, high = min([-margin, *ends]), max([2 * margin, *ends])
    return low - 0.04 * (high - low), high + 0.04 * (high - low)


def shapley_figure(effects: Effects, width: float = WIDE) -> "Figure":
    """A bar per fix, largest first, with its 95 % interval."""
    found = sorted(phrases.answered(effects, "shapley"), key=lambda e: -(e.value or 0.0))
    figure = _figure(width, 2.6)
    axes = _axes(figure)
    for y, effect in enumerate(found):
        value = effect.value or 0.0
        axes.barh(y, value, height=0.6, color=BLUE if value >= 0 else VERMILLION, zorder=2)
        axes.plot([effect.low, effect.high], [y, y], color=BLACK, lw=1.3, zorder=3)
        axes.plot([effect.low, effect.high], [y, y], "|", color=BLACK, ms=7, zorder=3)
    axes.axvline(0, color=BLACK, lw=0.8)
    axes.set_yticks(range(len(found)), [e.factors[0] for e in found], fontsize=10)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=5)
    axes.grid(axis="x", color="#e6e6e6", lw=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("share of the final reference reward", fontsize=9)
    axes.tick_params(axis="y", length=0)
    return figure


FIGURES: dict[str, Callable[..., "Figure"]] = {"forest": forest_figure, "shapley": shapley_figure}
CAPTIONS = {
    "forest": (
        "Thick: 95 % interval of the effect alone; thin: 95 % for all of them together. Filled: decided after Holm's "
        "correction; hollow circle: undecided; hollow square: no effect, the thin line lies within the grey strip. "
        "The scales differ: a mean over the factorial is diluted by closed gates. A fix with “+ …” is a sum of effects "
        "that a fraction of the factorial cannot take apart (the table names them)."
    ),
    "shapley": "Lines: 95 % intervals.",
}
ALTS = {
    "forest": "Effect of each fix on the final reference reward with 95 % intervals",
    "shapley": "Shapley share of each fix with 95 % intervals",
}
