"""Which fix matters most, as probabilities; and how an estimated order agrees with a given one."""

from collections.abc import Sequence

import numpy as np

Array = np.ndarray
TIE = 1e-9  # effects closer than this are tied: arms that share every step have the same effect exactly


def rank_probabilities(draws_F_B: Array) -> Array:
    """(F, F): probability that factor i has rank j, rank 0 being the largest effect.

    Ties share their ranks evenly: three equally large effects have each of the first three ranks with 1/3.
    """
    factors, _ = draws_F_B.shape
    difference = draws_F_B[:, None, :] - draws_F_B[None, :, :]
    ahead = (difference < -TIE).sum(axis=1)  # (F, B) factors with a larger effect
    tied = (np.abs(difference) <= TIE).sum(axis=1)  # with itself
    ranks = np.arange(factors)[None, :, None]
    inside = (ranks >= ahead[:, None, :]) & (ranks < (ahead + tied)[:, None, :])
    found: Array = (inside / tied[:, None, :]).mean(axis=2)
    return found


def kendall(order: Sequence[int], draws_F_B: Array) -> Array:
    """(B,) Kendall's tau-b between an order of the factors (first = largest) and effects with ties.

    Pairs tied in the effects count for neither side; 0 where all effects are tied.
    """
    place = np.empty(len(order))
    place[list(order)] = np.arange(len(order), 0, -1)
    i, j = np.triu_indices(len(order), 1)
    claimed = np.sign(place[i] - place[j])[:, None]
    difference = draws_F_B[i] - draws_F_B[j]
    seen = np.where(np.abs(difference) <= TIE, 0.0, np.sign(difference))
    known = np.abs(seen).sum(axis=0)
    scale = np.sqrt(len(i) * known)
    tau: Array = np.divide((claimed * seen).sum(axis=0), scale, out=np.zeros_like(scale), where=known > 0)
    return tau


def spearman(order: Sequence[int], draws_F_B: Array) -> Array:
    """(B,) Spearman's rank correlation, ties at their mean rank; 0 where all effects are tied."""
    place = np.empty(len(order))
    place[list(order)] = np.arange(len(order), 0, -1)
    difference = draws_F_B[:, None, :] - draws_F_B[None, :, :]
    ranks = (difference > TIE).sum(axis=1) + (np.abs(difference) <= TIE).sum(axis=1) / 2
    one, other = place - place.mean(), ranks - ranks.mean(axis=0)
    scale = np.sqrt((one**2).sum() * (other**2).sum(axis=0))
    rho: Array = np.divide(one @ other, scale, out=np.zeros_like(scale), where=scale > 0)
    return rho
