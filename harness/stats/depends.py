"""Verdicts that hold for some steps only, and what "no effect" takes beyond an interval at the last step.

Depends: two validations from the middle of the curve on (settling.py) at which a reader would conclude otherwise.
    one    it matters: at the last step by Holm's correction over the effects, at an earlier one also over the steps
    other  the effect has the other sign and matters by the same rule; or its 95 % interval lies within ± δ, and the
           change between the two has a 95 % interval without 0
The second is no proof that there is nothing: it takes back a claim that would be made without it. So it asks less than
"no effect" does; `experiments/benchmarks/band_coverage.py` says how often it is said of an effect that is always the
same.

No effect: at every validation from the middle of the curve on it lies within ± δ, and all_on had settled. Each
validation is tested at the full level: all of them have to pass, so none of them needs a correction for the others
(intersection-union test: Berger 1982, Technometrics 24, 295-300). What is identical in every episode and weight stays
"no effect" whether or not all_on had settled: the two arms are one run under two names, as far as they went.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.stats.by_step import EffectCurve, StepEffect, at_steps
from harness.stats.contrasts import Contrast
from harness.stats.intervals import LEVEL
from harness.stats.measured import Measured, measure
from harness.stats.outcomes import Outcomes
from harness.stats.reward_range import DIFFERENCE, brackets
from harness.stats.settling import RISING, SETTLED, Settling
from harness.stats.verdicts import DEPENDS, LOWERS, NO_EFFECT, RAISES, UNDECIDED

NOT_SETTLED = "all_on is not shown to have settled, so it cannot be called no effect"
TOO_SHORT = "all_on still rises at the last step, so it cannot be called no effect"
NOT_ALWAYS = "at another validation from the middle of the curve on it is not shown to be within the margin"


@dataclass(frozen=True)
class Qualified:
    """What a verdict on the final reward becomes once the other steps are looked at, and why."""

    verdict: str
    note: str = ""


def with_places(curve: EffectCurve, outcomes: Outcomes, contrast: Contrast, verdict: str, middle: int) -> EffectCurve:
    """The curve with the two steps between which its verdict turns round, if there are such. verdict: on the final
    reward."""
    points = [p for p in curve.points if p.step >= middle and p.value is not None]
    last = curve.points[-1].step
    matters = [p for p in points if _matters(p, verdict if p.step == last else None)]
    pairs = [(a, b) for b in matters for a in points if a is not b and _otherwise(a, b, a in matters, curve.margin)]
    changed = [(a, b) for a, b in pairs if _change_is_clear(outcomes, contrast, a.step, b.step)]
    if not changed:
        return curve
    # the last step where it matters there, else where it matters most; against it the nearest other place
    a, b = min(changed, key=lambda pair: (pair[1].step != last, -abs(pair[1].value or 0.0), abs(_apart(pair))))
    return replace(curve, places=tuple(sorted((a.step, b.step))))


def qualify(verdict: str, identical: bool, curve: EffectCurve, settling: Settling | None) -> Qualified:
    """The verdict on a factor, from the one on its final reward."""
    if curve.places:
        return Qualified(DEPENDS, ", ".join(_at(p) for p in curve.points if p.step in curve.places))
    if verdict != NO_EFFECT or identical:
        return Qualified(verdict)
    if not curve.nothing:
        return Qualified(UNDECIDED, NOT_ALWAYS)
    if settling is None or settling.state != SETTLED:
        return Qualified(UNDECIDED, TOO_SHORT if settling and settling.state == RISING else NOT_SETTLED)
    return Qualified(verdict)


def _matters(point: StepEffect, final: str | None) -> bool:
    """final: the verdict on the last step, where the point is that one"""
    if final is not None:
        return final in (RAISES, LOWERS)
    return point.p_all is not None and point.p_all < 1 - LEVEL and point.verdict in (RAISES, LOWERS)


def _otherwise(a: StepEffect, b: StepEffect, a_matters: bool, margin: float) -> bool:
    assert a.value is not None and b.value is not None
    if a.low is None or a.high is None:
        return False
    if a_matters and a.value * b.value < 0:
        return True
    return -margin <= a.low and a.high <= margin


def _change_is_clear(outcomes: Outcomes, contrast: Contrast, one: int, other: int) -> bool:
    """Whether the 95 % interval of the effect's change between two steps excludes 0."""
    both = at_steps(outcomes, sorted(outcomes.steps.index(s) for s in (one, other)))
    found = measure(both, contrast, "rise")
    return isinstance(found, Measured) and found.judged(outcomes).p_value < 1 - LEVEL


def _apart(pair: Sequence[StepEffect]) -> int:
    return pair[0].step - pair[1].step


def _at(point: StepEffect) -> str:
    assert point.value is not None and point.low is not None and point.high is not None
    return f"{point.value:+.3f} {brackets(point.low, point.high, DIFFERENCE)} at step {point.step}"
