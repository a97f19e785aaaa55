"""What an arm would have shown by its own rules, beside what it is worth: reported against reference reward.

Reference validation asks the trained adapter on its tasks; `reported` asks the arm's own endpoint, with
its own reward, split and temperature. A fix can matter for the one and not for the other: with endpoint off the
trainer goes on, off-policy, although no rollout uses its adapter.
"""

from dataclasses import dataclass

import numpy as np

from harness.records.load import RecordedRun, SweepRecords
from harness.stats.looks import judge
from harness.stats.outcomes import Outcomes


@dataclass(frozen=True)
class ReportedGap:
    """Means over the counted runs of an arm. low, high: 95 % over seeds and all looks; None with one seed."""

    arm: str
    seeds: int
    reference_rise: float  # last minus first validation
    reported_rise: float
    gap: float  # reported minus reference at the last validation
    low: float | None
    high: float | None
    nonexistent: float  # validation ids of the arm's own split that do not exist


def reported_gaps(sweep: SweepRecords, outcomes: Outcomes) -> tuple[ReportedGap, ...]:
    """One per arm that has a counted run with both rewards at the first and the last validation."""
    left_out = {x.run for x in outcomes.left_out}
    out = []
    for arm in sweep.arms:
        runs = [run for run in sweep.runs_of(arm) if run.name not in left_out]
        by_seed = {run.seed: e for run in runs if (e := _ends(run, outcomes))}
        if ends := list(by_seed.values()):
            gaps = np.array([[last.reported - last.reference] for _, last in ends])
            grid = max(last.grid for _, last in ends)
            judged = judge(gaps, tuple(by_seed), grid, outcomes.looks)
            out.append(
                ReportedGap(
                    arm,
                    len(ends),
                    float(np.mean([last.reference - first.reference for first, last in ends])),
                    float(np.mean([last.reported - first.reported for first, last in ends])),
                    judged.spread.mean,
                    *judged.ends(),
                    float(np.mean([last.nonexistent for _, last in ends])),
                )
            )
    return tuple(out)


@dataclass(frozen=True)
class _Both:
    """Both rewards of one validation. grid: what one episode, or a group of variants, changes in their difference."""

    reference: float
    reported: float
    nonexistent: int
    grid: float


def _ends(run: RecordedRun, outcomes: Outcomes) -> tuple[_Both, _Both] | None:
    """The first and the last validation, where they have both rewards."""
    steps = outcomes.steps
    both = {
        v.step: _Both(v.reference, v.reported, v.nonexistent, outcomes.in_a_group() / max(len(v.by_task), 1))
        for v in run.validations
        if v.reference is not None and v.reported is not None
    }
    return (both[steps[0]], both[steps[-1]]) if {steps[0], steps[-1]} <= set(both) else None
