"""Task × arm: the last validation reward of each held-out task, so that one sees which tasks a fix moves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from harness.records.load import RecordedRun, SweepRecords
from harness.report import formats
from harness.report.arm_rows import arms_in_order, counted_runs
from harness.report.figures import arm_colours
from harness.report.templating import render

OPEN = 15  # tasks that are shown at once; the others are folded


@dataclass(frozen=True)
class Column:
    """Arms that end alike on every task. means: by task; a task without a reading is absent"""

    arms: tuple[str, ...]
    seeds: int
    means: dict[str, float]


def task_columns(sweep: SweepRecords) -> tuple[Column, ...]:
    """sweep: one block. In the order of the table of arms; of completed runs, the valid ones where there are any."""
    alike: dict[tuple[int, tuple[tuple[str, float], ...]], list[str]] = {}
    for arm in arms_in_order(sweep):
        runs = [r for r in counted_runs(sweep.runs_of(arm)) if r.state == "completed" and r.validations]
        if means := _means(runs):
            alike.setdefault((len(runs), tuple(means.items())), []).append(arm)
    return tuple(Column(tuple(arms), seeds, dict(means)) for (seeds, means), arms in alike.items())


def task_grid(sweep: SweepRecords, rollouts: Mapping[tuple[str, str], str]) -> str:
    """HTML; empty where nothing can be compared. rollouts: by arm and task the anchor of one that is on the page"""
    columns = task_columns(sweep)
    if len(columns) < 2:
        return ""
    tasks = sorted({task for column in columns for task in column.means})
    spread = {task: _spread([column.means.get(task) for column in columns]) for task in tasks}
    moved = sorted((task for task in tasks if spread[task]), key=lambda task: -spread[task])
    still = [task for task in tasks if not spread[task]]
    parts = [
        ("The {} tasks on which arms differ most", moved[:OPEN]),
        ("{} further tasks on which arms differ", moved[OPEN:]),
        ("{} tasks on which all arms end alike", still),
    ]
    colours = arm_colours(sweep)
    heads = [(name_of(c.arms), " ".join(c.arms), colours[c.arms[0]], c.seeds) for c in columns]
    tables = [(title.format(len(part)), _rows(sorted(part), columns, rollouts)) for title, part in parts if part]
    return render("tasks.jinja", heads=heads, tables=tables, linked=bool(rollouts))


def _spread(means: Sequence[float | None]) -> float:
    known = [mean for mean in means if mean is not None]
    return max(known) - min(known) if known else 0.0


def name_of(arms: Sequence[str]) -> str:
    """`a`, or `a and 3 others`; the fully fixed arm stands for its group."""
    first = min(arms, key=lambda arm: (arm != "all_on", len(arm), arm))
    more = len(arms) - 1
    return first + (f" and {more} other{'s' * (more > 1)}" if more else "")


def _means(runs: Sequence[RecordedRun]) -> dict[str, float]:
    tasks = {task for run in runs for task in run.validations[-1].by_task}
    read = {t: [r for run in runs if (r := run.validations[-1].by_task.get(t)) is not None] for t in sorted(tasks)}
    return {task: round(fmean(rewards), 9) for task, rewards in read.items() if rewards}


def _rows(
    tasks: Sequence[str], columns: Sequence[Column], rollouts: Mapping[tuple[str, str], str]
) -> list[tuple[str, list[tuple[str, int, str]]]]:
    """task -> (text, shade in per cent, anchor or nothing) of each column"""
    return [(task, [_cell(column, task, rollouts) for column in columns]) for task in tasks]


def _cell(column: Column, task: str, rollouts: Mapping[tuple[str, str], str]) -> tuple[str, int, str]:
    mean = column.means.get(task)
    anchor = next((rollouts[arm, task] for arm in column.arms if (arm, task) in rollouts), "")
    return (formats.NONE, 0, "") if mean is None else (f"{mean:.2f}", round(100 * mean), anchor)
