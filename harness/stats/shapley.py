"""Shapley attribution: all_on − all_off, shared out among the six fixes, exactly.

A fix's share is what it adds, averaged over all 720 orders in which the fixes could be switched on
(Shapley 1953). The shares add up to the whole difference, also with interactions, and fixes that do the same
get the same. Over the 64 arms this is a linear contrast, so it gets the same intervals as every other effect.
"""

from collections.abc import Sequence
from math import factorial

import numpy as np

from harness.factors import FACTORS, Arm


def shapley_weights(arms: Sequence[Arm], factor: str) -> np.ndarray:
    """(A,) weights over all 64 arms: ± |S|! (5 − |S|)! / 6!, where S are the other fixes that are on."""
    weights = []
    for arm in arms:
        others = sum(arm.level(f) == "on" for f in FACTORS if f != factor)
        size = factorial(others) * factorial(len(FACTORS) - 1 - others) / factorial(len(FACTORS))
        weights.append(size if arm.level(factor) == "on" else -size)
    return np.array(weights)
