"""What is said about the steps and blocks at which a verdict holds."""

from collections.abc import Iterator, Sequence

from harness.report import effect_text, formats
from harness.stats.by_step import EffectCurve, StepEffect
from harness.stats.effect_map import Place
from harness.stats.effects import Effect, Effects
from harness.stats.reward_range import DIFFERENCE
from harness.stats.settling import FALLING, RISING, SETTLED, Settling
from harness.stats.verdicts import DEPENDS, LOWERS, RAISES


def depending(effects: Effects, found: Sequence[Effect]) -> list[str]:
    """A clause for each of these effects that depends on the step or the block, with the two places."""
    return [f"{effect_text.short(e)} depends on {where(effects, e)}" for e in found if e.verdict == DEPENDS]


def where(effects: Effects, effect: Effect) -> str:
    """`when one stops (0.000 [−0.03, 0.03] at step 8, +0.622 [0.29, 0.96] at step 24)`"""
    curve = next((c for c in effects.by_step if (c.kind, c.factors) == (effect.kind, effect.factors)), None)
    turn = next((t for t in effects.map.turns if (t.kind, t.factors) == (effect.kind, effect.factors)), None)
    said = []
    if curve and curve.places:
        points = [p for p in curve.points if p.step in curve.places]
        said.append(f"when one stops ({', '.join(f'{_estimate(p)} at step {p.step}' for p in points)})")
    if turn:
        places = [f"{_estimate(p)} at {p.block}, step {p.step}" for p in (turn.otherwise, turn.matters)]
        said.append(f"the block ({', '.join(places)})")
    return effect_text.listed(said) if said else "the step (see the notes)"


def _estimate(place: StepEffect | Place) -> str:
    return f"{formats.signed(place.value)} {effect_text.interval(place.low, place.high, within=DIFFERENCE)}"


def settling_lines(effects: Effects) -> Iterator[str]:
    """Whether the sweep ran long enough; nothing where all_on had settled or where there is no such arm."""
    s = effects.settled
    if s is None or s.state == SETTLED or s.change is None or not effects.moves:
        return
    change = f"by {_change(s)} from step {s.since} to {effects.steps[-1]} (90 % interval)"
    if s.state == RISING:
        yield f"This sweep is too short: with all fixes on the reward still rises at its last step, {change}."
    elif s.state == FALLING:
        yield f"With all fixes on the reward falls at the end, {change}: verdicts hold for the last step alone."
    else:
        yield (
            f"It is not shown that the reward with all fixes on has settled within ± {effects.margin:g}: it changes "
            f"{change}."
        )


def unsettled_clause(effects: Effects) -> str:
    """For the verdict's third sentence: what a sweep that is too short leaves open; or nothing."""
    s = effects.settled
    if s is None or s.state != RISING:
        return ""
    return (
        f"what happens after step {effects.steps[-1]} (all_on still rises, {_change(s)} since step {s.since}: this "
        "sweep is too short)"
    )


def _change(s: Settling) -> str:
    return f"{formats.signed(s.change)} {effect_text.interval(s.low, s.high, s.seeds)}"


def short_cell(point: StepEffect) -> str:
    """`+.62*`: decided had one stopped there; `**`: with all validations taken together, too."""
    if point.value is None:
        return formats.NONE
    stars = "**" if decided_together(point) else "*" if decided(point) else ""
    text = f"{point.value:+.2f}"
    return ("0" if point.identical else text.replace("-", "−")) + stars


def decided(point: StepEffect) -> bool:
    return point.p_holm is not None and point.p_holm < 0.05 and point.verdict in (RAISES, LOWERS)


def decided_together(point: StepEffect) -> bool:
    return point.p_all is not None and point.p_all < 0.05 and point.verdict in (RAISES, LOWERS)


def leading_curves(effects: Effects) -> tuple[EffectCurve, ...]:
    """Those of the kind that a reader should look at first."""
    kinds = [k for k in effect_text.SINGLE_KINDS if any(c.kind == k for c in effects.by_step)]
    return tuple(c for c in effects.by_step if kinds and c.kind == kinds[0])
