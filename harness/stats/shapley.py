"""Shapley attribution: all_on − all_off, shared out among the fixes, exactly.

A fix's share is what it adds, averaged over all orders in which the fixes could be switched on (Shapley 1953). The
shares add up to the whole difference, also with interactions, and fixes that do the same get the same. Over the full
factorial this is a linear contrast, so it gets the same intervals as every other effect.
"""

from collections.abc import Sequence
from math import factorial

import numpy as np

from harness.factors import ON, Arm


def shapley_weights(arms: Sequence[Arm], factor: str) -> np.ndarray:
    """(A,) weights over all arms of the factorial: ± |S|! (k − 1 − |S|)! / k!, where S are the other fixes that are on
    and k is the number of fixes."""
    weights = []
    for arm in arms:
        on = arm.at(ON)
        k, others = len(arm.factors), len(set(on) - {factor})
        size = factorial(others) * factorial(k - 1 - others) / factorial(k)
        weights.append(size if factor in on else -size)
    return np.array(weights)
