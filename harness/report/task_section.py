"""The section on single tasks: which ones a fix moves, what the base policy could do with them, what power is left."""

import math

from harness.report import effect_text, formats
from harness.report.sections import Grid, Section
from harness.stats.reward_range import DIFFERENCE
from harness.stats.sweep_statistics import SweepStatistics
from harness.stats.task_effects import FALSE_SHARE, FactorByTask, GroupEffect, Movable, TaskEffects

ROWS = 60  # tasks in the table; all of them are in effects.json
EVERYTHING = (
    "A cell: the estimate shrunken towards the mean over tasks, and in parentheses the mean over the seeds as it was "
    "measured. * marks q < {share:g} (Benjamini-Hochberg over all cells, exact sign-flip tests over seeds; assumes "
    "that cells are independent or depend positively)."
)
GROUPS = "Brackets: 95 % interval of that group and fix alone, not corrected. A solved task can only be lost."
ENDLESS = (
    "Endless seeds: half the width of the 95 % interval that would be left with any number of seeds, since the tasks "
    "differ. Only more tasks lower it."
)
VARIANTS = "They are variants of one another in {groups} groups, so it takes tasks of other groups."


def task_section(found: SweepStatistics) -> Section | None:
    table = next((t for t in found.tasks.tables if t.outcome == "final"), None)
    if table is None:
        return None
    title = f"{effect_text.KIND_TITLES[table.kind]} on the final reward"
    grids = [(f"{title}, by what the base policy could do", _groups(table))] if table.groups else []
    if any(column.task is not None for column in table.factors):
        grids.append((f"{title}: standard deviations, and what more seeds cannot remove", _parts(table)))
    groups = found.effects.task_groups
    endless = ENDLESS if groups is None else f"{ENDLESS} {VARIANTS.format(groups=groups)}"
    return Section(
        "Effects task by task",
        (_movable(found.tasks.movable), _marks(table)),
        grids=tuple(grids),
        notes=(*((GROUPS,) if table.groups else ()), endless, EVERYTHING.format(share=FALSE_SHARE)),
        folded=((f"{title}, task by task", _cells(table)),),
    )


def _movable(movable: Movable) -> str:
    share = movable.moved / movable.tasks
    still = movable.tasks - movable.moved
    told = f"{movable.moved} of {movable.tasks} tasks changed in any run"
    if not still:
        return f"{told}: each of them can show an effect."
    return (
        f"{told}. The others can show none (always solved: {movable.always}, never: {movable.never}). "
        f"No mean effect can exceed {share:.2f} here, and a mean effect of 0.1 is one of {0.1 / share:.2f} on the "
        "tasks that can change."
        if movable.moved
        else f"{told}: none can show an effect."
    )


def _marks(table: TaskEffects) -> str:
    cells = sum(not math.isnan(q) for column in table.factors for q in column.q)
    marked = sum(sum(column.marked) for column in table.factors)
    seeds = f"{table.seeds} seed{'s' * (table.seeds != 1)}"
    if table.least_p >= FALSE_SHARE:
        needed = math.ceil(1 - math.log2(FALSE_SHARE))
        more = f"It takes at least {needed} seeds" + " at one look as planned" * (table.seeds >= needed)
        return (
            f"No single task can be marked with {seeds}: the smallest p-value that these can give is "
            f"{table.least_p:.3g}, before any correction. {more}."
        )
    return f"{marked} of {cells} cells (task × fix) are marked, over {seeds}."


def _groups(table: TaskEffects) -> Grid:
    names = list(dict.fromkeys((g.group, g.tasks) for g in table.groups))
    of = {(g.factor, g.group): g for g in table.groups}
    factors = [column.factor for column in table.factors]
    rows = []
    for group, tasks in names:
        found = [of.get((factor, group)) for factor in factors]
        cells = (f"{formats.signed(g.value)} {_interval(g, table.seeds)}" if g else formats.NONE for g in found)
        rows.append((group, str(tasks), *cells))
    return Grid(("tasks", "number", *factors), tuple(rows), "effects")


def _interval(group: GroupEffect, seeds: int) -> str:
    return effect_text.interval(group.low, group.high, seeds, DIFFERENCE)


def _parts(table: TaskEffects) -> Grid:
    rows = tuple(
        (c.factor, *(_root(part) for part in (c.task, c.seed, c.rest)), f"{c.reliability:.2f}", _half(c))
        for c in table.factors
    )
    return Grid(("fix", "tasks", "seeds", "rest", "reliability of a cell", "endless seeds"), rows)


def _root(variance: float | None) -> str:
    return formats.NONE if variance is None else f"{math.sqrt(variance):.3f}"


def _half(column: FactorByTask) -> str:
    return formats.NONE if column.endless_seeds is None else f"± {column.endless_seeds:.3f}"


def _cells(table: TaskEffects) -> Grid:
    """The tasks that some fix moves, the most moved ones where there are many, in the order of the tasks."""

    def moved(place: int) -> float:
        return max((abs(c.values[place]) for c in table.factors if not math.isnan(c.values[place])), default=0.0)

    shown = [place for place in range(len(table.tasks)) if moved(place) > 1e-9]
    shown = sorted(sorted(shown, key=lambda place: -moved(place))[:ROWS])
    rows = tuple((table.tasks[place], *(_cell(c, place) for c in table.factors)) for place in shown)
    shades = tuple((None, *(_shade(c.shrunken[place]) for c in table.factors)) for place in shown)
    return Grid(
        (f"task ({len(shown)} of {len(table.tasks)})", *(c.factor for c in table.factors)), rows, "heat", shades
    )


def _cell(column: FactorByTask, place: int) -> str:
    if math.isnan(column.values[place]):
        return formats.NONE
    mark = "*" if column.marked[place] else ""
    return f"{formats.signed(column.shrunken[place])}{mark} ({formats.signed(column.values[place])})"


def _shade(value: float) -> float | None:
    return None if math.isnan(value) else value
