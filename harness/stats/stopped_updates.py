"""Without which fixes no update was made: read from a sweep's own controls."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.factors import OFF, ON, Arm
from harness.records.load import RecordedRun, SweepRecords

SHUT = 0.1  # share of batches with an update at most
OPEN = 0.5  # share of batches with an update at least


@dataclass(frozen=True)
class StoppedWithout:
    """made: batches of runs without the fix in which an update was made, of all their batches."""

    factor: str
    made: int
    batches: int


def stopped_without(sweep: SweepRecords) -> tuple[StoppedWithout, ...]:
    """The fixes of which some pair of arms shows it: they differ in that fix alone, and only one of them trains.

    Where no such pair is in the sweep nothing can be read, although no arm may have trained.
    """
    arms = {arm: Arm.of(sweep.runs_of(arm)[0].levels) for arm in sweep.arms}
    counts = {levels: _updates([run for run in sweep.runs_of(arm) if run.valid]) for arm, levels in arms.items()}
    out = []
    for factor in sweep.factors:
        shut = [
            off
            for on, (made, batches) in counts.items()
            if on.level(factor) == ON and batches and made >= OPEN * batches
            if (off := on.but(**{factor: OFF})) in counts and counts[off][1] and counts[off][0] <= SHUT * counts[off][1]
        ]
        if shut:
            out.append(StoppedWithout(factor, sum(counts[a][0] for a in shut), sum(counts[a][1] for a in shut)))
    return tuple(out)


def _updates(runs: Sequence[RecordedRun]) -> tuple[int, int]:
    steps = [step for run in runs for step in run.steps]
    return sum(bool(step.get("gradient_steps")) for step in steps), len(steps)
