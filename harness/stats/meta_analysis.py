"""One estimate from several that are of different settings: fixed and random effects.

Fixed: the plain mean of these settings. What another setting would give is not asked. Weighted with 1 / v it would be
that of the settings in which least can happen: an effect of zero has the smallest variance.
Random: the mean over settings of which these are a sample. They differ by a variance τ² (Paule & Mandel 1982, J. Res.
NBS 87, 377-385; the better of the simple estimators for few studies: Veroniki et al. 2016, Res. Synth. Methods 7,
55-79), and the interval is that of Hartung, Knapp, Sidik and Jonkman: Student's t with k − 1 degrees of freedom and the
variance seen between the settings, never a smaller one than their own errors explain (Röver, Knapp & Friede 2015, BMC
Med. Res. Methodol. 15, 99). DerSimonian and Laird's normal interval is too narrow for few settings (IntHout et al.
2014, BMC Med. Res. Methodol. 14, 25). Two settings know little: t with one degree of freedom makes 12.7 standard errors
of 1.96.

v is not the squared standard error, which from two seeds may be near zero by luck and would take all the weight. It is
the variance whose normal interval has the width of the setting's own 95 % interval, which knows how few its seeds are
and how often they were looked at.

Settings that were validated on the same tasks share the luck of these tasks: `covariance_K_K` holds it beside the
diagonal, and both variances count it.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import chi2, norm, t

from harness.stats.intervals import LEVEL

Array = np.ndarray


@dataclass(frozen=True)
class Pooled:
    """One estimate with its 95 % interval and two-sided p-value."""

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class MetaAnalysis:
    """tau: standard deviation between settings
    i_squared: the share of what varies between the estimates that their own errors do not explain
    q_p: p-value of "they do not differ" (Cochran's Q)
    """

    fixed: Pooled
    random: Pooled
    tau: float
    i_squared: float
    q_p: float


def meta_analysis(values_K: Array, covariance_K_K: Array) -> MetaAnalysis:
    """Of at least two settings. Raises ValueError for fewer, or for a variance that is not positive."""
    own = np.diagonal(covariance_K_K)
    settings = len(values_K)
    if settings < 2 or not (np.isfinite(own).all() and (own > 0).all()):
        raise ValueError("A meta-analysis needs at least two estimates, each with a variance above zero.")
    q = _heterogeneity(values_K, own)
    tau2 = _paule_mandel(values_K, own)
    value, error = _weighted(values_K, covariance_K_K, np.ones(settings))
    fixed = _pooled(value, error, float(norm.ppf(0.5 + LEVEL / 2)), float(2 * norm.sf(abs(value) / error)))
    value, error = _weighted(values_K, covariance_K_K + tau2 * np.eye(settings), own + tau2)
    error *= max(1.0, _heterogeneity(values_K, own + tau2) / (settings - 1)) ** 0.5
    wide, p = t.ppf(0.5 + LEVEL / 2, settings - 1), 2 * t.sf(abs(value) / error, settings - 1)
    return MetaAnalysis(
        fixed,
        _pooled(value, error, float(wide), float(p)),
        tau2**0.5,
        max(0.0, 1 - (settings - 1) / q) if q > 0 else 0.0,
        float(chi2.sf(q, settings - 1)),
    )


def _pooled(value: float, error: float, wide: float, p: float) -> Pooled:
    return Pooled(value, value - wide * error, value + wide * error, p)


def _weighted(values_K: Array, covariance_K_K: Array, variances_K: Array) -> tuple[float, float]:
    """The mean weighted with 1 / variance, and its standard error."""
    weights = 1 / variances_K / (1 / variances_K).sum()
    return float(weights @ values_K), float(weights @ covariance_K_K @ weights) ** 0.5


def _heterogeneity(values_K: Array, variances_K: Array) -> float:
    """Cochran's Q: about k − 1 where the variances explain how the values differ."""
    weights = 1 / variances_K
    return float(weights @ (values_K - (weights @ values_K) / weights.sum()) ** 2)


def _paule_mandel(values_K: Array, own_K: Array) -> float:
    """The τ² with which Q is what is expected, k − 1."""

    def excess(tau2: float) -> float:
        return _heterogeneity(values_K, own_K + tau2) - (len(values_K) - 1)

    if excess(0.0) <= 0:
        return 0.0
    return float(brentq(excess, 0.0, float(len(values_K) * np.ptp(values_K) ** 2)))
