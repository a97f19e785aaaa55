"""Levels of a t-test that is made again and again as seeds are added.

The share of all tests that is to have rejected by each look is given; what is found is the level of each look alone.
Tables of group-sequential tests (Lan & DeMets 1983, Biometrika 70, 659-663; Jennison & Turnbull 2000, ch. 4, 7) rest on
normal statistics of known variance. With looks after every seed from 2 to 10 these levels would err in 1.2 times the
share that is meant, since at few seeds t is far from normal. So the chain of t itself is followed, exactly:

Of x_1 … x_n, independent, normal, of mean 0, let R = ‖x‖ and U = Σ x / (√n R), the cosine between x and the diagonal.
Then t = √(n−1) U / √(1−U²). All earlier t are functions of the direction of x, of which R is independent (Basu), so the
U of n = 1, 2, … are a Markov chain, and with x_{n+1} / R = tan φ

    U' = (√n U cos φ + sin φ) / √(n+1),   φ of density ∝ cos^(n−1) φ on (−π/2, π/2).

The distribution over what has not been rejected is kept in CELLS cells of η = arcsin |U|.
"""

from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtr, stdtrit

Array = np.ndarray
CELLS = 100  # levels are right to about 1 %; the sum over all looks to .3 %
WHOLE = np.pi / 2
NEVER = 1e-12  # a share or a level that is none


@cache
def look_levels(seeds: tuple[int, ...], spent: tuple[float, ...]) -> tuple[float, ...]:
    """The two-sided level of each look.

    seeds: of each look, rising, the first at least 2; spent: the share of null tests that has rejected by then
    """
    levels = [spent[0]]
    masses, cells = _first(seeds[0], spent[0])
    for before, now, share in zip(seeds, seeds[1:], np.diff(spent), strict=False):
        for n in range(before, now):
            edge = _edge(n, masses, cells, share) if n == now - 1 else WHOLE
            if n == now - 1:
                levels.append(_level(now, edge))
                if len(levels) == len(seeds):
                    return tuple(levels)
            masses, cells = _step(n, masses, cells, edge)
    return tuple(levels)


def _first(seeds: int, level: float) -> tuple[Array, Array]:
    """Masses and middles of the cells after the first look."""
    edge = WHOLE if level < NEVER else float(np.arctan(-stdtrit(seeds - 1, level / 2) / np.sqrt(seeds - 1)))
    edges = np.linspace(0, edge, CELLS + 1)
    below = 2 * _below(edges, seeds - 2) - 1
    return np.diff(below), (edges[1:] + edges[:-1]) / 2


def _edge(n: int, masses: Array, cells: Array, share: float) -> float:
    """The η beyond which the next step goes with this share of all."""

    def excess(edge: float) -> float:
        return float(masses @ _beyond(n, cells, np.array(edge))) - share

    if share < NEVER or excess(NEVER) <= 0:
        return WHOLE if share < NEVER else 0.0
    return float(brentq(excess, NEVER, WHOLE, xtol=1e-13))


def _level(seeds: int, edge: float) -> float:
    return 0.0 if edge > WHOLE - NEVER else float(2 * stdtr(seeds - 1, -np.sqrt(seeds - 1) * np.tan(edge)))


def _step(n: int, masses: Array, cells: Array, edge: float) -> tuple[Array, Array]:
    edges = np.linspace(0, edge, CELLS + 1)
    beyond = masses @ _beyond(n, cells[:, None], edges)
    return beyond[:-1] - beyond[1:], (edges[1:] + edges[:-1]) / 2


def _beyond(n: int, cells: Array, edge: Array) -> Array:
    """P(arcsin |U'| > edge) from each cell, at n seeds before the step."""
    out: Array = sum(_above(n, sign * np.sin(cells), np.sin(edge)) for sign in (1.0, -1.0))  # type: ignore[assignment]
    return out


def _above(n: int, u: Array, bound: Array) -> Array:
    """P(U' > bound | U = u): √n u cos φ + sin φ = a sin(φ + ψ)."""
    a, psi = np.sqrt(1 + n * u**2), np.arctan(np.sqrt(n) * u)
    ratio = bound * np.sqrt(n + 1) / a
    angle = np.arcsin(np.clip(ratio, -1.0, 1.0))
    low = np.clip(angle - psi, -WHOLE, WHOLE)
    high = np.clip(np.pi - angle - psi, -WHOLE, WHOLE)
    return np.where(ratio >= 1, 0.0, _below(high, n - 1) - _below(low, n - 1))


def _below(phi: Array, power: int) -> Array:
    """The share below φ of the density ∝ cos^power: ∫ cos^m = cos^(m−1) sin / m + (m−1)/m ∫ cos^(m−2)."""
    sine, cosine = np.sin(phi), np.cos(phi)
    odd = power % 2
    integral, whole = (sine + 1, 2.0) if odd else (phi + WHOLE, np.pi)
    for m in range(2 + odd, power + 1, 2):
        integral, whole = cosine ** (m - 1) * sine / m + (m - 1) / m * integral, (m - 1) / m * whole
    return integral / whole
