"""Resampling seeds and tasks together, for what has no formula: ranks, interquartile means, rank correlations.

One draw takes N seeds and T tasks with replacement, the same ones for all arms and all effects, so whatever is
paired stays paired. Effects whose runs are INVALID or missing in some seeds are compared over the seeds and tasks that
all of them share: centre and width of the draws are of these, too. An estimate over further seeds has their luck in it,
which the others lack and no draw knows of: two effects that are equal in every episode they share would seem to differ
for sure. The draws are stretched until they are as wide as the calibrated interval (intervals.py says why raw
percentiles are too narrow at 5 seeds). An effect that came out the same for every seed and task has nothing to
resample: its draws are normal, as wide as its interval's floor. Only one that is exactly zero stays where it is.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy.special import ndtri

from harness.stats.intervals import LEVEL, Spread

Array = np.ndarray
DRAWS = 2000
SEED = 20260504


@cache
def resample(seeds: int, tasks: int, draws: int = DRAWS, seed: int = SEED) -> tuple[Array, Array]:
    """(B, N) and (B, T) weights of crossed draws; each row sums to 1."""
    random = np.random.default_rng(seed)
    by_seed = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    by_task = random.multinomial(tasks, np.full(tasks, 1 / tasks), size=draws) / tasks
    by_seed.flags.writeable = by_task.flags.writeable = False
    return by_seed, by_task


def raw_draws(values_K_N_T: Array, weights: tuple[Array, Array]) -> Array:
    """(K, B) means of K contrasts under the draws."""
    by_seed, by_task = weights
    rows = np.einsum("knt,bt->kbn", values_K_N_T, by_task, optimize=True)
    draws: Array = np.einsum("kbn,bn->kb", rows, by_seed)
    return draws


def calibrated_draws(
    values_K_N_T: Array, spreads: Sequence[Spread], weights: tuple[Array, Array], doubts: Sequence[float] = ()
) -> Array:
    """(K, B) draws about each contrast's estimate whose middle 95 % is as wide as its calibrated interval.

    spreads: of the values; doubts: by how much each interval is wider for what is missing
    """
    raw = raw_draws(values_K_N_T - values_K_N_T.mean(axis=(1, 2), keepdims=True), weights)
    constant = np.ptp(raw, axis=1) < 1e-12
    raw[constant] = np.random.default_rng(SEED).standard_normal(raw.shape)[constant]
    centre = np.array([s.mean for s in spreads])[:, None]
    half = np.array([s.half_width() for s in spreads]) + (np.array(doubts) if len(doubts) else 0.0)
    wide = half / float(ndtri(0.5 + LEVEL / 2))
    draws: Array = centre + raw * (wide / raw.std(axis=1))[:, None]
    return draws
