"""Whether the steps of a run together show what no step of it shows alone.

A check may measure how much better the weights that should have answered explain what was served than their rival
does (`preference`, with its standard error and the number of replies: `harness/answering.py`). In 16 bits rounding
often hides it at a single step. Steps are independent witnesses, each of its own replies, so their evidence adds up.

Together they can show that a switch took effect, and never that it did not: rounding that always falls to one side
would add up as well, and to make wrong weights look right it would have to outweigh what tells them apart.
"""

import math
from collections.abc import Iterable, Mapping

CHANCE = 1 / 30_000  # as at a single step (harness/answering.py)
CERTAIN = 8.0  # normal deviates; more than that counts as much


def shown_together(readings: Iterable[Mapping[str, float | None]]) -> bool:
    """readings: of one factor's checks in one run, each step's.

    Stouffer's sum of normal deviates (Stouffer et al. 1949, The American Soldier, vol. 1), each from Student's t with a
    degree of freedom less than there are replies.
    """
    deviates = [deviate for reading in readings if (deviate := _deviate(reading)) is not None]
    if len(deviates) < 2:
        return False
    from scipy.special import ndtri  # a quarter of a second that --help need not wait for

    return sum(deviates) / math.sqrt(len(deviates)) > -float(ndtri(CHANCE / 2))


def _deviate(reading: Mapping[str, float | None]) -> float | None:
    """None: this step tells nothing."""
    names = ("preference", "preference_error", "telling_replies")
    preference, error, replies = (reading.get(name) for name in names)
    if preference is None or error is None or replies is None or not error > 0 or not replies > 1:
        return None
    from scipy.special import ndtri, stdtr

    beyond = -float(ndtri(stdtr(replies - 1, -abs(preference) / error)))  # the tail has digits where the whole has none
    return math.copysign(min(beyond, CERTAIN), preference)
