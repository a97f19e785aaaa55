"""Which tasks a fix moves: the leading kind of effect task by task, with a mark that counts how many one looks at.

A cell is the mean over the N shared seeds of the contrast on one task. Its p-value is that of the exact sign-flip test
over seeds (Fisher's randomisation test): if the fix makes no difference on the task, the two sides of each seed's
difference could be swapped. With N seeds no p-value is below 2^(1−N), so few seeds can mark no task, however large the
effect. q-values are Benjamini-Hochberg's over all cells of the table (1995, J. R. Stat. Soc. B 57, 289-300): the share
of marked cells that are false is at most q on average, if the cells are independent or depend positively (Benjamini &
Yekutieli 2001, Ann. Stat. 29, 1165-1188). Cells share their seeds, so the latter is assumed, not shown.

The shrunken estimate needs no test: mean + reliability × (cell − mean), reliability = task / (task + rest / N) from the
variance components of intervals.py, the best linear predictor of a task's own effect (Robinson 1991, Stat. Sci. 6,
15-32). Where the tasks differ by no more than the rest makes them, all cells are the mean. A cell is a single task, so
here variants of one another are tasks of their own; in intervals they are not.

The same components say what power there is: with ever more seeds the error falls to √(task / T), of G groups of
variants to √(group / G), and no lower; and tasks that never change cannot show an effect, so a mean effect is at most
the share of those that do (`Movable`).

p-values and intervals are those over all looks at the sweep (looks.py), and hold whatever missing episodes would have
been (worst_case.py).

Groups of tasks by what the base policy can do: solved or not by the greedy validation at step 0, which no fix has
touched yet; and thirds of its reward where several samples a task are known. Their effects have the usual interval,
each for itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri
from scipy.stats import false_discovery_control, permutation_test

from harness.records.load import SweepRecords
from harness.records.looks import Looks
from harness.stats.contrasts import ASSUMES
from harness.stats.effects import gate_checks
from harness.stats.intervals import LEVEL, crossed_spread
from harness.stats.looks import counted_looks, once, overall_p
from harness.stats.measured import Measured, contrasts_of, measure
from harness.stats.outcomes import Outcomes

Array = np.ndarray
FALSE_SHARE = 0.05  # of the marked cells
KINDS_BY_TASK = ("leave_one_out", "main")
FLIPS = 9999  # sign flips drawn where there are too many to go through all of them
SOLVED, UNSOLVED = "solved at step 0", "not solved at step 0"
THIRDS = ("lowest third", "middle third", "highest third")


@dataclass(frozen=True)
class FactorByTask:
    """One column of the table, by task; NaN where some arm has no episode of the task.

    values: means over seeds; q: Benjamini-Hochberg over the whole table
    seed, task, rest: variances of the differences (see intervals.py), none below 0; None with one seed
    reliability: the share of the differences between the cells that is the tasks' own
    endless_seeds: half the width of the 95 % interval that these tasks would leave with any number of seeds
    """

    factor: str
    values: tuple[float, ...]
    shrunken: tuple[float, ...]
    p: tuple[float, ...]
    q: tuple[float, ...]
    seed: float | None
    task: float | None
    rest: float | None
    reliability: float
    endless_seeds: float | None

    @property
    def marked(self) -> tuple[bool, ...]:
        return tuple(q < FALSE_SHARE for q in self.q)


@dataclass(frozen=True)
class GroupEffect:
    """The effect on some of the tasks. low, high: 95 %, this group and factor alone; None: there is no interval."""

    factor: str
    group: str
    tasks: int
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Movable:
    """Tasks whose reference reward was not always the same, and of the others those always and never solved."""

    tasks: int
    moved: int
    always: int
    never: int


@dataclass(frozen=True)
class TaskEffects:
    """The table of one outcome.

    seeds: the fewest behind a factor's cells; least_p: the smallest p-value that so many seeds can give
    """

    kind: str
    outcome: str
    seeds: int
    least_p: float
    tasks: tuple[str, ...]
    factors: tuple[FactorByTask, ...]
    groups: tuple[GroupEffect, ...]


@dataclass(frozen=True)
class SingleTasks:
    """What a sweep tells of its single tasks; no table where it answers no effect of a single factor."""

    movable: Movable
    tables: tuple[TaskEffects, ...]


def single_tasks(sweep: SweepRecords, outcomes: Outcomes) -> SingleTasks:
    return SingleTasks(movable(outcomes), task_effects(outcomes, base_groups(outcomes, base_rewards(sweep, outcomes))))


def task_effects(outcomes: Outcomes, groups: Mapping[str, Sequence[str]]) -> tuple[TaskEffects, ...]:
    """Tables of final and area, of the kind that answers most factors. groups: tasks by name (`base_groups`)."""
    out = []
    for outcome in ("final", "area") if len(outcomes.steps) > 1 else ("final",):
        found = {kind: _measured(outcomes, kind, outcome) for kind in KINDS_BY_TASK}
        kind = max(KINDS_BY_TASK, key=lambda k: len(found[k]))
        if found[kind]:
            out.append(_table(outcomes, kind, outcome, found[kind], groups))
    return tuple(out)


def base_groups(outcomes: Outcomes, several: Mapping[str, Sequence[float]]) -> dict[str, tuple[str, ...]]:
    """Tasks by what the base policy can do; a group without tasks is left out.

    several: rewards of the base policy by task (`base_rewards`); thirds are made where three or more means differ
    """
    first = outcomes.rewards_A_N_S_T[outcomes.counted_A_N][:, :1].transpose(2, 0, 1)  # (T, runs, 1)
    known = ~np.isnan(first).all(axis=(1, 2))
    solved = np.fmin.reduce(first, axis=(1, 2), initial=np.inf) >= 1 - 1e-6
    groups = {SOLVED: np.flatnonzero(known & solved), UNSOLVED: np.flatnonzero(known & ~solved)}
    out = {name: tuple(outcomes.tasks[t] for t in places) for name, places in groups.items() if len(places)}
    return out | _thirds({task: float(np.mean(r)) for task, r in several.items() if len(r) > 1})


def _thirds(mean: Mapping[str, float]) -> dict[str, tuple[str, ...]]:
    """Tasks by thirds of their base reward; equal ones stay together, so the thirds may differ in size."""
    if len(mean) < 3:
        return {}
    cuts = np.quantile(list(mean.values()), (1 / 3, 2 / 3))
    place = {task: int(np.searchsorted(cuts, value, side="left")) for task, value in mean.items()}
    if len(set(place.values())) < 3:
        return {}
    return {name: tuple(t for t, p in place.items() if p == n) for n, name in enumerate(THIRDS)}


def base_rewards(sweep: SweepRecords, outcomes: Outcomes) -> dict[str, tuple[float, ...]]:
    """Several rewards of the base policy by reference task: the samples of step 0 (`validation.samples`), which are the
    same in every run; else what the arm with all fixes on reported there, which each seed samples anew. Empty where its
    own tasks are others."""
    sampled = (v.sampled for run in sweep.runs for v in run.validations if v.step == 0 and v.sampled)
    if first := next(sampled, None):
        return {task: tuple(reward for reward in rewards if reward is not None) for task, rewards in first.items()}
    out: dict[str, tuple[float, ...]] = {}
    for run in sweep.runs:
        if run.levels == outcomes.factors.with_off().as_dict:
            for v in run.validations:
                for task, reward in v.reported_by_task.items() if v.step == 0 else ():
                    out[task] = (*out.get(task, ()), reward)
    return out if set(out) >= set(outcomes.tasks) else {}


def movable(outcomes: Outcomes) -> Movable:
    """Which tasks changed at all: between arms, seeds or validations of the counted runs."""
    rewards = outcomes.rewards_A_N_S_T[outcomes.counted_A_N]  # (runs, S, T)
    low = np.fmin.reduce(rewards, axis=(0, 1), initial=np.inf)
    high = np.fmax.reduce(rewards, axis=(0, 1), initial=-np.inf)
    asked = np.isfinite(low)
    moved = asked & (high - low > 1e-9)
    return Movable(
        int(asked.sum()),
        int(moved.sum()),
        always=int((asked & ~moved & (low >= 1 - 1e-6)).sum()),
        never=int((asked & ~moved & (high <= 1e-6)).sum()),
    )


def _measured(outcomes: Outcomes, kind: str, outcome: str) -> list[Measured]:
    """The contrasts of a kind that say something of one factor each."""
    of_kind = [c for c in contrasts_of(outcomes, outcome) if c.kind == kind and not c.aliases]
    if any(c.holds is False for c in gate_checks(outcomes, outcome)):
        of_kind = [c for c in of_kind if ASSUMES not in c.note]
    return [m for c in of_kind if isinstance(m := measure(outcomes, c, outcome), Measured)]


def _table(
    outcomes: Outcomes, kind: str, outcome: str, found: Sequence[Measured], groups: Mapping[str, Sequence[str]]
) -> TaskEffects:
    p_values = [_p_values(outcomes, m) for m in found]
    q_values = np.split(false_discovery_control(np.concatenate(p_values)), np.cumsum([len(p) for p in p_values])[:-1])
    seeds = min(len(m.seeds) for m in found)
    by_group = (_group(outcomes, m, name, tasks) for m in found for name, tasks in groups.items())
    return TaskEffects(
        kind,
        outcome,
        seeds,
        least_p(outcomes.looks, seeds),
        outcomes.tasks,
        tuple(_column(outcomes, m, p, q) for m, p, q in zip(found, p_values, q_values, strict=True)),
        tuple(group for group in by_group if group is not None),
    )


def _column(outcomes: Outcomes, found: Measured, p_T: Array, q_T: Array) -> FactorByTask:
    """With one seed tasks and rest cannot be told apart: nothing is shrunk, and no part is known."""
    spread, values = found.spread, found.values_N_T.mean(axis=0)
    seed, task, rest, reliability, endless = None, None, None, 1.0, None
    if spread.seeds > 1 and spread.tasks > 1:
        single = spread if spread.groups is None else crossed_spread(found.values_N_T, found.jump)
        _, task, rest = (max(part, 0.0) for part in single.components)
        reliability = task / (task + rest / spread.seeds) if task else 0.0
    if spread.seeds > 1 and spread.columns > 1:
        seed, column, _ = (max(part, 0.0) for part in spread.components)
        endless = float(ndtri(0.5 + LEVEL / 2) * np.sqrt(column / spread.columns))

    def by_task(numbers: Array) -> tuple[float, ...]:
        out = np.full(len(outcomes.tasks), np.nan)
        out[list(found.tasks)] = numbers
        return tuple(out.tolist())

    return FactorByTask(
        factor=found.contrast.factors[0],
        values=by_task(values),
        shrunken=by_task(spread.mean + reliability * (values - spread.mean)),
        p=by_task(p_T),
        q=by_task(q_T),
        seed=seed,
        task=task,
        rest=rest,
        reliability=reliability,
        endless_seeds=endless,
    )


def _p_values(outcomes: Outcomes, found: Measured) -> Array:
    """(T,) the largest over what missing episodes could have been: 1 where they could turn the sign."""
    filled = [f.over(f.seeds, found.tasks) for f in found.fillings]
    p_values = np.max([_over_looks(outcomes, each) for each in (found, *filled)], axis=0)
    ends = np.array([f.values_N_T.mean(axis=0) for f in filled])
    turns = (ends.min(axis=0) <= 0) & (ends.max(axis=0) >= 0) if filled else np.zeros(len(p_values), dtype=bool)
    return np.where(turns, 1.0, p_values)


def _over_looks(outcomes: Outcomes, found: Measured) -> Array:
    """(T,) p-values over all looks: the smallest that one of them gives."""
    if once(outcomes.looks) or len(found.seeds) == 1:
        return _sign_flips(found.values_N_T)
    counted, each = counted_looks(outcomes.looks), []
    for place, _ in found.at_random(outcomes).looks:
        rows = [row for row, n in enumerate(found.seeds) if outcomes.seeds[n] in counted[place].seeds]
        each.append(overall_p(_sign_flips(found.values_N_T[rows]), place, outcomes.looks))
    smallest: Array = np.min(each, axis=0)
    return smallest


def least_p(looks: Looks, seeds: int) -> float:
    """The smallest p-value that so many seeds can give over all looks."""
    if once(looks) or seeds == 1:
        return 2.0 ** (1 - seeds)
    seen = [(place, min(len(look.seeds), seeds)) for place, look in enumerate(counted_looks(looks))]
    return min(float(overall_p(np.array(2.0 ** (1 - n)), place, looks)) for place, n in seen)


def _sign_flips(values_N_T: Array) -> Array:
    """(T,) two-sided p-values; exact while there are at most FLIPS ways to flip."""
    if len(values_N_T) == 1:
        return np.ones(values_N_T.shape[1])
    options = {"permutation_type": "samples", "vectorized": True, "n_resamples": FLIPS, "batch": 512, "rng": 0}
    p_values: Array = permutation_test((values_N_T,), np.mean, **options).pvalue
    return p_values


def _group(outcomes: Outcomes, found: Measured, name: str, tasks: Sequence[str]) -> GroupEffect | None:
    those = [t for t in found.tasks if outcomes.tasks[t] in tasks]
    if not those:
        return None
    judged = found.over(found.seeds, those).judged(outcomes)
    return GroupEffect(found.contrast.factors[0], name, len(those), judged.spread.mean, *judged.ends())
