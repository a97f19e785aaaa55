"""Whether the policy ends below its start although all fixes are on.

`fails`: by the estimate it ends MOVES below; or by more than next to nothing (the margin), and the 95 % interval of the
change lies below zero. Either is enough to say nothing of what a fix is good for. That training itself failed is said
only of such an interval (`Decline.shown`). It is one over seeds and tasks as all others are (intervals.py), pays for
further looks and holds whatever missing episodes would have been.
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
    """Whether the policy ends below its start with all fixes on: by MOVES, or by the margin and surely."""
    lost = _lost(outcomes)
    if lost < outcomes.margin - 1e-9:
        return False
    return lost >= MOVES - 1e-9 or ((change := _change(outcomes)) is not None and change.shown)


def decline(outcomes: Outcomes) -> Decline | None:
    """None where it does not end below its start in one of the two ways."""
    return _change(outcomes) if fails(outcomes) else None


def _lost(outcomes: Outcomes) -> float:
    """First minus last mean reward of all_on; 0 where no run has both."""
    return next((first - last for arm, (first, last) in outcomes.ends.items() if _all_on(arm)), 0.0)


def _change(outcomes: Outcomes) -> Decline | None:
    weights = np.array([float(_all_on(arm)) for arm in outcomes.arms])
    if not weights.any():
        return None
    found = measure(outcomes, Contrast("decline", (), weights), "rise")
    if not isinstance(found, Measured):
        return None
    return Decline(found.spread.mean, *found.judged(outcomes).ends(), found.spread.seeds)


def _all_on(arm: Arm) -> bool:
    return arm.at(ON) == arm.factors
