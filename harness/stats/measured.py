"""A contrast held against the rewards of a sweep: its values per (seed, task), over the runs and tasks that it has."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.stats.contrasts import Contrast, all_contrasts
from harness.stats.intervals import Spread, crossed_spread
from harness.stats.looks import Judged, judge, over_fillings
from harness.stats.outcomes import Outcomes, stack, step_weights
from harness.stats.shown import Shown, shown
from harness.stats.worst_case import Bounds, fillings

Array = np.ndarray


@dataclass(frozen=True)
class Measured:
    """A contrast that has data: its values per (seed, task) of the outcome.

    fillings: the same with its missing episodes filled in the worst way for it, and in the best; empty where none is
    missing. missing, lost: bounds by missing episodes, and by runs that failed or are incomplete (worst_case.py)
    """

    contrast: Contrast
    values_N_T: Array
    seeds: tuple[int, ...]  # positions
    tasks: tuple[int, ...]  # positions
    spread: Spread
    identical: bool
    jump: float  # the most by which one episode moves a value
    groups: tuple[str, ...] | None = None  # of variants, the name of each column's
    fillings: tuple["Measured", ...] = ()
    missing: Bounds | None = None
    lost: Bounds | None = None

    def judged(self, outcomes: Outcomes) -> Judged:
        """Over all looks at the sweep, and however the missing episodes came out."""
        return over_fillings(self.at_random(outcomes), [f.judged(outcomes) for f in self.fillings])

    def over(self, seeds: Sequence[int], tasks: Sequence[int]) -> "Measured":
        """The same over some of its seeds and tasks (positions)."""
        if (tuple(seeds), tuple(tasks)) == (self.seeds, self.tasks):
            return self
        columns = [self.tasks.index(t) for t in tasks]
        values = self.values_N_T[np.ix_([self.seeds.index(n) for n in seeds], columns)]
        groups = None if self.groups is None else tuple(self.groups[c] for c in columns)
        return replace(
            self, values_N_T=values, seeds=tuple(seeds), tasks=tuple(tasks), groups=groups,
            spread=crossed_spread(values, self.jump, groups),
            fillings=tuple(f.over(seeds, tasks) for f in self.fillings),
        )  # fmt: skip

    def at_random(self, outcomes: Outcomes) -> Judged:
        """Over all looks, if episodes are missing at random."""
        seeds = [outcomes.seeds[n] for n in self.seeds]
        return judge(self.values_N_T, seeds, self.jump, outcomes.looks, self.groups)

    def shown(self, outcomes: Outcomes) -> Shown:
        factors = [name.partition("=")[0] for name in self.contrast.factors]  # of a further level, too
        arms = np.flatnonzero(np.abs(self.contrast.weights_A) > 1e-9).tolist()
        return shown(outcomes, factors, arms, self.seeds)


def contrasts_of(outcomes: Outcomes, outcome: str) -> list[Contrast]:
    """Every effect that the sweep could answer on this outcome."""
    usable, still = usable_arms(outcomes, outcome), outcomes.still_A.tolist()
    return all_contrasts(outcomes.factors, outcomes.arms, usable, still)


def usable_arms(outcomes: Outcomes, outcome: str) -> tuple[bool, ...]:
    """Arms that count in every seed in which at least three quarters of the arms do."""
    counted = outcomes.counts(outcome)
    kept = counted.mean(axis=0) >= 0.75 * counted.any(axis=1).mean() if counted.any() else counted.any(axis=0)
    usable: Array = np.asarray(counted[:, kept].all(axis=1) & kept.any())
    return tuple(bool(u) for u in usable)


def measure(outcomes: Outcomes, contrast: Contrast, outcome: str) -> Measured | str:
    """The contrast per (seed, task) over the seeds in which all its arms count; or why there is none."""
    if contrast.problem:
        return contrast.problem
    needed, counts = np.flatnonzero(contrast.weights_A), outcomes.counts(outcome)
    seeds = np.flatnonzero(counts[needed].all(axis=0))
    if not len(seeds):
        absent = next((i for i in needed if not counts[i].any()), needed[0])
        return f"no seed has all its arms: {outcomes.why_absent(outcomes.arms[absent])}"
    arms_and_seeds, by_step = np.ix_(needed, seeds), step_weights(outcome, outcomes.steps)
    made_of = outcomes.complete_A_N_S_T[arms_and_seeds][:, :, by_step != 0]
    tasks = ~np.isnan(made_of).any(axis=(0, 1, 2))
    if not tasks.any():
        return "no task of the reference validation has a reward in every arm"
    weights = contrast.weights_A[needed]
    identical = same_episodes(outcomes.rewards_A_N_S_T[arms_and_seeds], weights)
    identical = identical and same_weights(outcomes, contrast, seeds)
    values = np.einsum("a,anst,s->nt", weights, made_of[..., tasks], by_step[by_step != 0])
    values[(np.abs(values) < 1e-12) | identical] = 0.0  # what cancels, cancels exactly
    jump = 0.0 if identical else float(np.abs(weights).max() * np.abs(by_step).max())
    there = (tuple(seeds.tolist()), tuple(np.flatnonzero(tasks).tolist()))
    groups = outcomes.groups_at(there[1])
    found = Measured(contrast, values, *there, crossed_spread(values, jump, groups), identical, jump, groups)
    return _bounded(outcomes, outcome, found)


def _bounded(outcomes: Outcomes, outcome: str, found: Measured) -> Measured:
    """With what it would be, were all that is missing as bad for it as can be, or as good."""
    needed, by_step = np.flatnonzero(found.contrast.weights_A), step_weights(outcome, outcomes.steps)
    counts, lost = outcomes.counts(outcome), outcomes.lost(outcome)
    gone = np.isnan(outcomes.rewards_A_N_S_T[np.ix_(needed, np.array(found.seeds))][:, :, by_step != 0])
    if gone.any() and not (found.identical and outcomes.weights_A_N_S is not None):
        each = _filled(outcomes, outcome, found.contrast, outcomes.missing_A_N_S_T)
        bounds = Bounds(int(gone.sum()), gone.size, *(f.spread.mean for f in each))
        found = replace(found, fillings=each, missing=bounds)
    could = (counts | lost)[needed].all(axis=0)
    if absent := int((~counts[np.ix_(needed, could)]).sum()):
        empty = np.isnan(outcomes.rewards_A_N_S_T) & (outcomes.counted_A_N | lost)[:, :, None, None]
        ends = [f.spread.mean for f in _filled(outcomes, outcome, found.contrast, empty)]
        found = replace(found, lost=Bounds(absent, len(needed) * int(could.sum()), *ends))
    return found


def _filled(outcomes: Outcomes, outcome: str, contrast: Contrast, gone_A_N_S_T: Array) -> tuple[Measured, ...]:
    by_step = step_weights(outcome, outcomes.steps)
    each = (measure(o, contrast, outcome) for o in fillings(outcomes, contrast.weights_A, by_step, gone_A_N_S_T))
    return tuple(found for found in each if isinstance(found, Measured))


def measure_difference(
    one: Outcomes, other: Outcomes, of_one: Contrast, of_other: Contrast, outcome: str
) -> Measured | str:
    """By how much a contrast is larger in one block of a sweep than in another: itself a contrast, over the arms of
    both, paired by seed and task; or why there is none."""
    if one.steps != other.steps:
        return "its runs were validated at other steps in the two blocks"
    weights = np.concatenate((of_one.weights_A, -of_other.weights_A))
    return measure(stack(one, other), Contrast(of_one.kind, of_one.factors, weights, of_one.note), outcome)


def same_episodes(rewards_A_N_S_T: Array, weights_A: Array) -> bool:
    """Whether a contrast is zero in every episode of every validation that all its arms have."""
    curves = np.einsum("a,anst->nst", weights_A, rewards_A_N_S_T)
    return bool(np.isfinite(curves).any() and (np.abs(curves[np.isfinite(curves)]) < 1e-9).all())


def same_weights(outcomes: Outcomes, contrast: Contrast, seeds: Array) -> bool:
    """Whether the arms that a contrast sets against each other had the same weights at every validation. Equal
    episodes alone may be luck, where tasks are few."""
    if outcomes.weights_A_N_S is None:
        return True
    arms = np.flatnonzero(contrast.weights_A)
    names_A_C = outcomes.weights_A_N_S[np.ix_(arms, seeds)].reshape(len(arms), -1)
    names, which_A_C = np.unique(names_A_C, return_inverse=True)
    sums = np.zeros((names_A_C.shape[1], len(names)))
    np.add.at(sums, (np.arange(len(sums)), which_A_C.reshape(names_A_C.shape)), contrast.weights_A[arms, None])
    return bool((np.abs(sums) < 1e-9).all())
