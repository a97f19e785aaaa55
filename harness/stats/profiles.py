"""Per arm: mean, interquartile mean and performance profile, in the manner of rliable.

A score is the time-averaged reward of one (seed, task), so it has levels between 0 and 1 although a single
validation is 0 or 1. The interquartile mean drops the lowest and the highest quarter of the scores of an arm:
it is steadier than the mean against one collapsed run, and blind to it (Agarwal et al. 2021, NeurIPS).
The profile at τ is the share of scores of at least τ.

Reference rewards lie in 0..1 by protocol, but nothing stops an environment of one's own from paying less than 0. So
intervals are cut off, and profiles begin, at what can be (`can_be`).

rliable resamples runs and takes percentiles; over 3 to 5 seeds these are too narrow (intervals.py). So the draws of
the interquartile mean are stretched by as much as those of the plain mean need to reach its calibrated interval.
All intervals pay for further looks at the sweep (looks.py).
"""

from dataclasses import dataclass
from math import ceil, isfinite

import numpy as np
from scipy.special import ndtri

from harness.stats.bootstrap import resample
from harness.stats.intervals import LEVEL, crossed_spread, places
from harness.stats.looks import Ends, Judged, half_now, judge
from harness.stats.outcomes import OUTCOMES, Outcomes, step_weights

Array = np.ndarray
DRAWS = 500
Triple = tuple[float, float | None, float | None]  # (value, low, high); None: there is no interval


@dataclass(frozen=True)
class ArmSummary:
    """One arm over its counted runs. None where there is no counted run."""

    arm: str
    seeds: int
    mean: dict[str, Triple | None]  # by outcome
    iqm: Triple | None  # of the time-averaged reward
    profile: tuple[Triple, ...]  # at `heights` of so many


def heights(count: int) -> tuple[float, ...]:
    """At which so many points of a profile lie: every tenth of a reward, up to 1."""
    return tuple(round(1 - 0.1 * n, 1) for n in reversed(range(count)))


def can_be(outcomes: Outcomes) -> tuple[float, float]:
    """Between what rewards lie: 0 and 1, or further apart where one of these does."""
    seen = outcomes.rewards_A_N_S_T
    return float(np.fmin.reduce(seen, axis=None, initial=0.0)), float(np.fmax.reduce(seen, axis=None, initial=1.0))


def within(ends: Ends, lowest: float, highest: float) -> Ends:
    """An interval as far as the mean can be there."""
    low, high = ends
    return (None, None) if low is None or high is None else (max(lowest, low), min(highest, high))


def arm_summaries(outcomes: Outcomes) -> tuple[ArmSummary, ...]:
    values = {o: (outcomes.of(o), outcomes.counts(o)) for o in OUTCOMES}
    jump = {o: float(np.abs(step_weights(o, outcomes.steps)).max(initial=0.0)) for o in OUTCOMES}
    lowest, highest = can_be(outcomes)
    at = heights(11 + ceil(-10 * lowest - 1e-9))
    bounds = {"final": (lowest, highest), "area": (lowest, highest), "slope": (-np.inf, np.inf)}
    out = []
    for i, arm in enumerate(outcomes.arms):
        there = {o: ~np.isnan(v[i][counts[i]]).any(axis=0) for o, (v, counts) in values.items()}
        table = {o: v[i][counts[i]][:, there[o]] for o, (v, counts) in values.items()}
        groups = {o: outcomes.groups_at(np.flatnonzero(there[o])) for o in OUTCOMES}
        seeds = {o: [outcomes.seeds[n] for n in np.flatnonzero(counts[i])] for o, (_, counts) in values.items()}
        if not table["area"].size:
            out.append(ArmSummary(arm.name, 0, dict.fromkeys(OUTCOMES), None, ()))
            continue
        area, of_area, looks = table["area"], groups["area"], outcomes.looks
        reached = [(area >= height - 1e-9).astype(float) for height in at]
        profile = tuple(_triple(judge(r, seeds["area"], 1.0, looks, of_area), (0.0, 1.0)) for r in reached)
        mean = {
            o: _triple(judge(t, seeds[o], jump[o], looks, groups[o]), bounds[o]) if t.size else None
            for o, t in table.items()
        }
        half = half_now(crossed_spread(area, jump["area"], of_area), looks)
        value, low, high = iqm_triple(area, jump["area"], of_area, half)
        iqm = (value, *within((low, high) if isfinite(half) else (None, None), lowest, highest))
        out.append(ArmSummary(arm.name, len(area), mean, iqm, profile))
    return tuple(out)


def interquartile_mean(scores: Array) -> Array:
    """Mean of the middle half along the last axis."""
    ordered = np.sort(scores, axis=-1)
    cut = scores.shape[-1] // 4
    means: Array = ordered[..., cut : scores.shape[-1] - cut].mean(axis=-1)
    return means


def iqm_triple(
    area_N_T: Array, jump: float = 0.0, groups: tuple[str, ...] | None = None, half: float | None = None
) -> tuple[float, float, float]:
    """(interquartile mean, low, high) of the scores of one arm. jump, groups: see `crossed_spread`; what is drawn is
    seeds and groups with all their tasks; half: half of the plain mean's interval, if not of the one at one look."""
    seeds, tasks = area_N_T.shape
    of_task = list(range(tasks)) if groups is None else places(groups)
    by_seed, by_column = resample(seeds, max(of_task) + 1, draws=DRAWS)
    copies = (_copies(by_seed)[:, :, None] * _copies(by_column)[:, None, of_task]).reshape(DRAWS, -1)
    value, draws = float(interquartile_mean(area_N_T.ravel())), _interquartile_means(area_N_T.ravel(), copies)
    half = crossed_spread(area_N_T, jump, groups).half_width() if half is None else half
    raw = float((copies @ area_N_T.ravel() / copies.sum(axis=1)).std())
    calibrated = half / float(ndtri(0.5 + LEVEL / 2))
    stretch = max(calibrated / raw, 1.0) if raw > 0 and np.isfinite(calibrated) else 1.0
    low, high = np.quantile(draws, (0.025, 0.975))
    return value, value - stretch * (value - float(low)), value + stretch * (float(high) - value)


def _copies(weights_B_N: Array) -> Array:
    """How often each is drawn, from resampling weights."""
    copies: Array = np.rint(weights_B_N * weights_B_N.shape[1])
    return copies


def _interquartile_means(scores: Array, copies_B_N: Array) -> Array:
    """(B,) as `interquartile_mean`, of the scores with so many copies of each."""
    order = np.argsort(scores)
    copies = copies_B_N[:, order]
    last, size = copies.cumsum(axis=1), copies.sum(axis=1, keepdims=True)
    cut = size // 4
    kept = np.clip(last, cut, size - cut) - np.clip(last - copies, cut, size - cut)
    means: Array = kept @ scores[order] / (size - 2 * cut)[:, 0]
    return means


def _triple(judged: Judged, bounds: tuple[float, float]) -> Triple:
    return judged.spread.mean, *within(judged.ends(), *bounds)
