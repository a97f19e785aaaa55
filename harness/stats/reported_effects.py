"""Effects on the reported reward: what somebody sees who watches each arm by its own rules.

An arm's own validation has tasks, a temperature, a reward and an endpoint of its own. Its user looks at the reported
mean; that another arm measures it in another way is part of the effect. So the means are compared as they are reported,
in reported reward (−1..1). Outcomes: final, area, and rise (last minus first validation). At the first validation all
arms have the same policy: final minus rise is what measuring in another way does alone.

Seeds are replicates, paired: every arm met the same ones. Tasks are paired where all arms of a contrast asked the same
existing ones. Then a reported mean over n ids, T of which exist (the others score 0), is the mean over these T tasks of
T r / n. So the contrast is a table of seeds × tasks, with the interval of intervals.py, as for the reference. Where the
arms asked different tasks, only the seeds are paired: the interval is Student's t over the seeds' differences and holds
for the tasks that were asked; with one seed there is none.

`differences` are effects on reported minus reference reward: two verdicts may differ although the two effects do not
(Gelman & Stern 2006, Am. Stat. 60, 328-331). They hold whatever missing episodes of the reference validation would have
been (worst_case.py).

Not used here: arms that stand for others (assumed_arms.py). They are alike in the reference reward, not in what is
reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.records.load import SweepRecords
from harness.stats.contrasts import ASSUMES, Contrast, all_contrasts
from harness.stats.effects import Effect, estimate_family
from harness.stats.intervals import crossed_spread
from harness.stats.measured import Measured, same_episodes, same_weights, usable_arms
from harness.stats.outcomes import Outcomes, step_weights
from harness.stats.verdicts import LOWERS, RAISES
from harness.stats.worst_case import Bounds, fillings

Array = np.ndarray
OUTCOMES_REPORTED = ("final", "area", "rise")
KINDS_REPORTED = ("leave_one_out", "main", "added_alone")
FILLED = "the arms that stand for others in this design are alike in the reference reward, not in what is reported"
SEEDS_ALONE = "not the same tasks on both sides: the interval is over seeds alone and holds for these tasks"
ONE_SEED = "not the same tasks on both sides, so one seed has no interval"
DIFFER, AGREE, UNCLEAR = "differ", "agree", "unclear"


@dataclass(frozen=True)
class Compared:
    """The verdicts of one factor on the final reward.

    agreement: `differ` where the difference of the two effects is decided; else `agree` for the same verdict; `unclear`
    where the verdicts are different ones and the difference is undecided
    """

    kind: str
    factor: str
    reference: str
    reported: str
    agreement: str


@dataclass(frozen=True)
class ReportedEffects:
    """effects, differences: `tasks` 0 where the interval is over seeds alone; differences on the final reward only."""

    effects: tuple[Effect, ...]
    differences: tuple[Effect, ...]
    compared: tuple[Compared, ...]

    def of(self, kind: str, outcome: str = "final") -> tuple[Effect, ...]:
        return tuple(e for e in self.effects if e.kind == kind and e.outcome == outcome)


@dataclass(frozen=True)
class Reported:
    """What the counted runs reported. NaN where nothing is reported.

    means: `outcomes` with the reported means as the rewards of a single task
    by_task_A_N_S_T: reward by task over the number of ids, so that the sum over tasks is the mean; NaN: not asked
    all_known_A_N_S: whether every id that exists has its reward in the records
    ids: the least number of ids that an arm's mean is over; width: between the best and the worst reward
    """

    means: Outcomes
    by_task_A_N_S_T: Array
    all_known_A_N_S: Array
    ids: int
    width: float
    tasks: tuple[str, ...]


def reported_effects(sweep: SweepRecords, outcomes: Outcomes, reference: Sequence[Effect]) -> ReportedEffects:
    """reference: the effects on the reference reward, to compare with."""
    reported = reported_of(sweep, outcomes)
    effects = _families(reported, OUTCOMES_REPORTED if len(outcomes.steps) > 1 else OUTCOMES_REPORTED[:1])
    differences = _families(reported, OUTCOMES_REPORTED[:1], outcomes)
    return ReportedEffects(effects, differences, _compared(reference, effects, differences))


def reported_of(sweep: SweepRecords, outcomes: Outcomes) -> Reported:
    tasks = tuple(dict.fromkeys(t for run in sweep.runs for v in run.validations for t in v.reported_by_task))
    place = {task: number for number, task in enumerate(tasks)}
    arms = [arm.name for arm in outcomes.arms]
    shape = outcomes.rewards_A_N_S_T.shape[:3]
    means, by_task = np.full(shape, np.nan), np.full((*shape, len(tasks)), np.nan)
    known = np.zeros(shape, dtype=bool)
    ids, worst, best = [1 << 30], 0.0, 1.0
    for run in sweep.runs:
        a, n = arms.index(run.arm), outcomes.seeds.index(run.seed)
        for v in run.validations:
            if v.step not in outcomes.steps or v.reported is None or not v.reported_n:
                continue
            at = (a, n, outcomes.steps.index(v.step))
            means[at] = v.reported
            known[at] = len(v.reported_by_task) == v.reported_n - v.nonexistent > 0
            for task, reward in v.reported_by_task.items():
                by_task[(*at, place[task])] = reward / v.reported_n
                worst, best = min(worst, reward), max(best, reward)
            ids.append(v.reported_n)
    as_outcomes = replace(outcomes, rewards_A_N_S_T=means[..., None], tasks=("reported",))
    return Reported(as_outcomes, by_task, known, min(ids), best - worst, tasks)


def _families(reported: Reported, names: Sequence[str], beside: Outcomes | None = None) -> tuple[Effect, ...]:
    """beside: the reference, whose effect is taken off."""
    means, out = reported.means, []
    for name in names:
        usable = usable_arms(means, name)
        # No arm is flat by construction here: without an update, too, an arm reports by rules of its own.
        contrasts = all_contrasts(means.factors, means.arms, usable, [False] * len(usable))
        for kind in KINDS_REPORTED:
            family = [c for c in contrasts if c.kind == kind]
            measured = {id(c): measure_reported(reported, c, name, beside) for c in family}
            for effect, contrast in zip(estimate_family(means, name, family, measured), family, strict=True):
                found = measured[id(contrast)]
                if isinstance(found, Measured) and found.tasks == ():
                    told = "; ".join(filter(None, (effect.note, SEEDS_ALONE)))
                    effect = replace(effect, tasks=0, note=told)
                out.append(effect)
    return tuple(out)


def measure_reported(
    reported: Reported, contrast: Contrast, outcome: str, beside: Outcomes | None = None
) -> Measured | str:
    """The contrast over the seeds in which all its arms reported: per task where tasks pair; else one number per seed,
    and no task is named. Or why there is none."""
    if contrast.problem:
        return contrast.problem
    if ASSUMES in contrast.note:
        return FILLED
    means = reported.means
    needed, by_step = np.flatnonzero(np.abs(contrast.weights_A) > 1e-12), step_weights(outcome, means.steps)
    counts = means.counts(outcome)
    if beside is not None:
        counts = counts & beside.counts(outcome)
    seeds = np.flatnonzero(counts[needed].all(axis=0))
    if not len(seeds):
        return _absent(means, next((int(i) for i in needed if not counts[i].any()), int(needed[0])))
    at = np.ix_(needed, seeds, np.flatnonzero(by_step))
    weights, steps = contrast.weights_A[needed], by_step[by_step != 0]
    table, tasks = _by_task(reported, at, beside)
    if table is None:
        if len(seeds) == 1:
            return ONE_SEED
        table = means.rewards_A_N_S_T[at]
        if beside is not None:
            table = table - np.nanmean(beside.complete_A_N_S_T[at], axis=3, keepdims=True)
    values = np.einsum("a,anst,s->nt", weights, table, steps)
    values[np.abs(values) < 1e-12] = 0.0
    # What one episode that comes out the other way changes in a value, which is a task's share of the mean or the mean;
    # in the mean all of a group of variants do.
    shares = len(tasks) or means.in_a_group(reported.tasks)
    jumps = [] if _identical(reported, contrast, seeds) else [reported.width / reported.ids * shares]
    if beside is not None and not _reference_identical(beside, contrast, seeds):
        jumps.append(1.0 if tasks else beside.in_a_group() / len(beside.tasks))
    jump = max(jumps, default=0.0) * float(np.abs(weights).max() * np.abs(steps).max())
    where = (tuple(seeds.tolist()), tasks)
    groups = means.groups_of(reported.tasks[t] for t in tasks) if tasks else None
    found = Measured(contrast, values, *where, crossed_spread(values, jump, groups), not jumps, jump, groups)
    gone = np.isnan(beside.rewards_A_N_S_T[at]) if beside is not None else np.zeros(0)
    if beside is None or not gone.any():
        return found
    filled = fillings(beside, -contrast.weights_A, by_step, beside.missing_A_N_S_T)
    measured = (measure_reported(reported, contrast, outcome, other) for other in filled)
    each = tuple(f for f in measured if isinstance(f, Measured))
    bounds = Bounds(int(gone.sum()), gone.size, *(f.spread.mean for f in each))
    return replace(found, fillings=each, missing=bounds)


def _by_task(
    reported: Reported, at: tuple[Array, ...], beside: Outcomes | None
) -> tuple[Array | None, tuple[int, ...]]:
    """(arms, seeds, steps, tasks) whose mean over tasks is what is compared, and the tasks (positions); None and no
    task where the runs did not ask the same ones."""
    asked = ~np.isnan(reported.by_task_A_N_S_T[at])
    first = asked[0, 0, 0]
    if not first.any() or not reported.all_known_A_N_S[at].all() or (asked != first).any():
        return None, ()
    tasks = np.flatnonzero(first)
    table = reported.by_task_A_N_S_T[at][..., tasks] * len(tasks)
    if beside is not None:
        names = [reported.tasks[t] for t in tasks]
        if sorted(names) != sorted(beside.tasks):
            return None, ()
        table = table - beside.complete_A_N_S_T[at][..., [beside.tasks.index(name) for name in names]]
    return (None, ()) if np.isnan(table).any() else (table, tuple(tasks.tolist()))


def _identical(reported: Reported, contrast: Contrast, seeds: Array) -> bool:
    """Whether the arms reported the same at every validation, with the same weights: equal episodes alone may be
    luck."""
    both = np.concatenate([reported.means.rewards_A_N_S_T, reported.by_task_A_N_S_T], axis=3)
    return _same(both, reported.means, contrast, seeds)


def _reference_identical(reference: Outcomes, contrast: Contrast, seeds: Array) -> bool:
    return _same(reference.rewards_A_N_S_T, reference, contrast, seeds)


def _same(rewards_A_N_S_T: Array, outcomes: Outcomes, contrast: Contrast, seeds: Array) -> bool:
    needed = np.flatnonzero(contrast.weights_A)
    same = same_episodes(rewards_A_N_S_T[np.ix_(needed, seeds)], contrast.weights_A[needed])
    return same and same_weights(outcomes, contrast, seeds)


def _absent(means: Outcomes, arm: int) -> str:
    name = means.arms[arm].name
    if means.counted_A_N[arm].any():
        return f"{name} reports nothing at a validation that this takes"
    return f"no seed has all its arms: {means.why_absent(means.arms[arm])}"


def _compared(
    reference: Sequence[Effect], reported: Sequence[Effect], differences: Sequence[Effect]
) -> tuple[Compared, ...]:
    """Of the factors that both answer, by their effects on the final reward."""
    of = {(e.kind, e.factors): e for e in reported if e.outcome == "final" and e.value is not None}
    apart = {(e.kind, e.factors): e for e in differences if e.value is not None}
    out = []
    for effect in reference:
        key = (effect.kind, effect.factors)
        if effect.outcome != "final" or effect.value is None or key not in of or key not in apart:
            continue
        decided = apart[key].verdict in (RAISES, LOWERS)
        same = effect.verdict == of[key].verdict
        agreement = DIFFER if decided else AGREE if same else UNCLEAR
        out.append(Compared(effect.kind, effect.factors[0], effect.verdict, of[key].verdict, agreement))
    return tuple(out)
