"""What an arm would have shown by its own rules, beside what it is worth: reported against reference reward.

Reference validation asks the trained adapter on its tasks; `reported` asks the arm's own endpoint, with
its own reward, split and temperature. A fix can matter for the one and not for the other: with endpoint off the
trainer goes on, off-policy, although no rollout uses its adapter.
"""

from dataclasses import dataclass

import numpy as np

from harness.records.load import SweepRecords
from harness.stats.intervals import crossed_spread


@dataclass(frozen=True)
class ReportedGap:
    """Means over the valid, completed runs of an arm. low, high: 95 % over seeds; None with one seed."""

    arm: str
    seeds: int
    reference_rise: float  # last minus first validation
    reported_rise: float
    gap: float  # reported minus reference at the last validation
    low: float | None
    high: float | None
    nonexistent: float  # validation ids of the arm's own split that do not exist


def reported_gaps(sweep: SweepRecords) -> tuple[ReportedGap, ...]:
    """One per arm that has a valid, completed run with both rewards."""
    out = []
    for arm in sweep.arms:
        ends = []
        for run in sweep.runs_of(arm):
            seen = [
                (v.reference, v.reported, v.nonexistent)
                for v in run.validations
                if v.reference is not None and v.reported is not None
            ]
            if run.valid and run.state == "completed" and seen:
                ends.append((seen[0], seen[-1]))
        if ends:
            spread = crossed_spread(np.array([[reported - reference] for _, (reference, reported, _) in ends]))
            half = spread.half_width()
            known = bool(np.isfinite(half))
            out.append(
                ReportedGap(
                    arm,
                    len(ends),
                    float(np.mean([last[0] - first[0] for first, last in ends])),
                    float(np.mean([last[1] - first[1] for first, last in ends])),
                    spread.mean,
                    spread.mean - half if known else None,
                    spread.mean + half if known else None,
                    float(np.mean([last[2] for _, last in ends])),
                )
            )
    return tuple(out)
