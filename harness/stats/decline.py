"""Whether the policy ends below its start although all fixes are on.

`fails` is said of the estimate: MOVES below is enough to say nothing of what a fix is good for. That training itself
failed is said only where the 95 % interval of the change lies below zero (`Decline.shown`). It is one over seeds and
tasks as all others are (intervals.py), pays for further looks and holds whatever missing episodes would have been.
"""

from dataclasses import dataclass

import numpy as np

from harness.factors import ON, Arm
from harness.stats.contrasts import Contrast
from harness.stats.measured import Measured, measure
from harness.stats.outcomes import Outcomes
from harness.stats.verdicts import MOVES


@dataclass(frozen=True)
class Decline:
    """value: last minus first reward of all_on; low, high: 95 %, None where there is no interval"""

    value: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def shown(self) -> bool:
        return self.high is not None and self.high < 0


def fails(outcomes: Outcomes) -> bool:
    """Whether the policy ends MOVES below its start with all fixes on."""
    return any(first - last >= MOVES - 1e-9 for arm, (first, last) in outcomes.ends.items() if _all_on(arm))


def decline(outcomes: Outcomes) -> Decline | None:
    """None where it does not end MOVES below its start."""
    if not fails(outcomes):
        return None
    weights = np.array([float(_all_on(arm)) for arm in outcomes.arms])
    found = measure(outcomes, Contrast("decline", (), weights), "rise")
    if not isinstance(found, Measured):
        return None
    return Decline(found.spread.mean, *found.judged(outcomes).ends(), found.spread.seeds)


def _all_on(arm: Arm) -> bool:
    return arm.at(ON) == arm.factors
