"""How many more seeds each undecided effect needs, and which arms to spend them on, from what a sweep holds.

The effect's variance components say how its spread narrows with seeds: A, B and C of intervals.py at N seeds are
(seed + rest/T)/N, (task + rest/N)/T and rest/(N T). An effect is found with POWER where

    half-width at the level of the next look / effects that are still undecided  +  t(POWER) × error

is no larger than it, as power.py has it. What few seeds say of their own variance is a guess: `at_most` takes it as
large as it is with probability POWER. An effect is decided either way: it is shown, or, if it lies within the margin as
estimated, it is shown to lie there.

Seeds are bought where they decide something: an effect needs the arms that it compares and no others.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from scipy.special import chdtri, stdtrit

from harness.records.looks import Look, Looks
from harness.stats.contrasts import Contrast
from harness.stats.decline import fails
from harness.stats.effects import Effect, estimate_family, moves
from harness.stats.intervals import Spread
from harness.stats.looks import ALPHA, counted_looks, level_now, levels_of
from harness.stats.measured import Measured, contrasts_of, measure
from harness.stats.outcomes import Outcomes
from harness.stats.power import POWER
from harness.stats.verdicts import MIXED, NOT_SHOWN, SEEDS_FOR_NONE, UNDECIDED, margin_of
from harness.stats.worst_case import COULD_EXCEED, COULD_TURN, NOT_AT_RANDOM

MOST = 40  # seeds; what needs more is not to be had by seeds
MANY_TASKS = 2000
OUTCOME = "final"
OPEN = (UNDECIDED, MIXED, NOT_SHOWN)
MORE_STEPS = "decided at the last step, but not over the steps: it takes more steps, not more seeds"


@dataclass(frozen=True)
class Need:
    """What one undecided effect needs. Seeds are those in all, those that it has included; None: not to be had.

    arms: that it compares; why: what cannot be known, or why no number of seeds does
    tasks: with which it is decided at twice the seeds, where seeds alone do not; of variants, groups of them
    """

    effect: Effect
    arms: tuple[str, ...]
    as_estimated: int | None = None
    shown_within: bool = False  # decided as lying within the margin
    at_most: int | None = None
    as_margin: int | None = None
    tasks: int | None = None
    in_groups: bool = False
    runs: int = 0  # more of them, for as_estimated
    why: str = ""


@dataclass(frozen=True)
class Needs:
    """more: seeds to add to each arm, so that each effect with a number has it; whole: runs if all arms got them"""

    kind: str
    undecided: tuple[Need, ...]
    decided: tuple[Effect, ...]
    margin: float
    level: float  # of the present look
    more: Mapping[str, int] = field(default_factory=dict)
    runs: int = 0
    whole: int = 0


def needs(outcomes: Outcomes, kind: str, said: Iterable[Effect] = ()) -> Needs:
    """For the effects of one kind on the final reward. said: what the report says of them, which also looks at the
    other steps and blocks."""
    reported = {e.factors: e for e in said if e.kind == kind and e.outcome == OUTCOME}
    family = [c for c in contrasts_of(outcomes, OUTCOME) if c.kind == kind]
    measured = {id(c): measure(outcomes, c, OUTCOME) for c in family}
    by_seeds = estimate_family(outcomes, OUTCOME, family, measured)
    effects = [replace(e, verdict=reported[e.factors].verdict) if e.factors in reported else e for e in by_seeds]
    margin = margin_of(kind, OUTCOME, outcomes.steps, len(outcomes.factors), outcomes.margin)
    pairs = [(e, c) for e, c in zip(effects, family, strict=True) if e.verdict in OPEN]
    answered = sum(e.value is not None for e in effects)
    enough = {e.factors for e in by_seeds if e.verdict not in OPEN}
    found = tuple(
        Need(e, _arms(outcomes, c), why=MORE_STEPS)
        if e.factors in enough
        else _need(outcomes, e, c, measured[id(c)], margin, len(pairs), answered)
        for e, c in pairs
    )
    decided = tuple(e for e in effects if e.value is not None and e not in [n.effect for n in found])
    more = _more(outcomes, found)
    out = Needs(kind, found, decided, margin, level_now(outcomes.looks), more, sum(more.values()))
    return replace(out, whole=max(more.values(), default=0) * len(outcomes.arms))


def _need(
    outcomes: Outcomes,
    effect: Effect,
    contrast: Contrast,
    found: Measured | str | None,
    margin: float,
    undecided: int,
    answered: int,
) -> Need:
    arms = _arms(outcomes, contrast)
    none = Need(effect, arms)
    if why := _unknown(outcomes, effect, found):
        return replace(none, why=why)
    assert isinstance(found, Measured)
    spread, value = found.spread, abs(found.spread.mean)
    shown = partial(_enough, outcomes.looks, alpha=ALPHA / undecided)
    within = partial(_enough, outcomes.looks, alpha=ALPHA / answered, least=SEEDS_FOR_NONE)
    inside = value < margin
    numbers = [shown(spread, target=value), within(spread, target=margin - value) if inside else None]
    first = min((n for n in numbers if n), default=None)
    wide = _wider(spread)
    widest = [shown(wide, target=value), within(wide, target=margin - value) if inside else None]
    out = replace(
        none,
        as_estimated=first,
        shown_within=bool(first) and first != numbers[0],
        at_most=min((n for n in widest if n), default=None) if first else None,
        as_margin=shown(spread, target=margin),
    )
    if first:
        return replace(out, runs=sum(_missing(outcomes, arm, first) for arm in arms))
    tasks = _enough_tasks(outcomes.looks, spread, value, ALPHA / undecided)
    why = f"more than {MOST} seeds, if it is as estimated"
    return replace(out, tasks=tasks, in_groups=spread.groups is not None, why=why)


def _arms(outcomes: Outcomes, contrast: Contrast) -> tuple[str, ...]:
    """The names of those that a contrast compares."""
    return tuple(outcomes.arms[a].name for a in np.flatnonzero(contrast.weights_A))


def _unknown(outcomes: Outcomes, effect: Effect, found: Measured | str | None) -> str:
    """Why nothing can be said of how many seeds it takes."""
    if not isinstance(found, Measured):
        return str(found)
    if effect.verdict == MIXED:
        return "more seeds do not take it apart from its aliases"
    if effect.verdict == NOT_SHOWN:
        return "no seed shows its switch"
    if not moves(outcomes):
        return "no arm moves, so more seeds would show nothing"
    if fails(outcomes):
        return "with all fixes on the policy ends below its start"
    if found.spread.seeds < 2:
        return "one seed says nothing of how seeds differ: 3 say a little, 5 more"
    if levels_of(_with_another(outcomes.looks, found.spread.seeds, found.spread.seeds + 1))[-1] <= 0:
        return "all looks beyond the plan are used, so more seeds decide nothing in this sweep; a new one does"
    if missing := next((why for why in (NOT_AT_RANDOM, COULD_TURN, COULD_EXCEED) if why in effect.note), ""):
        return f"{missing}: more seeds make up for that slowly, these episodes or runs at once"
    if found.spread.error == 0:
        return "every seed and task is the same so far"
    return ""


def _enough(looks: Looks, spread: Spread, *, target: float, alpha: float, least: int = 2) -> int | None:
    """The fewest seeds in all at which a difference of this size is found; None if more than MOST."""
    low, high = max(spread.seeds, least - 1), MOST
    if target <= 0 or _detected(looks, spread, MOST, spread.columns, alpha) > target:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if _detected(looks, spread, middle, spread.columns, alpha) > target:
            low = middle
        else:
            high = middle
    return high


def _enough_tasks(looks: Looks, spread: Spread, target: float, alpha: float) -> int | None:
    """The fewest tasks (or groups of variants), doubling, at which it is found with twice the seeds."""
    tasks, seeds = spread.columns, min(2 * spread.seeds, MOST)
    while tasks <= MANY_TASKS:
        if _detected(looks, spread, seeds, tasks, alpha) <= target:
            return tasks
        tasks *= 2
    return None


def _detected(looks: Looks, spread: Spread, seeds: int, tasks: int, alpha: float) -> float:
    """The smallest difference that is found with POWER. tasks: columns of intervals.py"""
    of_seed, of_task, rest = (max(part, 0.0) if part == part else 0.0 for part in spread.components)
    by_seed, by_task = (of_seed + rest / tasks) / seeds, (of_task + rest / seeds) / tasks
    least = spread.least * spread.seeds * spread.columns / (seeds * tasks)
    expected = Spread(0.0, by_seed, by_task, rest / (seeds * tasks), seeds, tasks, least)
    level = levels_of(_with_another(looks, spread.seeds, seeds), alpha)[-1]
    if level <= 0:
        return np.inf
    df = expected.error**4 / (by_seed**2 / (seeds - 1) + by_task**2 / max(tasks - 1, 1))
    return expected.half_width(1 - level) + float(stdtrit(df, POWER)) * expected.error


def _with_another(looks: Looks, had: int, seeds: int) -> Looks:
    """The looks and one more after so many seeds. Of a sweep that names none, its plan is what it has: a further look
    goes beyond it."""
    before = counted_looks(looks) if looks.at else (Look(tuple(range(had)), had),)
    planned = looks.planned if looks.at else had
    before = tuple(look for look in before if 1 < len(look.seeds) < seeds)
    return Looks((*before, Look(tuple(range(seeds)), seeds)), planned, looks.open_ended)


def _wider(spread: Spread) -> Spread:
    """With the variance between seeds as large as it is with probability POWER, given what the seeds show."""
    factor = (spread.seeds - 1) / float(chdtri(spread.seeds - 1, POWER))
    return replace(spread, by_seed=spread.by_seed * max(factor, 1.0))


def _missing(outcomes: Outcomes, arm: str, seeds: int) -> int:
    place = [a.name for a in outcomes.arms].index(arm)
    return max(seeds - int(outcomes.counts(OUTCOME)[place].sum()), 0)


def _more(outcomes: Outcomes, found: Sequence[Need]) -> dict[str, int]:
    """Arms in the sweep's order, each with the most seeds that one of its effects needs."""

    def each() -> Iterator[tuple[str, int]]:
        for arm in (a.name for a in outcomes.arms):
            wanted = [n.as_estimated for n in found if arm in n.arms and n.as_estimated]
            if wanted and (missing := _missing(outcomes, arm, max(wanted))):
                yield arm, missing

    return dict(each())
