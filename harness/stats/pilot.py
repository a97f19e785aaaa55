"""Variance components from an earlier sweep, and what else they could have been: it had few seeds.

Of its arms that learn, the mean squares of arm × seed, arm × task and arm × seed × task (three-way random-effects
ANOVA) estimate

    arm × seed = rest + T run        arm × task = rest + N task        arm × seed × task = rest

which is half of the components of the differences between two arms, averaged over all pairs. A mean square with f
degrees of freedom could as well have been f/χ²(f) times itself (generalised interval: intervals.py). K arms that vary
alike have (K − 1)(N − 1) between seeds. Where one arm varies more than the others (it collapses under some seeds), the
mean square rests on that one; so K is the participation ratio of the arms' sums of squares, (Σ q)² / Σ q², and never
below two.

Tasks that are variants of one another are one task here: T is the number of groups, and a value that of a group.
"""

from dataclasses import dataclass

import numpy as np

from harness.stats.intervals import by_group
from harness.stats.outcomes import Outcomes

Array = np.ndarray
DRAWS, SEED = 2000, 20261128


@dataclass(frozen=True)
class Pilot:
    """Mean squares of an earlier sweep and their degrees of freedom: arm × seed, arm × task, and the rest.

    tasks: columns of the table, which are groups where tasks are `grouped`: variants of one another
    shared_seed, shared_task: components that all arms have in common
    best: reward of the best arm
    binary: mean p (1 − p) of the arms, p being an arm's reward
    """

    of_seed: float
    of_task: float
    of_rest: float
    df_seed: float
    df_task: float
    df_rest: float
    arms: int
    seeds: int
    tasks: int
    shared_seed: float
    shared_task: float
    best: float
    binary: float
    grouped: bool = False

    @property
    def components(self) -> tuple[float, float, float]:
        """run, task, rest."""
        run, task, rest = self._components(self.of_seed, self.of_task, self.of_rest)
        return float(run), float(task), float(rest)

    def plausible(self) -> Array:
        """(DRAWS, 3) run, task and rest as they could have been."""
        random = np.random.default_rng(SEED)
        parts = ((self.of_seed, self.df_seed), (self.of_task, self.df_task), (self.of_rest, self.df_rest))
        return np.stack(self._components(*(ms * df / random.chisquare(df, DRAWS) for ms, df in parts)), axis=1)

    def _components(self, of_seed: Array | float, of_task: Array | float, of_rest: Array | float) -> list[Array]:
        run, task = (of_seed - of_rest) / self.tasks, (of_task - of_rest) / self.seeds
        return [np.maximum(part, 0.0) for part in (run, task, of_rest)]


def pilot_of(outcomes: Outcomes) -> Pilot | None:
    """None where fewer than two arms that learn on their own share at least two seeds and two tasks, or where nothing
    differs between them."""
    values_K_N_T, grouped = _table(outcomes)
    arms, seeds, tasks = values_K_N_T.shape
    if min(arms, seeds, tasks) < 2:
        return None
    own_K_N_T = values_K_N_T - values_K_N_T.mean(axis=0)  # without what the arms share
    own_K_N_T -= own_K_N_T.mean(axis=(1, 2), keepdims=True)
    of_seed_K_N, of_task_K_T = own_K_N_T.mean(axis=2), own_K_N_T.mean(axis=1)
    rest_K_N_T = own_K_N_T - of_seed_K_N[:, :, None] - of_task_K_T[:, None, :]
    if not own_K_N_T.any():
        return None
    squares = (
        tasks * (of_seed_K_N**2).sum(axis=1),
        seeds * (of_task_K_T**2).sum(axis=1),
        (rest_K_N_T**2).sum(axis=(1, 2)),
    )
    each = (seeds - 1, tasks - 1, (seeds - 1) * (tasks - 1))
    means = [float(q.sum()) / (df * (arms - 1)) for q, df in zip(squares, each, strict=True)]
    degrees = [df * _alike(q) for q, df in zip(squares, each, strict=True)]
    mean_N_T = values_K_N_T.mean(axis=0)
    shared_N, shared_T = mean_N_T.mean(axis=1), mean_N_T.mean(axis=0)
    left = mean_N_T - shared_N[:, None] - shared_T + mean_N_T.mean()
    left_square = float((left**2).sum()) / each[2]
    # The mean of K arms has a K-th of their own parts besides.
    shared_seed = (tasks * float(shared_N.var(ddof=1)) - left_square - (means[0] - means[2]) / arms) / tasks
    shared_task = (seeds * float(shared_T.var(ddof=1)) - left_square - (means[1] - means[2]) / arms) / seeds
    p_K = values_K_N_T.mean(axis=(1, 2))
    return Pilot(
        of_seed=means[0],
        of_task=means[1],
        of_rest=means[2],
        df_seed=degrees[0],
        df_task=degrees[1],
        df_rest=degrees[2],
        arms=arms,
        seeds=seeds,
        tasks=tasks,
        shared_seed=max(shared_seed, 0.0),
        shared_task=max(shared_task, 0.0),
        best=float(p_K.max()),
        binary=float((p_K * (1 - p_K)).mean()),
        grouped=grouped,
    )


def _alike(squares_K: Array) -> float:
    """How many arms, less one, a sum of squares rests on."""
    total = float(squares_K.sum())
    return max(total**2 / float((squares_K**2).sum()), 2.0) - 1 if total else len(squares_K) - 1.0


def _table(outcomes: Outcomes) -> tuple[Array, bool]:
    """(K, N, T) final rewards of the arms whose rewards move, over the seeds and tasks that they share, and whether
    they are those of groups. Arms that differ in what is reported alone are one arm."""
    factors, values = outcomes.factors, outcomes.of("final")
    chosen: dict[tuple[str, ...], int] = {}
    for i, arm in enumerate(outcomes.arms):
        curves_N_S_T = outcomes.rewards_A_N_S_T[i][outcomes.counted_A_N[i]]
        if not outcomes.still_A[i] and (curves_N_S_T != curves_N_S_T[:, :1]).any():
            chosen.setdefault(tuple(arm.level(f.name) for f in factors if not f.only_reported), i)
    places = list(chosen.values())
    seeds = outcomes.counted_A_N[places].all(axis=0)
    table = values[places][:, seeds]
    there = ~np.isnan(table).any(axis=(0, 1))
    groups, table = outcomes.groups_at(np.flatnonzero(there)), table[:, :, there]
    if not table.size or len(set(groups)) == len(groups):
        return table, False
    return np.stack([by_group(values_N_T, groups) for values_N_T in table]), True
