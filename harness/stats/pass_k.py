"""pass^k: the probability that k independent attempts at a task all succeed, where validation was asked for samples.

As in tau-bench (Yao, Shinn, Razavi & Narasimhan 2024, arXiv:2406.12045, section 3): of n samples of a task c succeed
(reward 1), and

    pass^k = mean over tasks of C(c, k) / C(n, k)

which is unbiased for the mean over tasks of (success probability)^k. pass^1 is the success rate. A sample that is
missing lowers n; a run whose task has fewer than k samples has no estimate of it, and what is missing is estimated from
the arm's other seeds and tasks as everywhere (outcomes.py).

Samples have seeds that do not depend on arm, run or step (validation.py), so arms are paired by seed and task as in the
greedy validation, and effects on pass^k have its intervals. They belong to one sampling temperature, and to the same n
sampling seeds for every run: they do not average away as runs are added, but they are as random as the tasks are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import comb

import numpy as np

from harness.records.load import SweepRecords
from harness.stats.contrasts import ASSUMES
from harness.stats.effects import Effect, estimate_family, gate_checks
from harness.stats.looks import judge
from harness.stats.measured import contrasts_of, measure
from harness.stats.outcomes import Outcomes
from harness.stats.profiles import can_be, within

Array = np.ndarray
KINDS_SAMPLED = ("leave_one_out", "main")
SOLVED = 1 - 1e-6  # tau-bench counts a reward of 1, up to rounding, as a success


@dataclass(frozen=True)
class ArmPass:
    """k: 0 for the mean reward of the samples. first: at the first validation; value, low, high: at the last, 95 %
    over all looks (looks.py); None: there is no interval."""

    arm: str
    k: int
    seeds: int
    first: float
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class PassEffect:
    """An effect on pass^k at the last validation; families are Holm-corrected for each k. k: 0 for the mean reward."""

    k: int
    effect: Effect


@dataclass(frozen=True)
class PassK:
    """samples: the most of a task in one validation; 0 where none were asked for, and then nothing else is there."""

    samples: int
    temperature: float | None
    arms: tuple[ArmPass, ...] = ()
    effects: tuple[PassEffect, ...] = ()


def pass_hat_k(successes: int, samples: int, k: int) -> float:
    """C(c, k) / C(n, k); NaN for fewer than k samples."""
    return comb(successes, k) / comb(samples, k) if 0 < k <= samples else float("nan")


def pass_k(sweep: SweepRecords, outcomes: Outcomes) -> PassK:
    validations = [v for run in sweep.runs for v in run.validations if v.sampled]
    samples = max((len(rewards) for v in validations for rewards in v.sampled.values()), default=0)
    if not samples or len(outcomes.steps) < 2:
        return PassK(0, None)
    arms: list[ArmPass] = []
    effects: list[PassEffect] = []
    for k in range(samples + 1):
        of_k = _outcomes_of(sweep, outcomes, k)
        arms += _arms(of_k, k, samples)
        if k in (0, 1, samples):
            effects += [PassEffect(k, effect) for effect in _effects(of_k)]
    return PassK(samples, validations[-1].sampled_at, tuple(arms), tuple(effects))


def _outcomes_of(sweep: SweepRecords, outcomes: Outcomes, k: int) -> Outcomes:
    """The outcomes with pass^k (for 0 the mean reward) of the first and the last validation as rewards."""
    ends = (outcomes.steps[0], outcomes.steps[-1])
    rewards = np.full((*outcomes.counted_A_N.shape, 2, len(outcomes.tasks)), np.nan)
    arms = [arm.name for arm in outcomes.arms]
    for run in sweep.runs:
        a, n = arms.index(run.arm), outcomes.seeds.index(run.seed)
        for v in run.validations if outcomes.counted_A_N[a, n] else ():
            at = [s for s, step in enumerate(ends) if v.step == step or (v.step < step and run.ended_at == v.step)]
            for s in at:
                of_task = (_estimate(v.sampled.get(task, ()), k) for task in outcomes.tasks)
                rewards[a, n, s] = np.fromiter(of_task, float)
    weights = outcomes.weights_A_N_S
    weights = None if weights is None else weights[:, :, [0, -1]]
    return replace(outcomes, steps=ends, rewards_A_N_S_T=rewards, weights_A_N_S=weights)


def _estimate(rewards: Sequence[float | None], k: int) -> float:
    known = [reward for reward in rewards if reward is not None]
    if k == 0:
        return float(np.mean(known)) if known else float("nan")
    return pass_hat_k(sum(reward >= SOLVED for reward in known), len(known), k)


def _arms(of_k: Outcomes, k: int, samples: int) -> list[ArmPass]:
    out = []
    counts = of_k.counts("final")
    for a, arm in enumerate(of_k.arms):
        values = of_k.complete_A_N_S_T[a, counts[a]]
        there = ~np.isnan(values[:, 1]).any(axis=0)
        values = values[..., there]
        if values[:, 1].size:
            # One sample more that succeeds moves C(c, k) / C(n, k) by at most k / n.
            jump, groups = max(k, 1) / samples, of_k.groups_at(np.flatnonzero(there))
            seeds = [of_k.seeds[n] for n in np.flatnonzero(counts[a])]
            judged = judge(values[:, 1], seeds, jump, of_k.looks, groups)
            low, high = within(judged.ends(), *can_be(of_k))
            first = values[:, 0]
            start = float(first[~np.isnan(first)].mean()) if (~np.isnan(first)).any() else float("nan")
            out.append(ArmPass(arm.name, k, int(counts[a].sum()), start, judged.spread.mean, low, high))
    return out


def _effects(of_k: Outcomes) -> list[Effect]:
    refuted = any(check.holds is False for check in gate_checks(of_k, "final"))
    out = []
    for kind in KINDS_SAMPLED:
        family = [c for c in contrasts_of(of_k, "final") if c.kind == kind]
        measured = {id(c): measure(of_k, c, "final") for c in family if not (refuted and ASSUMES in c.note)}
        out += estimate_family(of_k, "final", family, measured)
    return out
