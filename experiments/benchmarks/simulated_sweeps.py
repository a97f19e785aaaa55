"""Synthetic sweeps with known effects, in the shape of real ones. No model, no server.

Gates behind which nothing is learned, learning curves with a seed effect per seed and per run, tasks of different
difficulty, rewards of 0 or 1 that repeat from one validation to the next. A success is `skill + luck > difficulty`
with normal luck and difficulty, so the true mean of every arm is a normal probability, known exactly, and with it
every effect. A new sweep draws new seeds *and* new tasks, because that is what an interval "over seeds and tasks"
is about. With one seed the truth is the one of that seed, as the report says.

Shape suffixes as in outcomes.py: A arms, N seeds, S validations, T tasks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from harness.factors import OFF, Arm, Factors
from harness.stats.outcomes import LeftOut, Outcomes

Array = np.ndarray
STEPS = (0, 2, 4, 6)
BASE = -1.35  # skill before training: 17 % of tasks at a difficulty spread of 1
COLLAPSED = 0.2  # of its gain is left to a run that collapses
GROWTH = np.array([0.0, 0.35, 0.8, 1.0])  # share of the gain that a run has at each validation


@dataclass(frozen=True)
class SimulatedWorld:
    """What is planted, on the probit scale. gain: of all_on; the factors multiply it when they are off."""

    gain: float = 3.4
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


def gains(factors: Factors, arms: Sequence[Arm], world: SimulatedWorld) -> Array:
    """(A,) mean gain of skill; NaN behind a sealed gate, where every episode is that of step 0."""
    out = []
    for arm in arms:
        factor = float(np.prod([share for f, share in world.off if arm.level(f) == OFF]))
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
    return (1 - world.collapse) * whole + world.collapse * success(world, COLLAPSED * mean, COLLAPSED * sd)


def success(world: SimulatedWorld, mean: Array, sd: Array) -> Array:
    """(A, S) success probability over tasks and over normal gains."""
    spread = np.sqrt(1 + world.difficulty_sd**2 + np.outer(sd, GROWTH) ** 2)
    probability: Array = ndtr((BASE + np.outer(mean, GROWTH)) / spread)
    return probability


def simulated_sweep(
    factors: Factors,
    arms: Sequence[Arm],
    world: SimulatedWorld,
    seeds: int,
    random: np.random.Generator,
    invalid: float = 0.0,
    invalid_arm: str | None = None,
) -> tuple[Outcomes, Array]:
    """One synthetic sweep and the true (A, S) curve of each arm.

    invalid: share of runs that are INVALID; invalid_arm: an arm all of whose runs are.
    """
    shape = (len(arms), seeds, len(STEPS), world.tasks)
    mean = gains(factors, arms, world)
    of_seed, of_run = random.normal(size=(1, seeds)), random.normal(size=shape[:2])
    skill = np.nan_to_num(mean)[:, None] * (1 + world.seed_sd * of_seed + world.run_sd * of_run)
    skill *= np.where(random.random(shape[:2]) < world.collapse, COLLAPSED, 1.0)
    difficulty = world.difficulty_sd * random.normal(size=world.tasks)
    first = random.normal(size=world.tasks)  # luck of the base policy: the same in every arm and seed
    own = random.normal(size=(len(arms), seeds, 1, world.tasks))
    fresh = random.normal(size=shape)
    luck = np.sqrt(world.steady) * own + np.sqrt(1 - world.steady) * fresh
    luck[:, :, 0] = first
    if world.repeats:
        luck[np.nan_to_num(mean) == 0] = first
    skill_S = skill[:, :, None] * GROWTH
    rewards = (BASE + skill_S[..., None] + luck > difficulty).astype(float)
    if world.copies:
        rewards = rewards[trained_like(factors, arms)]
    counted = random.random((len(arms), seeds)) >= invalid
    if invalid_arm:
        counted[[a.name for a in arms].index(invalid_arm)] = False
    rewards[~counted] = np.nan
    left_out = tuple(
        LeftOut(f"{arms[i].name}/seed={n}", arms[i].name, int(n), "INVALID", "planted")
        for i, n in np.argwhere(~counted)
    )
    tasks = tuple(f"task-{t}" for t in range(world.tasks))
    made = Outcomes(factors, tuple(arms), tuple(range(seeds)), STEPS, tasks, rewards, counted, left_out)
    return made, truth(factors, arms, world, skill if seeds == 1 else None)
