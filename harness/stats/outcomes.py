"""From the records of a sweep to arrays: one number per arm, seed and reference task, for three outcomes.

final   reward at the last validation (0..1)
area    time-averaged reward: trapezoids over the validated steps, divided by their range (0..1)
slope   least-squares slope of reward per training step

Shape suffixes: A arms, N seeds, S validations, T tasks. NaN is a missing episode; a run that does not count
is absent in `counted_A_N`, and its numbers are NaN. The loop of a run may end by itself before it trained what was
planned (fix/split=crash): its policy stays as it was validated last, and so do its rewards.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.factors import NOTE, Arm, Factors
from harness.records.load import RecordedRun, SweepRecords

OUTCOMES = ("final", "area", "slope")
UNTRAINED = "untrained"
ENOUGH = 0.8  # a run counts when at least this share of its validation episodes is there
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
    ended: counted runs whose loop ended by itself; not_shown: by factor, counted runs whose switch no step could judge
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
    ended: tuple[str, ...] = ()
    not_shown: Mapping[str, int] = field(default_factory=dict)

    def of(self, outcome: str) -> Array:
        """(A, N, T) values of one outcome. Raises KeyError for an unknown one."""
        values: Array = np.einsum("anst,s->ant", self.rewards_A_N_S_T, step_weights(outcome, self.steps))
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


def step_weights(outcome: str, steps: Sequence[int]) -> Array:
    """(S,) weights that make an outcome out of a curve: all three are linear in the rewards."""
    at = np.array(steps, dtype=float)
    weights: Array
    if outcome == "final":
        weights = (np.arange(len(at)) == len(at) - 1).astype(float)
    elif len(at) < 2:
        weights = np.full(len(at), np.nan)
    elif outcome == "area":
        gaps = np.diff(at)
        weights = (np.append(gaps, 0) + np.insert(gaps, 0, 0)) / 2 / (at[-1] - at[0])
    elif outcome == "slope":
        centred = at - at.mean()
        weights = centred / (centred @ centred)
    else:
        raise KeyError(outcome)
    return weights


def outcomes_of(sweep: SweepRecords) -> Outcomes:
    """The completed, valid runs of a sweep on the validation steps that all of them have."""
    why = {run.name: reason for run in sweep.runs if (reason := _reason(run))}
    counted = [run for run in sweep.runs if run.name not in why]
    steps = _steps(counted)
    tasks = _tasks(sweep, counted)
    for run in counted:
        if missing := _incomplete(run, steps, len(tasks)):
            why[run.name] = ("incomplete", missing)
    arms = tuple(Arm.of(levels) for levels in {run.arm: run.levels for run in sweep.runs}.values())
    seeds = tuple(sorted({run.seed for run in sweep.runs}))
    rewards = np.full((len(arms), len(seeds), len(steps), len(tasks)), np.nan)
    is_counted = np.zeros((len(arms), len(seeds)), dtype=bool)
    weights = np.full(rewards.shape[:3], "", dtype=object)
    place = {arm: number for number, arm in enumerate(sweep.arms)}
    for run in sweep.runs:
        if run.name in why:
            continue
        a, n = place[run.arm], seeds.index(run.seed)
        is_counted[a, n] = True
        by_step = _by_step(run, steps)
        rewards[a, n] = [[_number(by_step[s].get(t)) for t in tasks] for s in steps]
        weights[a, n] = [_weights(run, s) for s in steps]
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
        tuple(run.name for run in counted if run.ended_at is not None),
        {factor: sum(factor in run.not_shown for run in counted) for factor in sweep.factors},
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
    """The steps at which at least half of the runs were validated; a run that lacks one of them is incomplete.

    Not those that all runs have: one torn line would move "final" to an earlier step for every arm.
    """
    going = [run for run in runs if run.ended_at is None] or runs
    count = Counter(v.step for run in going for v in run.validations if v.by_task)
    return sorted(step for step, runs_there in count.items() if 2 * runs_there >= len(going))


def _incomplete(run: RecordedRun, steps: Sequence[int], tasks: int) -> str:
    """What a run lacks, or nothing."""
    by_step = _by_step(run, steps)
    absent = sorted(set(steps) - set(by_step))
    if absent:
        return f"the validation at step {', '.join(map(str, absent))} is not there"
    present = sum(r is not None for step in steps for r in by_step[step].values())
    asked = len(steps) * tasks
    return "" if present >= ENOUGH * asked and present else f"{present} of {asked} validation episodes are there"


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
