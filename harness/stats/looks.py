"""What looking at a sweep more than once costs: the level of each look, and p-values and intervals that hold over all.

A true null has a share α of being rejected at any of the looks, which `spent` gives out:

    planned     α*(n) = 2 Φ(−z(α/2) / √(n/N)) by n of the N planned seeds (O'Brien & Fleming 1979, Biometrics 35,
                549-556, as a spending function: Lan & DeMets 1983, Biometrika 70, 659-663): little before the last
                seed, so a report of an unfinished sweep costs next to nothing
    open        α*(n) = α n² / (n² + 8²), without an end: half at 8 seeds, 94 % at 32
    extended    beyond its plan, a sweep has α/4 for each of its first four looks, those before included, and nothing
                for later ones. What the plan had spent is not taken back: `error` says what all looks come to

sequential_t.py makes levels of single looks out of that, exactly so where the seeds are all that varies. Tasks are the
same at each look, which ties looks more closely together, so there less is spent than given out. When to look next may
depend on what was seen, with a little more error (Proschan, Follmann & Waclawiw 1992, Biometrics 48, 1131-1143).

A p-value over all looks is the smallest α at which one of them would have rejected (Liu & Anderson 2008, JASA 103,
1623-1630). It is valid for every effect by itself, so Holm's correction holds on these (Maurer & Bretz 2013, Stat.
Biopharm. Res. 5, 311-320). Intervals are repeated ones (Jennison & Turnbull 1989, JRSS B 51, 305-361): all looks' hold
together, so what lies in each of them is the interval. With one look at all that was planned, all of this is what it is
without looks.

A look at one seed decides for that seed alone. It spends nothing, and no later look stands on it.

Sweeps that are put together as one (combine.py) have the looks of each: `pooled`. Whether one of them was started only
because another was undecided, no manifest says.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy.special import ndtr, ndtri

from harness.records.looks import Look, Looks
from harness.stats.intervals import LEVEL, Spread, crossed_spread
from harness.stats.sequential_t import look_levels

Array = np.ndarray
Ends = tuple[float | None, float | None]  # of an interval; None twice where there is none
ALPHA = 1 - LEVEL
MOST_EXTENDED = 4  # looks that α is split over where a sweep goes beyond its plan
HALF_SPENT = 8  # seeds by which an open sweep has spent half
# where the p-value over all looks is computed; between them it is interpolated. Holm decides at α / m
GRID = tuple(sorted({1e-6, 1e-5, 1e-4, 1e-3, 0.1, 0.25, 0.6, *(ALPHA / m for m in range(1, 9))}))


@dataclass(frozen=True)
class LookedAt:
    """What a report says of the looks.

    seeds: that were complete at each look; planned: seeds, None where not recorded
    levels: of each look, for one effect alone
    error: the most that all together err, above 1 − LEVEL only where the sweep was extended beyond its plan
    """

    seeds: tuple[int, ...]
    levels: tuple[float, ...]
    error: float
    planned: int | None
    open_ended: bool
    extended: bool


@dataclass(frozen=True)
class Judged:
    """A mean over all looks. spread: of all seeds"""

    spread: Spread
    p_value: float
    p_now: float  # of the last look that saw something new, among all looks
    seeds: int  # of the look behind the p-value
    looks: tuple[tuple[int, Spread], ...]  # place among the counted looks, and what it saw
    schedule: Looks
    fillings: tuple["Judged", ...] = ()  # the same with missing episodes filled in the worst way, and in the best

    def ends(self, alpha: float = ALPHA) -> Ends:
        """The interval as it is told: none where it is endless, of one number or where no look has a level."""
        low, high = self.interval(alpha)
        return (low, high) if np.isfinite(high - low) else (None, None)

    def interval(self, alpha: float = ALPHA) -> tuple[float, float]:
        """At level 1 − α over all looks, and however the missing episodes came out."""
        ends = [self._at_random(alpha), *(each.interval(alpha) for each in self.fillings)]
        return min(low for low, _ in ends), max(high for _, high in ends)

    def _at_random(self, alpha: float) -> tuple[float, float]:
        now = self.looks[-1][1]
        if once(self.schedule) or now.seeds == 1:
            half = now.half_width(1 - alpha)
            return now.mean - half, now.mean + half
        levels = levels_of(self.schedule, alpha)
        each = [(s.mean, s.half_width(1 - levels[place])) for place, s in self.looks if levels[place] > 0]
        if not each:
            return (now.mean, now.mean) if now.error == 0 else (-np.inf, np.inf)
        low, high = max(m - half for m, half in each), min(m + half for m, half in each)
        mean, half = each[-1]
        return (low, high) if low <= now.mean <= high else (mean - half, mean + half)


def judge(
    values_N_T: Array, seeds: Sequence[int], smallest: float, looks: Looks, groups: tuple[str, ...] | None = None
) -> Judged:
    """seeds: of the rows; smallest, groups: as crossed_spread's"""
    spread, counted = crossed_spread(values_N_T, smallest, groups), counted_looks(looks)
    if once(looks) or len(seeds) == 1:
        return Judged(spread, spread.p_value, spread.p_value, len(seeds), ((len(counted) - 1, spread),), looks)
    seen: list[tuple[int, Spread]] = []
    rows: list[int] = []
    for place, look in enumerate(counted):
        now = [row for row, seed in enumerate(seeds) if seed in look.seeds]
        if len(now) > 1 and now != rows:
            seen.append((place, crossed_spread(values_N_T[now], smallest, groups)))
            rows = now
    over_all = [float(overall_p(np.array(s.p_value), place, looks)) for place, s in seen]
    best = int(np.argmin(over_all))
    return Judged(spread, over_all[best], over_all[-1], seen[best][1].seeds, tuple(seen), looks)


def pooled(sweeps: Sequence[tuple[Looks, Sequence[int]]]) -> Looks:
    """The looks at several sweeps in one table. sweeps: the looks at each, and its seeds, which no other has.

    A look at one sweep is a look at the table that would have been made then. Looks are taken in turn, the second of
    each sweep, then the third: which was first changes the number of seeds behind a level, not the number of looks.
    Where one went beyond its plan, the table did, whatever the others still have to come.
    """
    if len(sweeps) == 1:
        return sweeps[0][0]
    each = [counted_looks(looks) or (Look(tuple(seeds), len(seeds)),) for looks, seeds in sweeps]
    now = [looks[0] for looks in each]
    at = [_together(now)]
    for turn in range(1, max(map(len, each))):
        for place, looks in enumerate(each):
            if turn < len(looks):
                now[place] = looks[turn]
                at.append(_together(now))
    ends = [_end(looks) if looks.at else look.whole for (looks, _), look in zip(sweeps, now, strict=True)]
    if any(looked_at(looks, len(seeds)).extended for looks, seeds in sweeps):
        ends = [min(end, look.whole) for end, look in zip(ends, now, strict=True)]
    return Looks(tuple(at), sum(ends), any(looks.open_ended for looks, _ in sweeps))


def _together(looks: Sequence[Look]) -> Look:
    return Look(tuple(sorted(seed for look in looks for seed in look.seeds)), sum(look.whole for look in looks))


def over_fillings(at_random: Judged, fillings: Sequence[Judged]) -> Judged:
    """What holds however the missing episodes came out (worst_case.py). fillings: none where no episode is missing"""
    if not fillings:
        return at_random
    means = [filled.spread.mean for filled in fillings]
    if min(means) <= 0 <= max(means):
        return replace(at_random, p_value=1.0, p_now=1.0, fillings=tuple(fillings))
    each = (at_random, *fillings)
    least = max(each, key=lambda judged: judged.p_value)
    p_now = max(judged.p_now for judged in each)
    return replace(at_random, p_value=least.p_value, p_now=p_now, seeds=least.seeds, fillings=tuple(fillings))


def counted_looks(looks: Looks) -> tuple[Look, ...]:
    """Those at two seeds or more; of a sweep that has none, the present one."""
    return tuple(look for look in looks.at if len(look.seeds) > 1) or looks.at[-1:]


def once(looks: Looks) -> bool:
    """Whether there was one look, at no less than was planned."""
    counted = counted_looks(looks)
    if not counted or len(counted[0].seeds) < 2:
        return True
    return len(counted) == 1 and not looks.open_ended and _times(looks)[0] >= looks.planned


def levels_of(looks: Looks, alpha: float = ALPHA) -> tuple[float, ...]:
    """The level of each counted look, where all together are to have α."""
    times, spent = _times(looks), spent_by(looks, alpha)
    return look_levels(times, spent) if len(times) > 1 else spent


def spent_by(looks: Looks, alpha: float = ALPHA) -> tuple[float, ...]:
    """The share of true nulls that is to have been rejected by each counted look."""
    times, end = _times(looks), _end(looks)
    if looks.open_ended:
        return tuple(alpha * n**2 / (n**2 + HALF_SPENT**2) for n in times)
    if times[-1] > end:
        return tuple(alpha * min(k, MOST_EXTENDED) / MOST_EXTENDED for k in range(1, len(times) + 1))
    return tuple(float(2 * ndtr(ndtri(alpha / 2) / np.sqrt(n / end))) for n in times)


def looked_at(looks: Looks, seeds: int) -> LookedAt:
    """seeds: of a sweep that does not say how often it was looked at"""
    if not looks.at:
        return LookedAt((seeds,), (ALPHA,), ALPHA, None, False, False)
    counted, times = counted_looks(looks), _times(looks)
    levels = (ALPHA,) if once(looks) else levels_of(looks)
    within = sum(n <= _end(looks) for n in times)
    extended, error = not looks.open_ended and within < len(times), ALPHA
    if extended:
        as_planned = Looks(counted[:within], looks.planned)
        added = max(min(len(times), MOST_EXTENDED) - within, 0)
        error = max(ALPHA, spent_by(as_planned)[-1] + ALPHA * added / MOST_EXTENDED)
    return LookedAt(times, levels, error, looks.planned, looks.open_ended, extended)


def level_now(looks: Looks) -> float:
    """Of the present look, for one effect alone; 0 where nothing is left to it."""
    return ALPHA if once(looks) else levels_of(looks)[-1]


def half_now(spread: Spread, looks: Looks) -> float:
    """Half of the interval that the present look has by itself."""
    level = ALPHA if spread.seeds == 1 else level_now(looks)
    if level == 0:
        return 0.0 if spread.error == 0 else np.inf
    return spread.half_width(1 - level)


def overall_p(p_values: Array, place: int, looks: Looks) -> Array:
    """The smallest α at which the look at this place rejects each; no smaller than the first of GRID."""
    alphas, levels = _levels_over_alpha(looks)
    at = levels[:, place]
    known = at > 0
    if not known.any():
        return np.ones_like(p_values)
    found = np.exp(np.interp(np.log(np.maximum(p_values, 1e-300)), np.log(at[known]), np.log(alphas[known])))
    return np.where(p_values >= at[-1], 1.0, found)


@cache
def _levels_over_alpha(looks: Looks) -> tuple[Array, Array]:
    """(P,) GRID and (P, looks) the levels that it gives."""
    levels = np.array([levels_of(looks, alpha) for alpha in GRID])
    return np.array(GRID), np.maximum.accumulate(levels, axis=0)


def _times(looks: Looks) -> tuple[int, ...]:
    """Complete seeds of each counted look, rising."""
    out: list[int] = []
    for look in counted_looks(looks):
        out.append(max(look.whole, out[-1] + 1) if out else max(look.whole, 1))
    return tuple(out)


def _end(looks: Looks) -> int:
    """Seeds of the plan; of one that was over before the first look, those of that look."""
    return max(looks.planned, _times(looks)[0])
