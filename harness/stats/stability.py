"""How steady an arm's reward stays once it was best: beside the final reward and the area, which both miss a policy
that was good and fell.

The share of validations after the best one whose reward lies within δ (`stats.margin`) of it. `share` is that of the
arm's mean curve. The mean over seeds hides runs that fall at different times, so the same is told of its runs, each
against its own best: their mean with a 95 % interval over runs, which pays for further looks (looks.py). The first one
is the best where several are as good.
A curve that is best at its last validation has no later ones and tells nothing.

The best of several validations is partly luck, so those after it tend to be lower, and more so in one run than in a
mean. A share below 1 is no decline by itself: compare arms.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from harness.records.looks import Looks
from harness.stats.looks import judge
from harness.stats.outcomes import Outcomes

Array = np.ndarray


@dataclass(frozen=True)
class Stability:
    """Shares are None where nothing tells them; low and high also where a single run does, or no look has a level."""

    arm: str
    best_step: int  # of the mean curve
    share: float | None  # of the mean curve
    of_runs: float | None
    low: float | None
    high: float | None
    runs: int  # that have validations after their best one


def stabilities(outcomes: Outcomes) -> tuple[Stability, ...]:
    """Of each arm with counted runs, in order; of the steps at which an arm has rewards."""
    out = []
    for i, arm in enumerate(outcomes.arms):
        seeds = [outcomes.seeds[n] for n in np.flatnonzero(outcomes.counted_A_N[i])]
        curves = [_means(run) for run in outcomes.complete_A_N_S_T[i][outcomes.counted_A_N[i]]]
        if not curves:
            continue
        columns = list(zip(*curves, strict=True))
        mean = np.array([np.nanmean(c) if np.isfinite(c).any() else np.nan for c in columns]).round(9)
        stays = stays_near_best(mean, outcomes.margin)
        best = outcomes.steps[int(np.nanargmax(mean))]
        share = float(stays.mean()) if len(stays) else None
        of_seeds = {seed: stays_near_best(curve, outcomes.margin) for seed, curve in zip(seeds, curves, strict=True)}
        runs = {seed: stays for seed, stays in of_seeds.items() if len(stays)}
        out.append(Stability(arm.name, best, share, *_of_runs(runs, outcomes.looks), len(runs)))
    return tuple(out)


def stays_near_best(curve_S: Array, margin: float) -> Array:
    """For each validation after the best one, whether it lies within the margin of that."""
    there = curve_S[np.isfinite(curve_S)]
    stays: Array = there[int(np.argmax(there)) + 1 :] >= there.max() - margin - 1e-9
    return stays


def _means(run_S_T: Array) -> Array:
    return np.array([np.nanmean(v) if np.isfinite(v).any() else np.nan for v in run_S_T]).round(9)


def _of_runs(runs: Mapping[int, Array], looks: Looks) -> tuple[float | None, float | None, float | None]:
    """runs: by seed"""
    shares = np.array([stays.mean() for stays in runs.values()])
    if len(shares) < 2:
        return (float(shares[0]) if len(shares) else None), None, None
    # what one validation moves a share by: runs that agree to the digit are no proof that others would
    grid = 1 / min(map(len, runs.values()))
    judged = judge(shares[:, None], tuple(runs), grid, looks)
    low, high = judged.ends()
    if low is None or high is None:
        return judged.spread.mean, None, None
    return judged.spread.mean, max(0.0, low), min(1.0, high)
