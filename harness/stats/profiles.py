"""Per arm: mean, interquartile mean and performance profile, in the manner of rliable.

A score is the time-averaged reward of one (seed, task), so it has levels between 0 and 1 although a single
validation is 0 or 1. The interquartile mean drops the lowest and the highest quarter of the scores of an arm:
it is steadier than the mean against one collapsed run, and blind to it (Agarwal et al. 2021, NeurIPS).
The profile at τ is the share of scores of at least τ.

rliable resamples runs and takes percentiles; over 3 to 5 seeds these are too narrow (intervals.py). So the draws of
the interquartile mean are stretched by as much as those of the plain mean need to reach its calibrated interval.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from harness.stats.bootstrap import resample
from harness.stats.intervals import LEVEL, crossed_spread, places
from harness.stats.outcomes import OUTCOMES, Outcomes, step_weights

Array = np.ndarray
THRESHOLDS = tuple(round(0.1 * n, 1) for n in range(11))
DRAWS = 500


@dataclass(frozen=True)
class ArmSummary:
    """One arm over its counted runs. Triples are (value, low, high); None where there is no counted run."""

    arm: str
    seeds: int
    mean: dict[str, tuple[float, float, float] | None]  # by outcome
    iqm: tuple[float, float, float] | None  # of the time-averaged reward
    profile: tuple[tuple[float, float, float], ...]  # at THRESHOLDS


def arm_summaries(outcomes: Outcomes) -> tuple[ArmSummary, ...]:
    values = {o: (outcomes.of(o), outcomes.counts(o)) for o in OUTCOMES}
    jump = {o: float(np.abs(step_weights(o, outcomes.steps)).max(initial=0.0)) for o in OUTCOMES}
    out = []
    for i, arm in enumerate(outcomes.arms):
        there = {o: ~np.isnan(v[i][counts[i]]).any(axis=0) for o, (v, counts) in values.items()}
        table = {o: v[i][counts[i]][:, there[o]] for o, (v, counts) in values.items()}
        groups = {o: outcomes.groups_at(np.flatnonzero(there[o])) for o in OUTCOMES}
        if not table["area"].size:
            out.append(ArmSummary(arm.name, 0, dict.fromkeys(OUTCOMES), None, ()))
            continue
        area = table["area"]
        of_area = groups["area"]
        profile = tuple(_triple((area >= t - 1e-9).astype(float), 1.0, 0.0, 1.0, of_area) for t in THRESHOLDS)
        bounds = {"final": (0.0, 1.0), "area": (0.0, 1.0), "slope": (-np.inf, np.inf)}
        mean = {o: _triple(t, jump[o], *bounds[o], groups[o]) if t.size else None for o, t in table.items()}
        out.append(ArmSummary(arm.name, len(area), mean, iqm_triple(area, jump["area"], of_area), profile))
    return tuple(out)


def interquartile_mean(scores: Array) -> Array:
    """Mean of the middle half along the last axis."""
    ordered = np.sort(scores, axis=-1)
    cut = scores.shape[-1] // 4
    means: Array = ordered[..., cut : scores.shape[-1] - cut].mean(axis=-1)
    return means


def iqm_triple(area_N_T: Array, jump: float = 0.0, groups: tuple[str, ...] | None = None) -> tuple[float, float, float]:
    """(interquartile mean, low, high) of the scores of one arm. jump, groups: see `crossed_spread`; what is drawn is
    seeds and groups with all their tasks."""
    seeds, tasks = area_N_T.shape
    of_task = list(range(tasks)) if groups is None else places(groups)
    by_seed, by_column = resample(seeds, max(of_task) + 1, draws=DRAWS)
    copies = (_copies(by_seed)[:, :, None] * _copies(by_column)[:, None, of_task]).reshape(DRAWS, -1)
    value, draws = float(interquartile_mean(area_N_T.ravel())), _interquartile_means(area_N_T.ravel(), copies)
    raw, calibrated = (
        float((copies @ area_N_T.ravel() / copies.sum(axis=1)).std()),
        crossed_spread(area_N_T, jump, groups).half_width() / float(ndtri(0.5 + LEVEL / 2)),
    )
    stretch = max(calibrated / raw, 1.0) if raw > 0 and np.isfinite(calibrated) else 1.0
    low, high = np.quantile(draws, (0.025, 0.975))
    return value, max(0.0, value - stretch * (value - float(low))), min(1.0, value + stretch * (float(high) - value))


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


def _triple(
    values_N_T: Array, jump: float, lowest: float, highest: float, groups: tuple[str, ...]
) -> tuple[float, float, float]:
    spread = crossed_spread(values_N_T, jump, groups)
    half = spread.half_width()
    return spread.mean, max(lowest, spread.mean - half), min(highest, spread.mean + half)
