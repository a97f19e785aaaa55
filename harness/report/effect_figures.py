"""Forest plot, Shapley bars, performance profiles: from effects to figures, each also in a narrow form for phones."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.report import effect_text
from harness.report.curves import Curve, merged
from harness.report.figures import BLACK, BLUE, DASHED, GREY, NAMED, VERMILLION, _axes, _figure
from harness.report.step_figures import ALT as STEPS_ALT
from harness.report.step_figures import CAPTION as STEPS_CAPTION
from harness.report.step_figures import steps_figure
from harness.stats.effects import Effect, Effects
from harness.stats.profiles import ArmSummary, heights
from harness.stats.reward_range import DIFFERENCE, Range, cut, reach_of
from harness.stats.verdicts import DEPENDS, LOWERS, NO_EFFECT, RAISES, margin_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, NARROW = 9.0, 4.2  # inches


def forest_figure(effects: Effects, width: float = WIDE) -> "Figure":
    """One panel per kind of effect, with a scale of its own: means over a factorial are diluted."""
    kinds = effect_text.answered_kinds(effects)
    wide = width > 6
    figure = _figure(width, 3.1 if wide else 2.75 * len(kinds))
    for place, kind in enumerate(kinds, start=1):
        axes = _axes(figure, *((1, len(kinds)) if wide else (len(kinds), 1)), place)
        draw_forest(axes, effects.of(kind), _margin(effects, kind))
        if kind == "main":  # diluted, so on a scale of its own
            axes.set_xlim(*_limits(effects, ("main",)))
        else:
            axes.set_xlim(*_limits(effects, ("leave_one_out", "added_alone")))
        axes.locator_params(axis="x", nbins=5)
        axes.set_title(effect_text.KIND_TITLES[kind], loc="left", fontsize=11, fontweight="bold")
        if wide and place > 1:
            axes.set_yticklabels([])
    return figure


def _bar(axes: "Axes", low: float | None, high: float | None, y: int, within: Range, **style: Any) -> None:
    """An interval, with an arrowhead where it is cut; nothing where there is none."""
    if low is None or high is None:
        return
    low, high, before, after = cut(low, high, within)
    axes.plot([low, high], [y, y], **style)
    for end, is_there, mark in ((low, before, "<"), (high, after, ">")):
        if is_there:
            axes.plot(end, y, mark, color=style["color"], ms=5, zorder=style["zorder"], clip_on=False)


def draw_forest(axes: "Axes", found: Sequence[Effect], margin: float) -> None:
    """Thick: the 95 % interval of one effect; thin: of all together. Filled: decided; hollow: undecided."""
    axes.axvspan(-margin, margin, color="#efefef", lw=0, zorder=0)
    axes.axvline(0, color=BLACK, lw=0.8, zorder=1)
    for y, effect in enumerate(found):
        if effect.value is None:
            style: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 8, "color": GREY}
            axes.annotate("not answered", (0, y), (4, 0), **style)
            continue
        colour = {RAISES: BLUE, LOWERS: VERMILLION}.get(effect.verdict, "#444444")
        within = reach_of(effect.kind, "final", (0,))
        _bar(axes, effect.low_all, effect.high_all, y, within, color=colour, lw=1.1, zorder=2)
        _bar(axes, effect.low, effect.high, y, within, color=colour, lw=3.4, solid_capstyle="butt", zorder=3)
        mark = {NO_EFFECT: "s", DEPENDS: "D"}.get(effect.verdict, "o")
        face = colour if effect.verdict in (RAISES, LOWERS) else "white"
        axes.plot(effect.value, y, mark, mfc=face, mec=colour, mew=1.6, ms=7.5, zorder=4)
    axes.set_yticks(range(len(found)), [effect_text.short(e) for e in found], fontsize=10)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.grid(axis="x", color="#e6e6e6", lw=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("change of the final reference reward", fontsize=9)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _margin(effects: Effects, kind: str) -> float:
    factors = len({factor for effect in effects.of("main") for factor in effect.factors})
    return margin_of(kind, "final", effects.steps, factors, effects.margin)


def _limits(effects: Effects, kinds: Sequence[str]) -> tuple[float, float]:
    """One scale for these kinds: the strip of next to nothing is inside, and all intervals as far as a reward can
    change."""
    margin = _margin(effects, kinds[0])
    least, most = reach_of(kinds[0], "final", (0,))
    ends = [
        min(max(x, least), most) for k in kinds for e in effects.of(k) for x in (e.low_all, e.high_all) if x is not None
    ]
    low, high = min([-margin, *ends]), max([2 * margin, *ends])
    return low - 0.04 * (high - low), high + 0.04 * (high - low)


def shapley_figure(effects: Effects, width: float = WIDE) -> "Figure":
    """A bar per fix, largest first, with its 95 % interval."""
    found = sorted(effect_text.answered(effects, "shapley"), key=lambda e: -(e.value or 0.0))
    figure = _figure(width, 2.6)
    axes = _axes(figure)
    for y, effect in enumerate(found):
        value = effect.value or 0.0
        axes.barh(y, value, height=0.6, color=BLUE if value >= 0 else VERMILLION, zorder=2)
        _bar(axes, effect.low, effect.high, y, DIFFERENCE, color=BLACK, lw=1.3, marker="|", ms=7, zorder=3)
    axes.axvline(0, color=BLACK, lw=0.8)
    axes.set_yticks(range(len(found)), [e.factors[0] for e in found], fontsize=10)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=5)
    axes.grid(axis="x", color="#e6e6e6", lw=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("share of the final reference reward", fontsize=9)
    axes.tick_params(axis="y", length=0)
    return figure


def profiles_figure(effects: Effects, colours: Mapping[str, str], width: float = WIDE) -> "Figure":
    """Share of an arm's scores that reach a height; arms with the same profile are one line. colours: by arm"""
    lines = merged([_profile(s) for s in effects.summaries if s.profile])
    wide = width > 6
    figure = _figure(width, 3.6 if wide else 2.9 + 0.19 * min(len(lines), NAMED))
    axes = _axes(figure)
    named: list[tuple[float, int, Any]] = []
    used = set[str]()
    for place, line in enumerate(lines):
        best = "all_on" in line.arms
        colour = BLACK if best else colours.get(line.arms[0], GREY)
        style = DASHED if colour in used else "-"  # arms may share a curve and not a profile
        used |= {colour} - {GREY}
        is_named = best or (colour != GREY and len(named) < NAMED)
        thick = 2.8 if best else 1.4 if is_named else 0.6
        (drawn,) = axes.plot(line.steps, line.mean, color=colour, lw=thick, ls=style, label=line.label(36))
        drawn.set_zorder(2 + best)
        if is_named:
            axes.fill_between(line.steps, line.low, line.high, color=colour, alpha=0.08, lw=0)
            named.append((-sum(line.mean), place, drawn))
    # A legend, highest profile first, since the lines end in one place.
    handles = [drawn for *_, drawn in sorted(named, key=lambda n: n[:2])]
    figure.legend(
        handles=handles, loc="outside right upper" if wide else "outside lower left", frameon=False, fontsize=9
    )
    axes.set_xlim(min(line.steps[0] for line in lines), 1)
    axes.set_ylim(0, 1.02)
    axes.grid(axis="y", color="#e6e6e6", lw=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("time-averaged reward τ of a seed and task", fontsize=9)
    axes.set_ylabel("share of scores ≥ τ", fontsize=9)
    return figure


def _profile(summary: ArmSummary) -> Curve:
    """Without a band where there is no interval."""
    share, low, high = zip(
        *((v, v if low is None else low, v if high is None else high) for v, low, high in summary.profile), strict=True
    )
    return Curve((summary.arm,), heights(len(share)), share, low, high)


def effect_figure(name: str, effects: Effects, colours: Mapping[str, str], width: float = WIDE) -> "Figure":
    """name: of CAPTIONS; colours: by arm, the same in every figure"""
    return profiles_figure(effects, colours, width) if name == "profiles" else FIGURES[name](effects, width)


FIGURES: dict[str, Callable[..., "Figure"]] = {
    "forest": forest_figure,
    "shapley": shapley_figure,
    "steps": steps_figure,
}
CAPTIONS = {
    "forest": (
        "Thick: 95 % interval of the effect alone; thin: 95 % for all of them together. Filled: decided after Holm's "
        "correction; hollow circle: undecided; hollow square: no effect, the thin line lies within the grey strip; "
        "diamond: it depends (see the notes); arrowhead: cut where rewards end. "
        "The scales differ: a mean over the factorial is diluted by closed gates."
    ),
    "shapley": "Lines: 95 % intervals, with an arrowhead where they are cut, since rewards end there.",
    "profiles": "Bands: 95 % intervals over seeds and tasks. Arms with the same profile are one line.",
    "steps": STEPS_CAPTION,
}
ARROWS = "An arrow: the interval goes beyond −1 or 1, all that a reward can change by."  # of the page
ALTS = {
    "forest": "Effect of each fix on the final reference reward with 95 % intervals",
    "shapley": "Shapley share of each fix with 95 % intervals",
    "profiles": "Share of scores of at least each height, one line per arm",
    "steps": STEPS_ALT,
}
