"""What pairing bought: the variance of a difference with and without shared seeds and tasks.

unpaired   both arms had met seeds and tasks of their own: the variances of the two means add up
paired     as it was run: what the arms share cancels in the difference
"""

from dataclasses import dataclass

import numpy as np

from harness.stats.intervals import crossed_spread
from harness.stats.outcomes import Outcomes


@dataclass(frozen=True)
class Pairing:
    """Variances of the leave-one-out difference of one factor. ratio: unpaired / paired; None if paired is 0."""

    factor: str
    outcome: str
    paired: float
    unpaired: float
    ratio: float | None


def pairing(outcomes: Outcomes, outcome: str = "final") -> tuple[Pairing, ...]:
    values, counts, arms = outcomes.of(outcome), outcomes.counts(outcome), list(outcomes.arms)
    out = []
    for factor in outcomes.factors.names:
        pair = (outcomes.factors.with_off(), outcomes.factors.with_off(factor))
        if not all(arm in arms for arm in pair):
            continue
        i, j = (arms.index(arm) for arm in pair)
        seeds = counts[i] & counts[j]
        tasks = ~np.isnan(values[[i, j]][:, seeds]).any(axis=(0, 1))
        if not seeds.any() or tasks.sum() < 2:
            continue
        on, off = values[i][seeds][:, tasks], values[j][seeds][:, tasks]
        groups = outcomes.groups_at(np.flatnonzero(tasks))
        paired, *each = (crossed_spread(table, 0.0, groups).error ** 2 for table in (on - off, on, off))
        unpaired = sum(each)
        out.append(Pairing(factor, outcome, paired, unpaired, unpaired / paired if paired > 0 else None))
    return tuple(out)
