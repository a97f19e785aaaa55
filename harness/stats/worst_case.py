"""How far an effect could be off, were what is missing not missing at random.

An episode that is lost to the infrastructure is no draw by lot: an arm whose failures last longest loses its failures.
What its other seeds and tasks say of it (`outcomes.complete`) is then no estimate of it, and an effect can change its
sign. Rewards lie between 0 and 1, so an effect is no lower than with every missing episode filled with what is worst
for it, and no higher than with what is best (Horowitz & Manski 2000, JASA 95, 77-84):

    filling of an episode of arm a at step s  =  0 or 1, by the sign of (weight of a) × (weight of s in the outcome)

Estimates stay those of least squares. Intervals and p-values are those that hold under both fillings: the interval
reaches from the lowest end to the highest; the p-value is the largest, or 1 where the fillings differ in sign. Where
the recorded weights of the compared arms are the same, so is what each of them would have done, and nothing is filled.
Fillings are of single tasks; a group of variants (intervals.py) is averaged after that, and each filling is judged over
all looks (looks.py). What is said of one arm by itself (its mean, steps to a threshold, stability) rests on estimates.

A run that failed, or that lacks more than a fifth of a validation that the outcome is made of ("lost"), is absent with
its whole seed. Its bounds take it for 0 or 1 in every episode. By the test above, one such run in five seeds would
leave next to nothing decided: it would be an outlier as far off as rewards go. So less is asked: a verdict stands where
nothing that the lost runs could have been turns the sign of the effect (or takes it beyond the margin, for "no
effect"), and the report says that their absence is assumed to have nothing to do with their reward. A run that is
INVALID is not the arm that it is named after; it has no reward that could be filled in.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from harness.stats.outcomes import Outcomes

Array = np.ndarray
MISSING = "{} of {} episodes are missing: were they not missing at random, the effect would lie between {} and {}"
LOST = (
    "{} of {} runs failed or are incomplete, which is assumed to have nothing to do with their reward: whatever that "
    "was, the effect would lie between {} and {}"
)
NOT_AT_RANDOM = "it is decided only if the missing episodes are missing at random"
COULD_TURN = "what the failed or incomplete runs could have been turns its sign"
COULD_EXCEED = "what the failed or incomplete runs could have been lies beyond the margin"


@dataclass(frozen=True)
class Bounds:
    """low, high: the effect with all that is missing filled in the worst way for it, and in the best."""

    missing: int
    of: int
    low: float
    high: float

    @property
    def turns(self) -> bool:
        """Whether the sign of the effect rests on what is missing."""
        return self.low <= 0 <= self.high

    def exceeds(self, margin: float) -> bool:
        return max(abs(self.low), abs(self.high)) > margin

    def said(self, text: str) -> str:
        """text: MISSING or LOST"""
        return text.format(self.missing, self.of, f"{self.low:+.3f}", f"{self.high:+.3f}")


def notes(missing: Bounds | None, lost: Bounds | None) -> list[str]:
    """What a report says of the bounds of an effect."""
    return [bounds.said(text) for bounds, text in ((missing, MISSING), (lost, LOST)) if bounds]


def fillings(outcomes: Outcomes, weights_A: Array, by_step_S: Array, gone_A_N_S_T: Array) -> Iterator[Outcomes]:
    """The sweep with what is gone filled in the worst way for a contrast and an outcome, and in the best. Runs that get
    rewards by that count."""
    counted = outcomes.counted_A_N | gone_A_N_S_T.any(axis=(2, 3))
    for best in (False, True):
        filling_A_S = (np.outer(weights_A, by_step_S) > 0) == best
        rewards = np.where(gone_A_N_S_T, filling_A_S[:, None, :, None], outcomes.rewards_A_N_S_T)
        yield replace(outcomes, rewards_A_N_S_T=rewards, counted_A_N=counted)
