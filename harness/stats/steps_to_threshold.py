"""After how many steps an arm's reference reward reaches a threshold, runs that never do included.

A run is validated every few steps. So the step at which it first reaches the threshold lies after one validation and
not after the next (interval-censored), or it is later than the last one (right-censored there). All runs have the same
validations, at which the share that has not reached it is known: the Kaplan-Meier curve of the steps `by` which they
did (`scipy.stats.ecdf`; Kaplan & Meier 1958, JASA 53, 457-481). The true curve lies up to one validation's distance
earlier.

The restricted mean is the area under that curve up to the last step, the mean of min(step, last step) (Royston & Parmar
2013, BMC Med. Res. Methodol. 13, 152): a run that never reaches the threshold counts with the last step, so a longer
sweep would raise it. It needs no model of what comes later. Its interval is Student's t over seeds, and so is that of
its difference to all_on, paired by seed, in which being late by part of a validation's distance mostly cancels. Both
have the floor of intervals.py: seeds that agree on a grid of validated steps are no proof that there is no spread. They
end where the restricted mean and its differences have to, and pay for further looks (looks.py).

The threshold is the sweep's own (`stats.threshold`), or halfway between the first and the highest mean reward of
all_on.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import CensoredData, ecdf

from harness.records.looks import Looks
from harness.stats.intervals import holm
from harness.stats.looks import judge
from harness.stats.outcomes import Outcomes
from harness.stats.verdicts import MOVES

Array = np.ndarray
CHOSEN, HALFWAY = "stats.threshold", "halfway between the first and the highest mean reward of all_on"


@dataclass(frozen=True)
class Reached:
    """One run: the threshold was first reached after validation `after` and by validation `by`, which are steps.

    Both are the first validation where that is at the threshold; `by` None: not by the last validation, `after`.
    """

    seed: int
    after: int
    by: int | None


@dataclass(frozen=True)
class Slower:
    """Restricted mean steps of an arm minus those of all_on, over the seeds that both have; intervals 95 %.

    at_least: runs of the arm never got there and all of all_on's did, so that a longer sweep could only raise it
    low, high, p, p_holm: None with one seed; low, high: also where no look has a level (looks.py)
    """

    seeds: int
    value: float
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    at_least: bool


@dataclass(frozen=True)
class ArmSteps:
    """not_yet: share of runs that had not reached it, at each validation; median: None where half of them never did.

    mean: restricted to the last step; low, high: as of Slower
    """

    arm: str
    runs: tuple[Reached, ...]
    not_yet: tuple[float, ...]
    median: float | None
    mean: float
    low: float | None
    high: float | None
    slower: Slower | None  # of all_on itself, and where no seed is shared, None

    @property
    def reached(self) -> int:
        return sum(run.by is not None for run in self.runs)


@dataclass(frozen=True)
class StepsToThreshold:
    """threshold: reward, None where there is none; why: where it comes from, or why there is none."""

    threshold: float | None
    why: str
    steps: tuple[int, ...]
    arms: tuple[ArmSteps, ...] = ()


def steps_to_threshold(outcomes: Outcomes, chosen: float | None = None) -> StepsToThreshold:
    """chosen: the threshold that the sweep was started with."""
    means_A_N_S = _means(outcomes)
    threshold, why = (chosen, CHOSEN) if chosen is not None else _halfway(outcomes, means_A_N_S)
    if threshold is None or len(outcomes.steps) < 2:
        return StepsToThreshold(None, why if threshold is None else "one validation has no steps", outcomes.steps)
    found = {
        arm.name: tuple(
            _reached(outcomes.seeds[n], means_A_N_S[a, n], outcomes.steps, threshold)
            for n in np.flatnonzero(outcomes.counted_A_N[a])
        )
        for a, arm in enumerate(outcomes.arms)
    }
    best = outcomes.factors.with_off().name
    last, grid = outcomes.steps[-1], float(np.diff(outcomes.steps).max())
    looks = outcomes.looks
    slower = {arm: _slower(runs, found.get(best, ()), last, grid, looks) for arm, runs in found.items() if arm != best}
    known = [(arm, s.p) for arm, s in slower.items() if s is not None and s.p is not None]
    adjusted = dict(zip([arm for arm, _ in known], holm(np.array([p for _, p in known])).tolist(), strict=True))
    return StepsToThreshold(
        threshold,
        why,
        outcomes.steps,
        tuple(
            _arm(arm, runs, outcomes.steps, grid, slower.get(arm), adjusted.get(arm), looks)
            for arm, runs in found.items()
            if runs
        ),
    )


def _means(outcomes: Outcomes) -> Array:
    """(A, N, S) mean rewards; NaN where a validation is missing."""
    rewards = outcomes.complete_A_N_S_T
    count = (~np.isnan(rewards)).sum(axis=3)
    means: Array = np.where(count > 0, np.nansum(rewards, axis=3) / np.maximum(count, 1), np.nan)
    return means


def _halfway(outcomes: Outcomes, means_A_N_S: Array) -> tuple[float | None, str]:
    best = outcomes.factors.with_off()
    place = outcomes.arms.index(best) if best in outcomes.arms else None
    runs = outcomes.counts("area") if len(outcomes.steps) > 1 else outcomes.counted_A_N
    if place is None or not runs[place].any():
        return None, "all_on has no run that counts at every validation, and no stats.threshold was chosen"
    curve = means_A_N_S[place, runs[place]].mean(axis=0)
    if curve.max() - curve[0] < MOVES:
        return None, f"all_on does not rise by {MOVES:g}, and no stats.threshold was chosen"
    return float(curve[0] + curve.max()) / 2, HALFWAY


def _reached(seed: int, curve_S: Array, steps: tuple[int, ...], threshold: float) -> Reached:
    """A validation that is missing only widens the interval."""
    seen = [(step, mean) for step, mean in zip(steps, curve_S.tolist(), strict=True) if not np.isnan(mean)]
    place = next((i for i, (_, mean) in enumerate(seen) if mean >= threshold - 1e-9), None)
    if place is None:
        return Reached(seed, seen[-1][0], None)
    return Reached(seed, seen[max(place - 1, 0)][0], seen[place][0])


def _arm(
    arm: str,
    runs: tuple[Reached, ...],
    steps: tuple[int, ...],
    grid: float,
    slower: Slower | None,
    p_holm: float | None,
    looks: Looks,
) -> ArmSteps:
    done, never = [r.by for r in runs if r.by is not None], [r.after for r in runs if r.by is None]
    not_yet = ecdf(CensoredData(uncensored=done, right=never)).sf.evaluate(np.array(steps, dtype=float))
    median = next((float(step) for step, share in zip(steps, not_yet, strict=True) if share <= 0.5), None)
    by_seed = {run.seed: _restricted(run, steps[-1]) for run in runs}
    mean, low, high, _ = _over_seeds(by_seed, grid, 0.0, float(steps[-1]), looks)
    if slower is not None:
        slower = replace(slower, p_holm=p_holm)
    return ArmSteps(arm, runs, tuple(not_yet.tolist()), median, mean, low, high, slower)


def _slower(
    runs: tuple[Reached, ...], best: tuple[Reached, ...], last: int, grid: float, looks: Looks
) -> Slower | None:
    of_best = {run.seed: run for run in best}
    pairs = [(run, of_best[run.seed]) for run in runs if run.seed in of_best]
    if not pairs:
        return None
    later = {run.seed: _restricted(run, last) - _restricted(other, last) for run, other in pairs}
    value, low, high, p = _over_seeds(later, grid, -float(last), float(last), looks)
    at_least = any(run.by is None for run, _ in pairs) and all(other.by is not None for _, other in pairs)
    return Slower(len(pairs), value, low, high, p, None, at_least)


def _restricted(run: Reached, last: int) -> float:
    return float(last if run.by is None else run.by)


def _over_seeds(
    by_seed: dict[int, float], grid: float, least: float, most: float, looks: Looks
) -> tuple[float, float | None, float | None, float | None]:
    """(mean, low, high, p); of one seed the mean alone. grid: what one validation sooner or later changes; least, most:
    between which the mean lies."""
    values = np.array(list(by_seed.values()))[:, None]
    judged = judge(values, tuple(by_seed), grid, looks)
    mean, (low, high) = judged.spread.mean, judged.ends()
    if len(values) == 1:
        return mean, None, None, None
    if low is None or high is None:
        return mean, None, None, judged.p_value
    return mean, max(low, least), min(high, most), judged.p_value
