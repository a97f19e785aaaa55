"""Synthetic sweeps with known effects, in the shape of real ones. No model, no server.

Gates behind which nothing is learned, learning curves with a seed effect per seed and per run, tasks of different
difficulty, rewards of 0 or 1 that repeat from one validation to the next. A success is `skill + luck > difficulty`
with normal luck and difficulty, so the true mean of every arm is a normal probability, known exactly, and with it
every effect. A new sweep draws new seeds *and* new tasks, because that is what an interval "over seeds and tasks"
is about. With one seed the truth is the one of that seed, as the report says.

Shape suffixes as in outcomes.py: A arms, N seeds, S validations, T tasks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy.special import ndtr

from harness.factors import OFF, Arm, Factors
from harness.stats.outcomes import LeftOut, Outcomes

Array = np.ndarray
STEPS = (0, 2, 4, 6)
BASE = -1.35  # skill before training: 17 % of tasks at a difficulty spread of 1
COLLAPSED = 0.2  # of its gain is left to a run that collapses
GROWTH = np.array([0.0, 0.35, 0.8, 1.0])  # share of the gain that a run has at each validation


class World(Protocol):
    """Where planted sweeps come from."""

    @property
    def tasks(self) -> int: ...

    @property
    def steps(self) -> tuple[int, ...]: ...

    def rewards(
        self, factors: Factors, arms: Sequence[Arm], seeds: int, random: np.random.Generator
    ) -> tuple[Array, Array]:
        """(A, N, S, T) rewards of a sweep with new seeds and tasks, and the true (A, S) curves: over the population of
        tasks and seeds; with one seed, of that seed."""


@dataclass(frozen=True)
class SimulatedWorld:
    """What is planted, on the probit scale. gain: of all_on; the factors multiply it when they are off."""

    gain: float = 3.4
    base: float = BASE  # skill before training
    off: tuple[tuple[str, float], ...] = (("endpoint", 0.0), ("tools", 0.75), ("reward", 0.6))
    seed_sd: float = 0.25  # of a seed, shared by its arms, as a share of the gain
    run_sd: float = 0.2  # of a run, its own
    collapse: float = 0.0  # share of runs that keep a fifth of their gain only
    difficulty_sd: float = 1.0
    steady: float = 0.7  # share of the luck of an episode that stays the same from validation to validation
    tasks: int = 45
    sealed: bool = True  # exploration and logprobs are gates; else they change nothing
    leak: float = 0.0  # share of the gain that comes through where `leaks` alone is off
    leaks: str = "exploration"
    repeats: bool = True  # a policy that never moves repeats its episodes; else they are sampled anew
    copies: bool = False  # arms that differ only in what is reported share their runs, as real ones do
    collapses: str = ""  # the one arm whose runs collapse; empty: all arms
    variants: tuple[int, ...] = ()  # tasks of each group of variants, in turn; none: each stands for itself
    alike: float = 0.95  # correlation of the difficulty and the luck of variants
    steps: tuple[int, ...] = STEPS

    def rewards(
        self, factors: Factors, arms: Sequence[Arm], seeds: int, random: np.random.Generator
    ) -> tuple[Array, Array]:
        shape = (len(arms), seeds, len(STEPS), self.tasks)
        mean = gains(factors, arms, self)
        of_seed, of_run = random.normal(size=(1, seeds)), random.normal(size=shape[:2])
        skill = np.nan_to_num(mean)[:, None] * (1 + self.seed_sd * of_seed + self.run_sd * of_run)
        skill *= np.where(random.random(shape[:2]) < self.collapse_of(arms)[:, None], COLLAPSED, 1.0)
        difficulty = self.difficulty_sd * self.by_task(random, self.tasks)
        first = self.by_task(random, self.tasks)  # luck of the base policy: the same in every arm and seed
        own = self.by_task(random, len(arms), seeds, 1, self.tasks)
        fresh = self.by_task(random, *shape)
        luck = np.sqrt(self.steady) * own + np.sqrt(1 - self.steady) * fresh
        luck[:, :, 0] = first
        if self.repeats:
            luck[np.nan_to_num(mean) == 0] = first
        skill_S = skill[:, :, None] * GROWTH
        rewards = (self.base + skill_S[..., None] + luck > difficulty).astype(float)
        if self.copies:
            rewards = rewards[trained_like(factors, arms)]
        return rewards, truth(factors, arms, self, skill if seeds == 1 else None)

    @property
    def group_T(self) -> Array:
        """The number of each task's group."""
        sizes = np.resize(self.variants, self.tasks) if self.variants else np.ones(self.tasks, dtype=int)
        return np.repeat(np.arange(self.tasks), sizes)[: self.tasks]

    @property
    def task_groups(self) -> dict[str, str]:
        """As an environment declares them; empty where each task stands for itself."""
        return {f"task-{t}": f"group-{g}" for t, g in enumerate(self.group_T)} if self.variants else {}

    def by_task(self, random: np.random.Generator, *shape: int) -> Array:
        """Normal numbers, the last axis being tasks."""
        single = random.normal(size=shape)
        if not self.variants:
            return single
        shared = random.normal(size=shape)[..., self.group_T]
        both: Array = np.sqrt(self.alike) * shared + np.sqrt(1 - self.alike) * single
        return both

    def collapse_of(self, arms: Sequence[Arm]) -> Array:
        """(A,) share of runs that collapse."""
        return np.array([self.collapse * (self.collapses in ("", arm.name)) for arm in arms])


def gains(factors: Factors, arms: Sequence[Arm], world: SimulatedWorld) -> Array:
    """(A,) mean gain of skill; NaN behind a sealed gate, where every episode is that of step 0."""
    out = []
    for arm in arms:
        factor = float(np.prod([share for f, share in world.off if arm.as_dict.get(f) == OFF]))
        if world.leak and arm == factors.with_off(world.leaks):
            out.append(world.leak * world.gain)
        else:
            closed = world.sealed and factors.no_update(arm)
            out.append(np.nan if closed else world.gain * factor)
    return np.array(out)


def trained_like(factors: Factors, arms: Sequence[Arm]) -> list[int]:
    """For each arm the first one that is trained like it: they differ in what is reported alone."""
    trained = [tuple(arm.level(f.name) for f in factors if not f.only_reported) for arm in arms]
    return [trained.index(own) for own in trained]


def truth(factors: Factors, arms: Sequence[Arm], world: SimulatedWorld, skill_A_N: Array | None) -> Array:
    """(A, S) success probabilities over the population of tasks and seeds; of the given seed if there is one."""
    if skill_A_N is not None:
        return success(world, skill_A_N[:, 0], np.zeros(len(arms)))
    mean = np.nan_to_num(gains(factors, arms, world))
    sd = mean * np.hypot(world.seed_sd, world.run_sd)
    whole = success(world, mean, sd)
    failing = world.collapse_of(arms)[:, None]
    mixed: Array = (1 - failing) * whole + failing * success(world, COLLAPSED * mean, COLLAPSED * sd)
    return mixed


def success(world: SimulatedWorld, mean: Array, sd: Array) -> Array:
    """(A, S) success probability over tasks and over normal gains."""
    spread = np.sqrt(1 + world.difficulty_sd**2 + np.outer(sd, GROWTH) ** 2)
    probability: Array = ndtr((world.base + np.outer(mean, GROWTH)) / spread)
    return probability


def simulated_sweep(
    factors: Factors,
    arms: Sequence[Arm],
    world: World,
    seeds: int,
    random: np.random.Generator,
    invalid: float = 0.0,
    invalid_arm: str | None = None,
    missing: float = 0.0,
) -> tuple[Outcomes, Array]:
    """One synthetic sweep and the true (A, S) curve of each arm.

    invalid: share of runs that are INVALID; invalid_arm: an arm all of whose runs are; missing: share of the episodes
    """
    rewards, true_A_S = world.rewards(factors, arms, seeds, random)
    counted = random.random((len(arms), seeds)) >= invalid
    if invalid_arm:
        counted[[a.name for a in arms].index(invalid_arm)] = False
    if missing:
        rewards[random.random(rewards.shape) < missing] = np.nan
    rewards[~counted] = np.nan
    left_out = tuple(
        LeftOut(f"{arms[i].name}/seed={n}", arms[i].name, int(n), "INVALID", "planted")
        for i, n in np.argwhere(~counted)
    )
    tasks = tuple(f"task-{t}" for t in range(rewards.shape[-1]))
    made = Outcomes(factors, tuple(arms), tuple(range(seeds)), world.steps, tasks, rewards, counted, left_out)
    if isinstance(world, SimulatedWorld):
        made = replace(made, task_groups=world.task_groups)
    return made, true_A_S


def first_seeds(made: Outcomes, seeds: int) -> Outcomes:
    """What a sweep was when it had so many seeds."""
    return replace(
        made,
        seeds=made.seeds[:seeds],
        rewards_A_N_S_T=made.rewards_A_N_S_T[:, :seeds],
        counted_A_N=made.counted_A_N[:, :seeds],
        left_out=tuple(x for x in made.left_out if x.seed < seeds),
    )
