"""Worlds that are not the estimator's own: no normal skills, no additive effects of seeds and tasks.

ItemResponseWorld   a logistic item-response model: tasks differ in difficulty and in how sharply they tell good from
                    bad; a run's ability follows a correlated walk about its learning curve; seeds and runs have heavy
                    tails (Student's t); a fix may move a part of the tasks only; arms may be noisier than others
RecordedWorld       learning curves of committed sweeps: a planted seed is one of the recorded ones, with all its arms,
                    and a planted task is one of the recorded ones; only the episodes are drawn

The true means are those of the population that is drawn from: by a large sample of expected rewards (error below .002)
where there is no formula, exactly for recorded curves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from scipy.special import expit

from harness.factors import OFF, Arm, Factors
from harness.records.load import load_sweep
from harness.stats.outcomes import Outcomes, outcomes_of

Array = np.ndarray
STEPS = (0, 2, 4, 6, 8)
GROWTH = np.array([0.0, 0.25, 0.6, 0.9, 1.0])
LARGE, LARGE_SEED = 60_000, 20261130
RESULTS = Path(__file__).parent.parent.parent / "results"


@dataclass(frozen=True)
class ItemResponseWorld:
    """On the logit scale. off: what a fix leaves of the gain where it is off, on the tasks that it moves."""

    base: float = -2.2
    gain: float = 5.0
    off: tuple[tuple[str, float], ...] = (("endpoint", 0.85), ("tools", 0.75), ("reward", 0.6))
    moved: float = 1.0  # share of the tasks that the fixes of `off` move; the others gain as with all on
    seed_sd: float = 0.2  # of a seed, shared by its arms, as a share of the gain
    run_sd: float = 0.15
    tails: float = 3.0  # degrees of freedom of both
    noisy: tuple[tuple[str, float], ...] = ()  # by how much more runs vary where this fix is off
    walk: float = 0.5  # of a run's ability about its curve
    memory: float = 0.6  # correlation of that from one validation to the next
    steady: float = 0.6  # chance that a task's luck stays what it was at the validation before
    fails: tuple[str, float] = ("", 0.0)  # an arm, and the share of its runs that fall back to the base policy
    sealed: bool = True
    tasks: int = 45
    steps: tuple[int, ...] = STEPS

    def rewards(
        self, factors: Factors, arms: Sequence[Arm], seeds: int, random: np.random.Generator
    ) -> tuple[Array, Array]:
        difficulty, sharpness, is_moved = self._tasks(self.tasks, random)
        of_seed = self._tails(random, seeds)
        still = tuple(self.sealed and factors.no_update(arm) for arm in arms)
        ability = np.stack(
            [self._ability(*arm, of_seed, random) for arm in zip(arms, still, strict=True)]
        )  # (A, 2, N, S)
        expected = _success(ability, difficulty, sharpness, is_moved)
        luck = self._luck(expected.shape, random)
        luck[:, :, 0] = luck[0, 0, 0]  # the base policy's episodes are the same in every arm and seed
        luck[list(still)] = luck[0, 0, 0]
        if seeds > 1:
            return (luck < expected).astype(float), _truth(self, tuple(arms), still)
        many = self._tasks(4000, random)
        return (luck < expected).astype(float), _success(ability, *many).mean(axis=(1, 3))

    def _tasks(self, count: int, random: np.random.Generator) -> tuple[Array, Array, Array]:
        """Difficulty (skewed), sharpness, and whether the fixes move it."""
        return random.gumbel(-0.6, 1.0, count), random.lognormal(0.0, 0.3, count), random.random(count) < self.moved

    def _tails(self, random: np.random.Generator, *shape: int) -> Array:
        return np.asarray(random.standard_t(self.tails, shape) / np.sqrt(self.tails / (self.tails - 2)))

    def _ability(self, arm: Arm, still: bool, of_seed_N: Array, random: np.random.Generator) -> Array:
        """(2, N, S) of an arm's runs, on tasks that are not moved and on those that are."""
        seeds, steps = len(of_seed_N), len(self.steps)
        wild = float(np.prod([more for f, more in self.noisy if arm.as_dict.get(f) == OFF]))
        own = 1 + self.seed_sd * of_seed_N + wild * self.run_sd * self._tails(random, seeds)
        failed = random.random(seeds) < (self.fails[1] if self.fails[0] == arm.name else 0.0)
        steps_of_walk = random.normal(size=(seeds, steps)) * np.sqrt(1 - self.memory**2)
        walk = np.zeros((seeds, steps))
        for s in range(1, steps):
            walk[:, s] = self.memory * walk[:, s - 1] + steps_of_walk[:, s]
        if still:
            return np.full((2, seeds, steps), self.base)
        left = float(np.prod([share for f, share in self.off if arm.as_dict.get(f) == OFF]))
        curve = own[:, None] * GROWTH * ~failed[:, None]
        return np.stack([self.base + self.gain * x * curve + self.walk * walk * (GROWTH > 0) for x in (1.0, left)])

    def _luck(self, shape: tuple[int, ...], random: np.random.Generator) -> Array:
        luck = random.random(shape)
        for s in range(2, shape[2]):
            luck[:, :, s] = np.where(random.random(luck[:, :, s].shape) < self.steady, luck[:, :, s - 1], luck[:, :, s])
        return luck


def _success(ability_A_2_N_S: Array, difficulty: Array, sharpness: Array, is_moved: Array) -> Array:
    """(A, N, S, T) expected rewards."""
    of_task = np.where(is_moved, ability_A_2_N_S[:, 1, ..., None], ability_A_2_N_S[:, 0, ..., None])
    return np.asarray(expit(sharpness * (of_task - difficulty)))


@lru_cache(maxsize=64)
def _truth(world: ItemResponseWorld, arms: tuple[Arm, ...], still: tuple[bool, ...]) -> Array:
    """(A, S) mean expected rewards of a large sample of (seed, task) pairs, the same ones for all arms."""
    random = np.random.default_rng(LARGE_SEED)
    difficulty, sharpness, is_moved = world._tasks(LARGE, random)
    of_seed, state = world._tails(random, LARGE), random.bit_generator.state
    out = []
    for arm, stays in zip(arms, still, strict=True):
        random.bit_generator.state = state
        ability = world._ability(arm, stays, of_seed, random)
        of_task = np.where(is_moved[:, None], ability[1], ability[0])
        out.append(expit(sharpness[:, None] * (of_task - difficulty[:, None])).mean(axis=0))
    return np.array(out)


@dataclass(frozen=True)
class RecordedWorld:
    """sweep: a folder of results/, with leave_one_out arms."""

    sweep: str
    fails: tuple[str, float] = ("", 0.0)  # an arm, and the share of its runs that stay at the base policy
    tasks: int = 45
    steady: float = 0.6

    @property
    def steps(self) -> tuple[int, ...]:
        return _recorded(self.sweep).steps

    def rewards(
        self, factors: Factors, arms: Sequence[Arm], seeds: int, random: np.random.Generator
    ) -> tuple[Array, Array]:
        chances = _chances(self.sweep)[[_recorded(self.sweep).arms.index(arm) for arm in arms]]
        of_seed = random.integers(chances.shape[1], size=seeds)
        of_task = random.integers(chances.shape[3], size=self.tasks)
        expected = chances[:, of_seed]
        failing = np.array([self.fails[1] * (arm.name == self.fails[0]) for arm in arms])
        failed = random.random(expected.shape[:2]) < failing[:, None]
        expected[failed] = expected[failed][:, :1]
        true_A_S = expected.mean(axis=(1, 3))
        if seeds > 1:
            stays = chances[:, :, :1].mean(axis=(1, 3))
            true_A_S = (1 - failing[:, None]) * chances.mean(axis=(1, 3)) + failing[:, None] * stays
        expected = expected[..., of_task]
        luck = random.random(expected.shape)
        for s in range(1, expected.shape[2]):
            stays = random.random(luck[:, :, s].shape) < self.steady
            luck[:, :, s] = np.where(stays, luck[:, :, s - 1], luck[:, :, s])
        alike = [int(np.argmax([np.array_equal(other, own) for other in chances])) for own in chances]
        luck = luck[alike]  # arms whose recorded curves are the same share every episode
        moves = (chances != chances[:, :, :1]).any(axis=(1, 2, 3))
        luck[~moves] = luck[:, :1, :1][~moves]  # and a policy that does not move repeats itself
        rewards = (luck < expected).astype(float)
        return rewards, true_A_S


@cache
def _recorded(sweep: str) -> Outcomes:
    return outcomes_of(load_sweep(RESULTS / sweep))


@cache
def _chances(sweep: str) -> Array:
    """(A, N, S, T) chances of success: a run's recorded mean at a validation, and how much easier a task was than
    others over all runs (in logits, half a success added to each side)."""
    rewards = _recorded(sweep).rewards_A_N_S_T
    _, first = np.unique(rewards.reshape(rewards.shape[0], -1), axis=0, return_index=True)
    solved = np.nanmean(rewards[np.sort(first)], axis=(0, 1, 2))
    runs = rewards[0, ..., 0].size
    ease = np.log((solved * runs + 0.5) / ((1 - solved) * runs + 0.5))
    curve = np.clip(np.nanmean(rewards, axis=3), 0.5 / len(solved), 1 - 0.5 / len(solved))
    low, high = np.full(curve.shape, -20.0), np.full(curve.shape, 20.0)
    for _ in range(50):  # the level at which the mean over tasks is the recorded one
        middle = (low + high) / 2
        over = expit(middle[..., None] + ease).mean(axis=-1) > curve
        low, high = np.where(over, low, middle), np.where(over, middle, high)
    return np.asarray(expit(low[..., None] + ease))
