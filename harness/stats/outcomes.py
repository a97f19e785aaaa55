"""From the records of a sweep to arrays: one number per arm, seed and reference task, for three outcomes.

final   reward at the last validation (0..1)
area    time-averaged reward: trapezoids over the validated steps, divided by their range (0..1)
slope   least-squares slope of reward per training step

Claims also ask for `rise`, last minus first validation, and `trend`, the slope times the steps.

A run counts for an outcome if it has the validations that the outcome is made of; for `final` the last one is enough.
A missing episode is estimated from its arm's other episodes at that step (`complete`); it is never reward 0. Whether
what is said of an effect rests on that estimate is for worst_case.py to say.

Shape suffixes: A arms, N seeds, S validations, T tasks. NaN is a missing episode; a run that does not count
is absent in `counted_A_N`, and its numbers are NaN. The loop of a run may end by itself before it trained what was
planned (fix/split=crash): its policy stays as it was validated last, and so do its rewards.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from harness.errors import ConfigError
from harness.factors import NOTE, Arm, Factors
from harness.records.load import MARGIN, RecordedRun, SweepRecords
from harness.records.looks import Looks, looks_of

OUTCOMES = ("final", "area", "slope")
UNTRAINED = "untrained"
LOST = ("failed", "incomplete")  # runs that are left out for what may depend on their reward
UNRECORDED = Looks()  # how often it was looked at is not known
ENOUGH = 0.8  # a validation is there when at least this share of its episodes is
Array = np.ndarray


@dataclass(frozen=True)
class LeftOut:
    """A run that stands for nothing in the estimates, and why."""

    run: str
    arm: str
    seed: int
    why: str  # INVALID, failed, running, missing, or incomplete
    reading: str


@dataclass(frozen=True)
class Outcomes:
    """Reference rewards of a sweep's counted runs.

    design: as the sweep was called; empty where that is not known
    baseline: which loop `off` means
    margin: reward; what the sweep was to call next to nothing
    ended: counted runs whose loop ended by itself
    unshown: by factor, (A, N) counted runs whose switch nothing could judge; a factor that is absent was always shown
    looks: how often the sweep was looked at
    task_groups: the name of its group by task, where tasks are variants of one another (intervals.py)
    """

    factors: Factors
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    steps: tuple[int, ...]
    tasks: tuple[str, ...]
    rewards_A_N_S_T: Array
    counted_A_N: Array
    left_out: tuple[LeftOut, ...]
    # (A, N, S) names of the weights that were validated; arms of one seed with the same name had the same
    # weights. None: not recorded, so equal episodes are taken for equal weights.
    weights_A_N_S: Array | None = None
    design: str = ""
    baseline: str = NOTE
    margin: float = MARGIN
    ended: tuple[str, ...] = ()
    unshown: Mapping[str, Array] = field(default_factory=dict)
    looks: Looks = UNRECORDED
    task_groups: Mapping[str, str] = field(default_factory=dict)

    def groups_of(self, tasks: Iterable[str] | None = None) -> tuple[str, ...]:
        """The name of each task's group; its own name where it is one by itself. None: of all tasks."""
        return tuple(self.task_groups.get(task, task) for task in (self.tasks if tasks is None else tasks))

    def in_a_group(self, tasks: Sequence[str] | None = None) -> float:
        """How many tasks a group has on average: so many come out another way at once. None: of all tasks."""
        groups = self.groups_of(tasks)
        return len(groups) / max(len(set(groups)), 1) if groups else 1.0

    def groups_at(self, positions: Iterable[int]) -> tuple[str, ...]:
        """As `groups_of`, of the tasks at these positions."""
        return self.groups_of(self.tasks[t] for t in positions)

    @property
    def not_shown(self) -> dict[str, int]:
        """By factor: how many counted runs have a switch that nothing could judge."""
        return {factor: int(runs_A_N.sum()) for factor, runs_A_N in self.unshown.items()}

    @cached_property
    def complete_A_N_S_T(self) -> Array:
        """The rewards, with an estimate where an episode is missing; NaN where no seed of the arm has the task."""
        out = self.rewards_A_N_S_T.copy()
        for a, s in np.argwhere(self.missing_A_N_S_T.any(axis=(1, 3))):
            out[a, :, s] = complete(out[a, :, s])
        return out

    @property
    def missing_A_N_S_T(self) -> Array:
        """Where a validation is there and an episode of it is not."""
        absent = np.isnan(self.rewards_A_N_S_T)
        missing: Array = absent & ~absent.all(axis=3, keepdims=True)
        return missing

    @cached_property
    def _failed_A_N(self) -> Array:
        """Runs that failed or are incomplete, and do not count."""
        arms, failed = [arm.name for arm in self.arms], np.zeros_like(self.counted_A_N)
        for x in self.left_out:
            if x.why in LOST:
                failed[[name == x.arm for name in arms], self.seeds.index(x.seed)] = True
        failed &= ~self.counted_A_N
        return failed

    def lost(self, outcome: str) -> Array:
        """(A, N) runs without a value of this outcome that may be absent because of their reward: they failed, or too
        few episodes of some validation are there. Not INVALID ones, nor those that have not ended."""
        lost: Array = self._failed_A_N | (self.counted_A_N & ~self.counts(outcome))
        return lost

    def counts(self, outcome: str) -> Array:
        """(A, N) whether a run has every validation that the outcome is made of."""
        counts: Array = self.counted_A_N & self._there_A_N_S[..., step_weights(outcome, self.steps) != 0].all(axis=2)
        return counts

    @cached_property
    def _there_A_N_S(self) -> Array:
        there: Array = ~np.isnan(self.rewards_A_N_S_T).all(axis=3)
        return there

    @cached_property
    def ends(self) -> dict[Arm, tuple[float, float]]:
        """The mean rewards of each arm at the first and the last validation, over the runs that have both."""
        rows = zip(self.arms, self.rewards_A_N_S_T, self.counts("rise"), strict=True)
        return {
            arm: (float(np.nanmean(rewards[counts, 0])), float(np.nanmean(rewards[counts, -1])))
            for arm, rewards, counts in rows
            if counts.any()
        }

    def of(self, outcome: str) -> Array:
        """(A, N, T) values of one outcome. Raises KeyError for an unknown one."""
        weights = step_weights(outcome, self.steps)
        values: Array = np.einsum("anst,s->ant", self.complete_A_N_S_T[:, :, weights != 0], weights[weights != 0])
        return values

    @property
    def still_A(self) -> Array:
        """(A,) whether an arm took no gradient step in any counted run; as the factors declare where that is not
        recorded."""
        if self.weights_A_N_S is None:
            return np.array([self.factors.no_update(arm) for arm in self.arms])
        took = (self.weights_A_N_S != UNTRAINED).any(axis=2) & self.counted_A_N
        still: Array = ~took.any(axis=1) & self.counted_A_N.any(axis=1)
        return still

    def why_absent(self, arm: Arm) -> str:
        """Why an arm has no counted run: what its runs measured, or that the design does not hold it."""
        reasons = [f"{x.run} {x.why}: {x.reading}".rstrip(": ") for x in self.left_out if x.arm == arm.name]
        if reasons:
            return "; ".join(reasons[:2]) + (f"; and {len(reasons) - 2} more" if len(reasons) > 2 else "")
        return f"{arm.name} is not in this sweep"


def stack(one: Outcomes, other: Outcomes) -> Outcomes:
    """The arms of two blocks as those of one table: first `one`'s, then `other`'s. They have the same steps; a seed or
    a task that one of them lacks is missing there."""
    seeds = tuple(sorted({*one.seeds, *other.seeds}))
    tasks = tuple(dict.fromkeys((*one.tasks, *other.tasks)))
    arms, steps = len(one.arms) + len(other.arms), one.steps
    rewards = np.full((arms, len(seeds), len(steps), len(tasks)), np.nan)
    counted = np.zeros((arms, len(seeds)), dtype=bool)
    weights = np.full((arms, len(seeds), len(steps)), "", dtype=object)
    for first, block in ((0, one), (len(one.arms), other)):
        rows = range(first, first + len(block.arms))
        at_seeds = [seeds.index(seed) for seed in block.seeds]
        rewards[np.ix_(rows, at_seeds, range(len(steps)), [tasks.index(t) for t in block.tasks])] = (
            block.rewards_A_N_S_T
        )
        counted[np.ix_(rows, at_seeds)] = block.counted_A_N
        if block.weights_A_N_S is not None:
            weights[np.ix_(rows, at_seeds)] = block.weights_A_N_S
    known = one.weights_A_N_S is not None and other.weights_A_N_S is not None
    return Outcomes(
        one.factors, (*one.arms, *other.arms), seeds, steps, tasks, rewards, counted, (*one.left_out, *other.left_out),
        weights if known else None, margin=one.margin, looks=one.looks,
        task_groups={**other.task_groups, **one.task_groups},
    )  # fmt: skip


def complete(rewards_N_T: Array) -> Array:
    """A table of seeds and tasks whose missing values are those of the additive model seed + task, fitted to the others
    by least squares. What is estimated from such a table is what least squares finds without it (Yates 1933, Empire J.
    Exp. Agric. 1, 129-142). A seed or task of which nothing is there stays NaN.
    """
    there = ~np.isnan(rewards_N_T)
    of_seed, of_task = np.nonzero(there)
    seeds, tasks = rewards_N_T.shape
    design = np.hstack([np.eye(seeds)[of_seed], np.eye(tasks)[of_task]])
    effects = np.linalg.lstsq(design, rewards_N_T[there], rcond=None)[0]
    known = there.any(axis=1)[:, None] & there.any(axis=0)
    fitted = np.where(known, effects[:seeds, None] + effects[seeds:], np.nan)
    return np.where(there, rewards_N_T, fitted)


def step_weights(outcome: str, steps: Sequence[int]) -> Array:
    """(S,) weights that make an outcome out of a curve: all of them are linear in the rewards."""
    at = np.array(steps, dtype=float)
    weights: Array
    if outcome == "final":
        weights = (np.arange(len(at)) == len(at) - 1).astype(float)
    elif len(at) < 2:
        weights = np.full(len(at), np.nan)
    elif outcome == "area":
        gaps = np.diff(at)
        weights = (np.append(gaps, 0) + np.insert(gaps, 0, 0)) / 2 / (at[-1] - at[0])
    elif outcome in ("slope", "trend"):
        centred = at - at.mean()
        weights = centred / (centred @ centred) * (1.0 if outcome == "slope" else at[-1] - at[0])
    elif outcome == "rise":
        weights = np.zeros(len(at))
        weights[[0, -1]] = -1.0, 1.0
    else:
        raise KeyError(outcome)
    return weights


def outcomes_of(sweep: SweepRecords) -> Outcomes:
    """The completed, valid runs of a sweep on the validation steps that at least half of them have.

    Raises ValueError for a sweep of several blocks: runs of one arm and seed in two of them are no replicates;
    ConfigError for a plan in which an arm has another name than its levels give it.
    """
    if len(sweep.blocks) > 1:
        raise ValueError(f"{sweep.name} has several blocks. Ask for sweep.main or sweep.of_block(name).")
    for run in sweep.runs:
        _check_name(run, sweep)
    why = {run.name: reason for run in sweep.runs if (reason := _reason(run))}
    counted = [run for run in sweep.runs if run.name not in why]
    steps, tasks = _steps(counted), _tasks(sweep, counted)
    curves = {run.name: _curve(run, steps, tasks) for run in counted}
    for run in counted:
        if missing := _incomplete(run, steps, curves[run.name]):
            why[run.name] = ("incomplete", missing)
    arms = tuple(Arm.of(levels) for levels in {run.arm: run.levels for run in sweep.runs}.values())
    seeds = tuple(sorted({run.seed for run in sweep.runs}))
    rewards = np.full((len(arms), len(seeds), len(steps), len(tasks)), np.nan)
    is_counted = np.zeros((len(arms), len(seeds)), dtype=bool)
    weights = np.full(rewards.shape[:3], "", dtype=object)
    unshown = {factor: np.zeros_like(is_counted) for factor in sweep.factors}
    place = {arm: number for number, arm in enumerate(sweep.arms)}
    for run in sweep.runs:
        if run.name in why:
            continue
        a, n = place[run.arm], seeds.index(run.seed)
        is_counted[a, n] = True
        rewards[a, n] = curves[run.name]
        weights[a, n] = [_weights(run, s) for s in steps]
        for factor in run.not_shown:
            unshown[factor][a, n] = True
    left_out = tuple(LeftOut(r.name, r.arm, r.seed, *why[r.name]) for r in sweep.runs if r.name in why)
    counted = [run for run in counted if run.name not in why]
    return Outcomes(
        sweep.declared,
        arms,
        seeds,
        tuple(steps),
        tasks,
        rewards,
        is_counted,
        left_out,
        weights,
        sweep.design,
        sweep.baseline,
        sweep.margin,
        tuple(run.name for run in counted if run.ended_at is not None),
        unshown,
        looks_of(sweep),
        sweep.task_groups,
    )


def _check_name(run: RecordedRun, sweep: SweepRecords) -> None:
    """An arm is known by its levels: under another name its runs would be those of no arm, or of a wrong one."""
    if run.arm != (name := Arm.of(run.levels).name):
        levels = ", ".join(f"{factor} {level}" for factor, level in run.levels.items()) or "none"
        raise ConfigError(
            f"{sweep.folder / 'plan.jsonl'} calls the arm of {run.name} {run.arm!r}, and its levels ({levels}) are "
            f"those of {name!r}. Write that name there (`arm`, `run`, and the run's folder), or correct `levels`."
        )


def _reason(run: RecordedRun) -> tuple[str, str] | None:
    """(why, reading) for a run that does not count. INVALID comes first: it is what a reader must not miss."""
    if not run.valid:
        return "INVALID", "; ".join(f"{factor}: {text}" for factor, text in run.invalid)
    if run.state != "completed":
        return run.state, (run.error or "").strip().splitlines()[-1] if run.error else ""
    if not any(v.by_task for v in run.validations):
        return "incomplete", "no validation with rewards by task"
    return None


def _steps(runs: Sequence[RecordedRun]) -> list[int]:
    """The steps at which at least half of the runs were validated.

    Not those that all runs have: one torn line would move "final" to an earlier step for every arm.
    """
    going = [run for run in runs if run.ended_at is None] or runs
    count = Counter(v.step for run in going for v in run.validations if v.by_task)
    return sorted(step for step, runs_there in count.items() if 2 * runs_there >= len(going))


def _curve(run: RecordedRun, steps: Sequence[int], tasks: Sequence[str]) -> Array:
    """(S, T) rewards; all NaN at a step of which too few episodes are there."""
    by_step = _by_step(run, steps)
    rewards = np.array([_number(by_step.get(s, {}).get(t)) for s in steps for t in tasks])
    rewards = rewards.reshape(len(steps), len(tasks))
    rewards[(~np.isnan(rewards)).mean(axis=1) < ENOUGH] = np.nan
    return rewards


def _incomplete(run: RecordedRun, steps: Sequence[int], curve: Array) -> str:
    """What a run lacks of the last validation, without which it counts for nothing; or nothing."""
    if not steps:
        return "no step has validations of half of the runs"
    if not np.isnan(curve[-1]).all():
        return ""
    last = _by_step(run, steps).get(steps[-1])
    if last is None:
        return f"the validation at step {steps[-1]} is not there"
    present = sum(r is not None for r in last.values())
    return f"{present} of {curve.shape[1]} episodes of the validation at step {steps[-1]} are there"


def _by_step(run: RecordedRun, steps: Sequence[int]) -> dict[int, dict[str, float | None]]:
    """Rewards by task at the steps that the run was validated at; after its loop ended by itself, those of the last."""
    measured = {v.step: v.by_task for v in run.validations if v.by_task}
    if run.ended_at is None or not measured:
        return measured
    last = max(measured)
    return {step: measured[last] for step in steps if step > last} | measured


def _weights(run: RecordedRun, step: int) -> str:
    """A name for the weights after this step: the digest of the last update that took a gradient step.

    Digests are of all that an update depends on, its starting weights too. An update without a digest (another
    backend) gets a name of the run's own.
    """
    taken = [s for s in run.steps if s["step"] <= step and s.get("gradient_steps")]
    if not taken:
        return UNTRAINED
    return str(taken[-1].get("update") or f"{run.name} after step {taken[-1]['step']}")


def _tasks(sweep: SweepRecords, runs: Sequence[RecordedRun]) -> tuple[str, ...]:
    seen = {task for run in runs for v in run.validations for task in v.by_task}
    planned = [str(t) for t in sweep.manifest.get("reference_ids") or () if str(t) in seen]
    return tuple(planned + sorted(seen - set(planned)))


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)
