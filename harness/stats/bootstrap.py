"""Resampling seeds and tasks together, for what has no formula: ranks, interquartile means, rank correlations.

One draw takes N seeds and T tasks with replacement, the same ones for all arms and all effects, so whatever is
paired stays paired. The draws of an effect are then stretched about its estimate until they are as wide as its
calibrated interval (intervals.py says why raw percentiles are too narrow at 5 seeds).
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


def calibrated_draws(values_K_N_T: Array, spreads: Sequence[Spread], weights: tuple[Array, Array]) -> Array:
    """(K, B) draws whose middle 95 % is as wide as each contrast's calibrated interval."""
    raw = raw_draws(values_K_N_T, weights)
    centre = np.array([s.mean for s in spreads])[:, None]
    wide = np.array([s.half_width() for s in spreads]) / float(ndtri(0.5 + LEVEL / 2))
    narrow = raw.std(axis=1)
    stretch = np.divide(wide, narrow, out=np.zeros_like(wide), where=narrow > 0)
    draws: Array = centre + (raw - centre) * stretch[:, None]
    return draws
