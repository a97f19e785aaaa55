"""The verdict at a glance: which fixes matter, which are undecided, which make no difference; each with its figure."""

from collections.abc import Iterator
from dataclasses import dataclass

from harness.records.load import SweepRecords
from harness.report import effect_text
from harness.report.templating import render
from harness.stats.effects import Effect, Effects
from harness.stats.reward_range import DIFFERENCE, cut
from harness.stats.verdicts import DEPENDS, LOWERS, NO_EFFECT, RAISES, UNDECIDED

CHIPS = ("Matters", "Undecided", "Makes no difference")
WIDTH, HEIGHT = 120, 14  # of a figure, in its own units


@dataclass(frozen=True)
class Bar:
    """An interval within −1..1, in units of the figure; cut where it goes on beyond that."""

    low: float
    high: float
    point: float
    cut_low: bool
    cut_high: bool


@dataclass(frozen=True)
class ChipLine:
    factor: str
    estimate: str
    basis: str  # seeds, and what is special
    bar: Bar | None


def chips_html(sweep: SweepRecords, effects: Effects) -> str:
    """Empty where the sweep answers no question about single fixes."""
    kind = effect_text.leading_kind(effects)
    if kind is None:
        return ""
    placebos = sweep.declared.placebos
    found = [e for e in effects.of(kind) if e.factors[0] not in placebos]
    found.sort(key=lambda effect: -abs(effect.value or 0.0))
    chips = [(title, [_line(e) for e in found if _chip(e) == title]) for title in CHIPS]
    return render("chips.jinja", chips=chips, means=effect_text.KIND_MEANS[kind], width=WIDTH, height=HEIGHT)


def _chip(effect: Effect) -> str:
    if effect.verdict in (RAISES, LOWERS, DEPENDS):
        return CHIPS[0]
    return CHIPS[2] if effect.verdict == NO_EFFECT else CHIPS[1]


def _line(effect: Effect) -> ChipLine:
    return ChipLine(effect_text.short(effect), _estimate(effect), ", ".join(_basis(effect)), bar_of(effect))


def _estimate(effect: Effect) -> str:
    if effect.low is not None and effect.high is not None and all(cut(effect.low, effect.high, DIFFERENCE)[2:]):
        return f"no usable interval from {effect.seeds} seeds"
    return effect_text.estimate(effect, DIFFERENCE)


def _basis(effect: Effect) -> Iterator[str]:
    if effect.value is not None:
        yield f"{effect.seeds} seed{'s' * (effect.seeds != 1)}"
    if effect.verdict not in (RAISES, UNDECIDED, NO_EFFECT):
        yield effect_text.VERDICTS[effect.verdict]


def bar_of(effect: Effect) -> Bar | None:
    """None where there is nothing to draw."""
    if effect.value is None:
        return None
    low, high = (effect.value if end is None else end for end in (effect.low, effect.high))
    low, high, before, after = cut(low, high, DIFFERENCE)
    return Bar(_place(low), _place(high), _place(effect.value), cut_low=bool(before), cut_high=bool(after))


def _place(value: float) -> float:
    least, most = DIFFERENCE
    return round((min(max(value, least), most) - least) / (most - least) * (WIDTH - 16) + 8, 1)
