"""Intervals for a mean over seeds × tasks, both of them random and crossed.

A paired contrast of arms is one number D per (seed, task): the same seeds and the same tasks for all arms, so
whatever they share cancels. Its mean over 5 seeds and 45 tasks is no mean of 225 independent numbers: a lucky
seed lifts all tasks of its row, an easy task all seeds of its column. In the model

    D[n, t] = mean + seed[n] + task[t] + rest[n, t]

the variance of the mean is estimated without bias by  V = A + B − C,  A = s²(seed means) / N,
B = s²(task means) / T,  C = s²(rest) / (N T)  (two-way random-effects ANOVA).

Three seeds know little of A: by luck it may come out ten times too small, and Satterthwaite's degrees of
freedom grow just then (11 % family-wise error at 3 seeds in our calibration). So the interval takes what V could
have been, given A and B (generalised interval: Weerahandi 1993, JASA 88, 899-905; Hannig, Iyer & Patterson 2006,
JASA 101, 254-269):

    V* = A (N−1)/χ²(N−1) + B (T−1)/χ²(T−1) − C,  at least as large as its first and its second term,

and the two-sided p-value of a mean m is the expectation of 2 Φ(−|m| / √V*) over both χ². Where the seeds are all
there is, this is Student's t with N − 1 degrees of freedom; where the tasks are, with T − 1. The interval holds
the means that this test does not reject. Where seeds add nothing to the variance it is too wide, 98 to 99 % for
95 % at 3 to 5 seeds: a small A is not believed (V* is no smaller than its second term), a large one has to be.

Seed means lie on a grid: one episode moves them by h = jump / T, where jump is what it moves a single D by. Two seeds
whose means tie have A = 0, and with it an interval that knows of no seeds at all. In 27 simulated worlds without an
effect (20,000 contrasts each, N = 2) every rejection at the first step of Holm over six fixes was such a tie; up to 8 %
of sweeps rejected. A tie says only that the two means, without the grid, lie less than h apart. Where their distance is
uniform in ± h, s² of the two is h²/6 on average, and no smaller s² is believed:

    A ≥ (jump / T)² / (6 N)

That leaves .1 % of such sweeps. With N ≥ 3 all means hardly ever tie, and intervals stay as they are.

Some tasks are variants of one another (`SweepRecords.task_groups`): a fix moves all of them or none, so they are no
independent evidence, and with one seed above all the interval over tasks is too narrow. So T tasks in G groups become G
columns (`by_group`), each the sum of a group's differences, scaled so that the mean over groups is that over tasks, and
everything above is said of groups: B has G − 1 degrees of freedom (clustered errors: Kish 1965, Survey Sampling; for
evaluations of language models Miller 2024, arXiv:2411.00640). Of groups of unequal size only the deviations from a
seed's mean are scaled: else their sizes would count as spread. The floors, too, count a group as one task. One episode
moves its value by no more than jump G / T, but variants change together: with floors for single episodes the intervals
of a kind that is rarely lost cover too little (results/calibration.md, "Floors where tasks are variants").

Why no plain bootstrap: no resampling scheme is right for crossed effects (McCullagh 2000, Bernoulli 6, 285-301).
Resampling seeds and tasks ("pigeonhole", Owen 2007, Ann. Appl. Stat. 1, 386-411) counts the rest three times, its
percentiles shrink with (N−1)/N, which at 5 seeds hides a fifth of the seed variance, and they ignore that a
variance from 5 seeds is itself a guess. `experiments/benchmarks/calibration.py` measures both.

With one seed nothing is known of the seed variance: the interval is over tasks only and holds for that seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy.special import gammaincinv, ndtr, stdtr, stdtrit

Array = np.ndarray
LEVEL = 0.95


@dataclass(frozen=True)
class Spread:
    """Mean of a contrast over N seeds and T tasks, and the parts of its variance.

    by_seed, by_task, by_rest: A (not below what the grid resolves), B, C above; with one seed (or one task) B (or A)
    alone, the others NaN; infinite where there is one number only.
    least: a lower bound of the standard error.
    groups: of tasks that are variants of one another; None where each task stands for itself
    """

    mean: float
    by_seed: float
    by_task: float
    by_rest: float
    seeds: int
    tasks: int
    least: float = 0.0
    groups: int | None = None

    @property
    def columns(self) -> int:
        """T above: the tasks, or their groups."""
        return self.tasks if self.groups is None else self.groups

    @property
    def error(self) -> float:
        """Standard error of the mean; 0 where every D is the same."""
        a, b, c = (0.0 if np.isnan(part) else part for part in (self.by_seed, self.by_task, self.by_rest))
        return float(np.sqrt(max(a + b - c, a, b, self.least**2)))

    def half_width(self, level: float = LEVEL) -> float:
        """Half the width of the interval at this level."""
        if self.error == 0:
            return 0.0
        if self._df:
            return max(float(stdtrit(self._df, 0.5 + level / 2)) * self.error, 2 * self.least)
        variances, weights = self._plausible
        low, high = 0.0, 2 * self.error
        while _p_value(high, variances, weights) > 1 - level:
            low, high = high, 2 * high
        for _ in range(26):
            middle = (low + high) / 2
            low, high = (middle, high) if _p_value(middle, variances, weights) > 1 - level else (low, middle)
        return (low + high) / 2

    @property
    def p_value(self) -> float:
        """Two-sided, against a mean of zero. 1.0 where every difference is zero."""
        if self.error == 0:
            return 1.0 if self.mean == 0 else 0.0
        if self._df:
            return float(2 * stdtr(self._df, -abs(self.mean) / self.error))
        return _p_value(self.mean, *self._plausible)

    @property
    def components(self) -> tuple[float, float, float]:
        """Variances of seed, task and rest in D itself (of a group); estimates, so they may come out below zero."""
        rest = self.by_rest * self.seeds * self.columns
        return self.by_seed * self.seeds - rest / self.columns, self.by_task * self.columns - rest / self.seeds, rest

    @property
    def _df(self) -> int:
        """Degrees of freedom where only one of seeds and tasks varies; 0 where both do."""
        return max(self.seeds * self.columns - 1, 1) if 1 in (self.seeds, self.columns) else 0

    @property
    def _plausible(self) -> tuple[Array, Array]:
        """Values of V* on a grid of the two χ², and their weights."""
        of_seed, seed_weights = _inverse_chi2(self.seeds - 1, 24)
        of_task, task_weights = _inverse_chi2(self.columns - 1, 6)
        a, b = self.by_seed * of_seed[:, None], self.by_task * of_task[None, :]
        variances = np.maximum(np.maximum(a + b - self.by_rest, np.maximum(a, b)), self.least**2)
        return variances.ravel(), np.outer(seed_weights, task_weights).ravel()


def by_group(values_N_T: Array, groups: tuple[str, ...] | None) -> Array:
    """(N, G): a table with a column for each group of tasks, in the order of their first tasks, and the same row means.

    groups: the name of each column's group; None: each stands for itself
    """
    members = None if groups is None else _members(groups)
    if members is None:
        return values_N_T
    of_seed = values_N_T.mean(axis=1, keepdims=True)
    columns: Array = of_seed + (values_N_T - of_seed) @ members
    return columns


def places(groups: Sequence[str]) -> list[int]:
    """The column of each task's group."""
    number = {name: n for n, name in enumerate(dict.fromkeys(groups))}
    return [number[name] for name in groups]


@cache
def _members(groups: tuple[str, ...]) -> Array | None:
    """(T, G) G / T where a task is in a group, else 0; None where no two tasks share one."""
    number = len(set(groups))
    if number == len(groups):
        return None
    members: Array = np.eye(number)[places(groups)] * (number / len(groups))
    members.flags.writeable = False
    return members


def crossed_spread(values_N_T: Array, smallest: float = 0.0, groups: tuple[str, ...] | None = None) -> Spread:
    """The spread of an N × T table without holes. Raises ValueError for an empty one.

    groups: the name of each column's group of variants; None: each task stands for itself
    smallest: the change of one value when one episode, or all of a group, comes out the other way (`jump` above). Where
    hardly any episode differs, the variance may be near zero by luck; so the error is at least 1.5 such episodes in
    N T, which gives the half-width of the rule of three, 3 / (N T). In a table of one column a value is a mean already,
    and `smallest` is the grid of that mean.
    """
    if values_N_T.size == 0:
        raise ValueError("No seed or no task is left.")
    table = by_group(values_N_T, groups)
    spread = _spread(table, smallest)
    if table is values_N_T:
        return spread
    tasks, groups_there = values_N_T.shape[1], table.shape[1]
    return replace(spread, mean=float(values_N_T.mean()), tasks=tasks, groups=groups_there)


def _spread(values_N_T: Array, smallest: float) -> Spread:
    seeds, tasks = values_N_T.shape
    mean, least = float(values_N_T.mean()), 1.5 * smallest / values_N_T.size
    resolved = (smallest / tasks) ** 2 / (6 * seeds)
    if values_N_T.size == 1:
        return Spread(mean, np.inf, np.inf, np.nan, seeds, tasks, least)
    if seeds == 1:
        return Spread(mean, np.nan, float(values_N_T.var(ddof=1)) / tasks, np.nan, seeds, tasks, least)
    if tasks == 1:
        return Spread(mean, max(float(values_N_T.var(ddof=1)) / seeds, resolved), np.nan, np.nan, seeds, tasks)
    by_seed, by_task = values_N_T.mean(axis=1), values_N_T.mean(axis=0)
    left = values_N_T - by_seed[:, None] - by_task[None, :] + mean
    rest = float((left**2).sum() / ((seeds - 1) * (tasks - 1)))
    return Spread(
        mean,
        max(float(by_seed.var(ddof=1)) / seeds, resolved),
        float(by_task.var(ddof=1)) / tasks,
        rest / (seeds * tasks),
        seeds,
        tasks,
        least,
    )


def holm(p_values: Array) -> Array:
    """Holm's step-down adjustment (1979); NaN stays NaN and is no test."""
    adjusted = np.full(len(p_values), np.nan)
    known = [i for i in np.argsort(p_values, kind="stable") if not np.isnan(p_values[i])]
    highest = 0.0
    for rank, i in enumerate(known):
        highest = max(highest, min(1.0, float(p_values[i]) * (len(known) - rank)))
        adjusted[i] = highest
    return adjusted


def _p_value(mean: float, variances: Array, weights: Array) -> float:
    return float(2 * weights @ ndtr(-abs(mean) / np.sqrt(variances)))


@cache
def _inverse_chi2(df: int, points: int) -> tuple[Array, Array]:
    """Values of df / χ²(df) with weights that sum to 1: Gauss-Legendre over the probability, denser towards
    small χ², where V* is large."""
    u, weights = np.polynomial.legendre.leggauss(points)
    u = (u + 1) / 2
    return df / (2 * gammaincinv(df / 2, u**2)), weights * u


def settled(value: float) -> float:
    """Without the last digits, in which processors differ, and without a minus before zero: else a value that lies
    between two written ones, as means of a few rewards often do, would be written in another way elsewhere."""
    return round(value, 9) + 0.0
