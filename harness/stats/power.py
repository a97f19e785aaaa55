"""The smallest effect that a design finds with 80 % power, before anything runs.

The error of a contrast follows from its weights and the variance components of one arm's reward:

    variance = Σ weight² × (run / N + task / T + rest / (N T))      paired: shared seed and task effects cancel
             + Σ weight² × (seed / N + shared_task / T)             only if arms meet seeds and tasks of their own

where the sum goes over the arms that learn (a sealed arm is the base policy: it repeats itself). The test is the
two-sided one at 5 % / k, the first step of Holm's correction for k factors. Its critical value is that of
intervals.py at the expected variances; power adds a t quantile with Satterthwaite's degrees of freedom, since the
error that a sweep will estimate is itself uncertain.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from harness.factors import Arm, Factors
from harness.stats.contrasts import KINDS, all_contrasts
from harness.stats.intervals import Spread, crossed_spread
from harness.stats.outcomes import Outcomes

POWER = 0.8


@dataclass(frozen=True)
class Variance:
    """Components of the final reward of one run on one task. Defaults: the mean of planted leave_one_out sweeps
    (experiments/benchmarks/calibration.py), whose curves are like those of policy=micro."""

    run: float = 0.01  # of a run, its own (arm × seed)
    task: float = 0.005  # of a task in an arm, its own (arm × task)
    rest: float = 0.1  # arm × seed × task: mostly the 0/1 of a single episode
    seed: float = 0.013  # of a seed, shared by its arms
    shared_task: float = 0.027  # of a task, shared by all arms
    source: str = "stated defaults"


@dataclass(frozen=True)
class Smallest:
    """The smallest detectable effect of a kind, for the factor that is hardest to answer."""

    kind: str
    paired: float
    unpaired: float


def smallest_effect(
    factors: Factors, arms: Sequence[Arm], kind: str, seeds: int, tasks: int, variance: Variance | None = None
) -> Smallest | None:
    """None where the design does not answer this kind."""
    variance = variance or Variance()
    still = [factors.no_update(arm) for arm in arms]
    answered = [c for c in all_contrasts(factors, arms, [True] * len(arms), still) if c.kind == kind and not c.problem]
    if not answered:
        return None
    learns = ~np.array(still)
    size = max(float((c.weights_A[learns] ** 2).sum()) for c in answered)
    return Smallest(
        kind, *(_detectable(size, seeds, tasks, variance, paired, len(factors)) for paired in (True, False))
    )


def _detectable(size: float, seeds: int, tasks: int, v: Variance, paired: bool, factors: int) -> float:
    run = v.run + (0 if paired else v.seed)
    task = v.task + (0 if paired else v.shared_task)
    # A, B and C of intervals.py as they are expected; with one seed the interval holds for that seed only.
    by_rest = size * v.rest / (seeds * tasks)
    by_seed, by_task = size * run / seeds + by_rest, size * task / tasks + by_rest
    if size == 0:
        return 0.0
    if seeds == 1:
        spread, df = Spread(0.0, np.nan, by_task, np.nan, seeds, tasks), tasks - 1.0
    else:
        spread = Spread(0.0, by_seed, by_task, by_rest, seeds, tasks)
        df = spread.error**4 / (by_seed**2 / (seeds - 1) + by_task**2 / (tasks - 1))
    return spread.half_width(1 - 0.05 / factors) + float(stdtrit(df, POWER)) * spread.error


def variance_of(outcomes: Outcomes) -> Variance | None:
    """Components from an earlier sweep: half of those of the differences between arms that learn.

    None where fewer than two such arms share at least two seeds.
    """
    values = outcomes.of("final")
    factors = outcomes.factors
    open_arms = [i for i, a in enumerate(outcomes.arms) if not outcomes.still_A[i] and not factors.first_policy(a)]
    differences, own = [], []
    for place, i in enumerate(open_arms):
        for j in open_arms[place + 1 :]:
            seeds = outcomes.counted_A_N[i] & outcomes.counted_A_N[j]
            tasks = ~np.isnan(values[[i, j]][:, seeds]).any(axis=(0, 1))
            difference = (values[i] - values[j])[seeds][:, tasks]
            if seeds.sum() > 1 and tasks.sum() > 1 and np.any(difference):
                differences.append(crossed_spread(difference).components)
                own.append(crossed_spread(values[i][seeds][:, tasks]).components)
    if not differences:
        return None
    run, task, rest = np.maximum(np.mean(differences, axis=0) / 2, 0.0)
    seed, shared_task, _ = np.maximum(np.mean(own, axis=0) - (run, task, rest), 0.0)
    return Variance(float(run), float(task), float(rest), float(seed), float(shared_task), "an earlier sweep")


def power_lines(
    factors: Factors, arms: Sequence[Arm], seeds: int, tasks: int, variance: Variance | None = None
) -> list[str]:
    """What `plan_only=true` prints of a design's power: smallest effects on the final reference reward."""
    variance = variance or Variance()
    words = {
        "main": "main effect",
        "leave_one_out": "leave-one-out effect",
        "added_alone": "effect of a fix alone",
        "interaction": "two-way interaction",
        "shapley": "Shapley share",
    }
    lines = []
    for kind in KINDS:
        found = smallest_effect(factors, arms, kind, seeds, tasks, variance)
        if found is None:
            continue
        if found.paired == 0:
            lines.append(f"  {words[kind]}: every arm that it compares repeats the base policy; flat by construction")
        elif found.paired > 1:
            lines.append(f"  {words[kind]}: none, it would have to exceed 1, the reward's whole range; add seeds")
        else:
            lines.append(f"  {words[kind]}: {found.paired:.3f} (without pairing {found.unpaired:.3f})")
    if not lines:
        return ["power: this design answers the effect of no factor alone"]
    conditional = "; one seed: for that seed only" if seeds == 1 else ""
    head = (
        f"smallest effect on the final reference reward found with {POWER:.0%} power, corrected for "
        f"{len(factors)} factors ({seeds} seed{'s' if seeds > 1 else ''} × {tasks} tasks, variances from "
        f"{variance.source}{conditional}):"
    )
    return [head, *lines]
