"""The section on further validation sets (`validation.also`), which no effect is made of."""

from collections.abc import Iterator, Sequence
from statistics import fmean

from harness.records.load import RecordedRun, SweepRecords
from harness.report import formats
from harness.report.sections import Grid, Section


def also_section(sweep: SweepRecords) -> Section | None:
    """None where no further set was asked."""
    names = list(dict.fromkeys(name for run in sweep.runs for v in run.validations for name in v.also))
    if not names:
        return None
    rows = tuple(row for name in names for row in _rows(sweep, name))
    return Section(
        "Further validation sets",
        ("Asked as the reference is: greedy, raw reward, the current adapter. No effect or verdict is made of them.",),
        grids=(("Means over the valid runs of an arm", Grid(("set", "arm", "tasks", "runs", "first", "last"), rows)),),
    )


def _rows(sweep: SweepRecords, name: str) -> Iterator[tuple[str, ...]]:
    for arm in sweep.arms:
        curves = [curve for run in sweep.runs_of(arm) if run.valid and (curve := _curve(run, name))]
        if curves:
            tasks = max(len(v.also[name]) for run in sweep.runs_of(arm) for v in run.validations if name in v.also)
            ends = (formats.reward(fmean(curve[end] for curve in curves)) for end in (0, -1))
            yield (name, arm, str(tasks), str(len(curves)), *ends)


def _curve(run: RecordedRun, name: str) -> list[float]:
    """Mean rewards on the set, validation by validation; one without a reading is left out."""
    return [mean for v in run.validations if (mean := _mean(list(v.also.get(name, {}).values()))) is not None]


def _mean(rewards: Sequence[float | None]) -> float | None:
    present = [reward for reward in rewards if reward is not None]
    return fmean(present) if present else None
