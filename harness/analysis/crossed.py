"""Intervals for a mean over seeds × tasks, both of them random and crossed.

A paired contrast of arms is one number D per (seed, task): the same seeds and the same tasks for all arms, so
whatever they share cancels. Its mean over 5 seeds and 45 tasks is no mean of 225 independent numbers: a lucky
seed lifts all tasks of its row, an easy task all seeds of its column. In the model

    D[n, t] = mean + seed[n] + task[t] + rest[n, t]

the variance of the mean is  V = s²(seed means) / N + s²(task means) / T - s²(rest) / (N T),  without bias
(the two-way random-effects ANOVA; for the same layout in reader studies: Hillis 2007, Stat. Med. 26, 596-619).
The degrees of freedom are Satterthwaite's (1946, Biometrics Bull. 2, 110-114), and the interval is
mean ± t(df) √V.

Why no plain bootstrap: no resampling scheme is right for crossed effects (McCullagh 2000, Bernoulli 6, 285-301).
Resampling seeds and tasks ("pigeonhole", Owen 2007, Ann. Appl. Stat. 1, 386-411) counts the rest three times, and
its percentiles shrink with (N - 1)/N, which at 5 seeds hides a fifth of the seed variance, and ignore that a
variance from 5 seeds is itself a guess. `experiments/benchmarks/calibration.py` measures both.

With one seed nothing is known of the seed variance: the interval is over tasks only and holds for that seed.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

Array = np.ndarray
LEVEL = 0.95


@dataclass(frozen=True)
class Spread:
    """Mean of a contrast over seeds and tasks, its standard error, and the parts of its variance.

    seed, task, rest: variance components of D; NaN where one seed or one task cannot tell. Estimates of
    components may be below zero; the standard error is not.
    """

    mean: float
    error: float
    df: float
    seed: float
    task: float
    rest: float
    seeds: int
    tasks: int

    def half_width(self, level: float = LEVEL) -> float:
        """Half the width of the interval at this level."""
        return float(stdtrit(self.df, 0.5 + level / 2)) * self.error if self.error > 0 else 0.0

    @property
    def p_value(self) -> float:
        """Two-sided, against a mean of zero. 1.0 where every difference is zero."""
        if self.error == 0:
            return 1.0 if self.mean == 0 else 0.0
        return float(2 * stdtr(self.df, -abs(self.mean) / self.error))


def crossed(values_N_T: Array, smallest: float = 0.0) -> Spread:
    """Mean, standard error and degrees of freedom of an N × T table without holes.

    smallest: the change of one value when one episode comes out the other way. Where hardly any episode
    differs the variance estimate is near zero by luck; the error is at least that of one such episode in
    N T (the half-width is then about 3/(N T), the rule of three). Raises ValueError for an empty table.
    """
    seeds, tasks = values_N_T.shape
    if values_N_T.size == 0:
        raise ValueError("No seed or no task is left.")
    mean = float(values_N_T.mean())
    if seeds == 1 or tasks == 1:
        line = values_N_T.ravel()
        variance = float(line.var(ddof=1)) if line.size > 1 else np.nan
        error = np.sqrt(max(variance / line.size, (smallest / line.size) ** 2))
        parts = (np.nan, variance) if seeds == 1 else (variance, np.nan)
        return Spread(mean, float(error), max(line.size - 1, 1), *parts, np.nan, seeds, tasks)
    by_seed, by_task = values_N_T.mean(axis=1), values_N_T.mean(axis=0)
    left = values_N_T - by_seed[:, None] - by_task[None, :] + mean
    rest = float((left**2).sum() / ((seeds - 1) * (tasks - 1)))
    of_seeds, of_tasks = float(by_seed.var(ddof=1)) / seeds, float(by_task.var(ddof=1)) / tasks
    of_rest = rest / (seeds * tasks)
    variance = max(of_seeds + of_tasks - of_rest, of_seeds, of_tasks, (smallest / values_N_T.size) ** 2)
    quartic = of_seeds**2 / (seeds - 1) + of_tasks**2 / (tasks - 1) + of_rest**2 / ((seeds - 1) * (tasks - 1))
    df = variance**2 / quartic if quartic > 0 else seeds - 1
    df = float(np.clip(df, seeds - 1, (seeds - 1) + (tasks - 1)))
    return Spread(
        mean,
        float(np.sqrt(variance)),
        df,
        of_seeds * seeds - rest / tasks,
        of_tasks * tasks - rest / seeds,
        rest,
        seeds,
        tasks,
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
