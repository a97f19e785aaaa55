"""Planted effects: do our intervals hold what they promise? No model, no server; a few minutes on one core.

    python experiments/benchmarks/calibration.py                       # 1,000 sweeps per setting
    python experiments/benchmarks/calibration.py --sweeps 200 --out results/calibration.md

A synthetic sweep has the shape of a real one: gates behind which nothing is learned, learning curves with a
seed effect per seed and per run, tasks of different difficulty, rewards of 0 or 1 that repeat from one
validation to the next. A success is `skill + luck > difficulty` with normal luck and difficulty, so the true
mean of every arm is a normal probability, known exactly, and with it every effect. A new sweep draws new seeds
*and* new tasks, because that is what an interval "over seeds and tasks" is about. With one seed the truth is
the one of that seed, as the report says.

Each sweep goes through the very functions that analyse real ones. The table counts
    coverage              intervals (nominal 95 %) that hold the true effect; target 93-97 %
    percentile bootstrap  the same for plain percentiles over resampled seeds and tasks, for comparison
    all together          families of which every simultaneous interval holds its effect; at least 95 %
    family-wise error     sweeps with a significant effect (Holm) among those that are truly zero; at most 5 %
    false "no effect"     effects larger than the margin that are called "no effect"
    INVALID               effects whose own arm is INVALID that are called "no effect"; 0
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path

import numpy as np
from scipy.special import ndtr

from harness.analysis.bootstrap import raw_draws, resample
from harness.analysis.contrasts import all_contrasts
from harness.analysis.effects import (
    NO_EFFECT,
    NOT_ANSWERED,
    Effect,
    Measured,
    estimate_family,
    margin_of,
    measure,
    usable_arms,
)
from harness.analysis.outcomes import OUTCOMES, LeftOut, Outcomes, step_weights
from harness.arm import FACTORS, Arm
from harness.design import SEALED, design

Array = np.ndarray
STEPS = (0, 2, 4, 6)
TINY = 1e-9
BASE = -1.35  # skill before training: 17 % of tasks at a difficulty spread of 1
COLLAPSED = 0.2  # of its gain is left to a run that collapses
GROWTH = np.array([0.0, 0.35, 0.8, 1.0])  # share of the gain that a run has at each validation


@dataclass(frozen=True)
class World:
    """What is planted, on the probit scale. gain: of all_on; the factors multiply it when they are off."""

    gain: float = 3.4
    off: tuple[tuple[str, float], ...] = (("endpoint", 0.0), ("tools", 0.75), ("reward", 0.6))
    seed_sd: float = 0.25  # of a seed, shared by its arms, as a share of the gain
    run_sd: float = 0.2  # of a run, its own
    collapse: float = 0.0  # share of runs that keep a fifth of their gain only
    difficulty_sd: float = 1.0
    steady: float = 0.7  # share of the luck of an episode that stays the same from validation to validation
    tasks: int = 45


@dataclass(frozen=True)
class Setting:
    name: str
    design: str
    seeds: int
    kinds: tuple[str, ...]
    world: World = World()
    invalid: float = 0.0  # share of runs that are INVALID
    invalid_arm: str | None = None  # an arm all of whose runs are INVALID


NULL = World(off=(("endpoint", 1.0), ("tools", 1.0), ("reward", 1.0)))
WEAK = World(gain=1.6, off=(("endpoint", 0.0), ("tools", 0.8), ("reward", 0.6)), seed_sd=0.4, run_sd=0.3)
COLLAPSES = World(collapse=0.15)
FULL = ("main", "leave_one_out", "interaction", "shapley")
SETTINGS = (
    Setting("leave_one_out, 5 seeds", "leave_one_out", 5, ("leave_one_out",)),
    Setting("leave_one_out, 5 seeds, weak and noisy", "leave_one_out", 5, ("leave_one_out",), WEAK),
    Setting("leave_one_out, 5 seeds, 15 % of runs collapse", "leave_one_out", 5, ("leave_one_out",), COLLAPSES),
    Setting("full factorial, 1 seed", "full_factorial", 1, FULL),
    Setting("full factorial, 3 seeds", "full_factorial", 3, FULL),
    Setting("gate_aware, 5 seeds", "gate_aware", 5, FULL),
    Setting("null effects, leave_one_out, 5 seeds", "leave_one_out", 5, ("leave_one_out",), NULL),
    Setting("null effects, leave_one_out, 1 seed", "leave_one_out", 1, ("leave_one_out",), NULL),
    Setting("null effects, full factorial, 3 seeds", "full_factorial", 3, ("main",), NULL),
    Setting("INVALID runs, leave_one_out, 5 seeds", "leave_one_out", 5, ("leave_one_out",), NULL, 0.1, "without_reward"),
    Setting("INVALID runs, full factorial, 3 seeds", "full_factorial", 3, FULL[:2], World(), 0.02, "without_reward"),
)  # fmt: skip


def gains(arms: Sequence[Arm], world: World) -> Array:
    """(A,) mean gain of skill; NaN behind a sealed gate, where every episode is that of step 0."""
    out = []
    for arm in arms:
        factor = np.prod([share for f, share in world.off if arm.level(f) == "off"])
        sealed = any(arm.level(g) == "off" for g in SEALED) and world != NULL
        out.append(np.nan if sealed else world.gain * factor)
    return np.array(out)


def truth(arms: Sequence[Arm], world: World, skill_A_N: Array | None) -> Array:
    """(A, S) success probabilities over the population of tasks and seeds; of the given seed if there is one."""
    if skill_A_N is not None:
        return success(world, skill_A_N[:, 0], np.zeros(len(arms)))
    mean = np.nan_to_num(gains(arms, world))
    sd = mean * np.hypot(world.seed_sd, world.run_sd)
    whole = success(world, mean, sd)
    return (1 - world.collapse) * whole + world.collapse * success(world, COLLAPSED * mean, COLLAPSED * sd)


def success(world: World, mean: Array, sd: Array) -> Array:
    """(A, S) success probability over tasks and over normal gains."""
    spread = np.sqrt(1 + world.difficulty_sd**2 + np.outer(sd, GROWTH) ** 2)
    return ndtr((BASE + np.outer(mean, GROWTH)) / spread)


def sweep(arms: Sequence[Arm], setting: Setting, random: np.random.Generator) -> tuple[Outcomes, Array]:
    """One synthetic sweep and the true (A, S) curve of each arm."""
    world, seeds = setting.world, setting.seeds
    shape = (len(arms), seeds, len(STEPS), world.tasks)
    mean = gains(arms, world)
    of_seed, of_run = random.normal(size=(1, seeds)), random.normal(size=shape[:2])
    skill = np.nan_to_num(mean)[:, None] * (1 + world.seed_sd * of_seed + world.run_sd * of_run)
    skill *= np.where(random.random(shape[:2]) < world.collapse, COLLAPSED, 1.0)
    difficulty = world.difficulty_sd * random.normal(size=world.tasks)
    first = random.normal(size=world.tasks)  # luck of the base policy: the same in every arm and seed
    own = random.normal(size=(len(arms), seeds, 1, world.tasks))
    fresh = random.normal(size=shape)
    luck = np.sqrt(world.steady) * own + np.sqrt(1 - world.steady) * fresh
    luck[:, :, 0] = first
    luck[np.isnan(mean) | (np.nan_to_num(mean) == 0)] = first  # a policy that never moves repeats itself
    skill_S = skill[:, :, None] * GROWTH
    rewards = (BASE + skill_S[..., None] + luck > difficulty).astype(float)
    counted = random.random((len(arms), seeds)) >= setting.invalid
    if setting.invalid_arm:
        counted[[a.name for a in arms].index(setting.invalid_arm)] = False
    rewards[~counted] = np.nan
    left_out = tuple(
        LeftOut(f"{arms[i].name}/seed={n}", arms[i].name, int(n), "INVALID", "planted")
        for i, n in np.argwhere(~counted)
    )
    tasks = tuple(f"task-{t}" for t in range(world.tasks))
    made = Outcomes(tuple(arms), tuple(range(seeds)), STEPS, tasks, rewards, counted, left_out)
    return made, truth(arms, world, skill if seeds == 1 else None)


@dataclass
class Count:
    """What happened to the effects of one kind on one outcome, over the sweeps of a setting."""

    sweeps: int = 0
    intervals: int = 0  # of effects that are estimated: those of identical arms are exact, and not counted
    covered: int = 0
    raw_intervals: int = 0
    raw_covered: int = 0
    all_covered: int = 0  # sweeps in which every simultaneous interval holds its effect
    null_sweeps: int = 0  # sweeps with an effect that is truly zero
    false_alarms: int = 0
    false_none: int = 0  # "no effect" although the true effect is larger than the margin
    invalid: int = 0
    invalid_as_none: int = 0


def run(setting: Setting, sweeps: int, seed: int = 1) -> dict[tuple[str, str], Count]:
    """Counts per (kind, outcome) over so many synthetic sweeps."""
    arms, random = design(setting.design), np.random.default_rng([seed, SETTINGS.index(setting)])
    weights = resample(setting.seeds, setting.world.tasks, draws=400)
    whole = all_contrasts(arms, [True] * len(arms))
    counts: dict[tuple[str, str], Count] = {}
    for _ in range(sweeps):
        made, true_A_S = sweep(arms, setting, random)
        contrasts = all_contrasts(arms, usable_arms(made)) if made.left_out else whole
        for outcome, kind in product(OUTCOMES, setting.kinds):
            family = [c for c in contrasts if c.kind == kind]
            measured = {id(c): measure(made, c, outcome) for c in family}
            count = counts.setdefault((kind, outcome), Count())
            true = [float(c.weights_A @ true_A_S @ step_weights(outcome, STEPS)) for c in family]
            tally(count, setting, true, estimate_family(made, outcome, family, measured))
            for contrast, value in zip(family, true, strict=True):
                found = measured[id(contrast)]
                if isinstance(found, Measured) and not found.identical and found.values_N_T.shape[0] == setting.seeds:
                    draws = raw_draws(found.values_N_T[None], weights)[0]
                    low, high = np.quantile(draws, (0.025, 0.975))
                    count.raw_intervals += 1
                    count.raw_covered += int(low - TINY <= value <= high + TINY)
    return counts


def tally(count: Count, setting: Setting, true: Sequence[float], effects: Sequence[Effect]) -> None:
    """Adds one family of effects of one sweep."""
    answered = [(t, e) for t, e in zip(true, effects, strict=True) if e.verdict != NOT_ANSWERED]
    count.sweeps += 1
    count.all_covered += all(e.low_all - TINY <= t <= e.high_all + TINY for t, e in answered)
    nulls = [e for t, e in answered if abs(t) < TINY]
    count.null_sweeps += bool(nulls)
    count.false_alarms += any(e.p_holm < 0.05 for e in nulls)
    for t, e in answered:
        count.intervals += not e.identical
        count.covered += not e.identical and e.low - TINY <= t <= e.high + TINY
        count.false_none += e.verdict == NO_EFFECT and abs(t) > margin_of(e.kind, e.outcome, STEPS)
    if setting.invalid_arm:
        own = [e for e in effects if e.kind == "leave_one_out" and setting.invalid_arm == f"without_{e.factors[0]}"]
        count.invalid += len(own)
        count.invalid_as_none += sum(e.verdict == NO_EFFECT for e in own)


HEAD = (
    "setting", "effect", "outcome", "coverage", "percentile bootstrap", "all together", "family-wise error",
    "false \"no effect\"", "INVALID as \"no effect\"",
)  # fmt: skip


def rows(settings: Sequence[Setting], sweeps: int) -> Iterator[tuple[str, ...]]:
    for setting in settings:
        started = time.perf_counter()
        for (kind, outcome), c in run(setting, sweeps).items():
            yield (
                setting.name, kind.replace("_", " "), outcome, percent(c.covered, c.intervals),
                percent(c.raw_covered, c.raw_intervals), percent(c.all_covered, c.sweeps),
                percent(c.false_alarms, c.null_sweeps), percent(c.false_none, c.sweeps * len(FACTORS)),
                f"{c.invalid_as_none} of {c.invalid}" if c.invalid else "–",
            )  # fmt: skip
        print(f"{setting.name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=1000, help="synthetic sweeps per setting")
    parser.add_argument("--only", default="", help="settings whose name contains this")
    parser.add_argument("--out", type=Path, help="write the table to this file, too")
    options = parser.parse_args()
    settings = [s for s in SETTINGS if options.only in s.name]
    lines = []
    for row in chain((HEAD, ("---",) * len(HEAD)), rows(settings, options.sweeps)):
        lines.append("| " + " | ".join(row) + " |")
        print(lines[-1], flush=True)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(TITLE.format(sweeps=options.sweeps) + "\n".join(lines) + "\n")


TITLE = """# Calibration of the intervals

`python experiments/benchmarks/calibration.py --sweeps {sweeps} --out results/calibration.md`: {sweeps} planted sweeps
per setting. Coverage of nominal 95 % intervals (target 93-97 %); plain percentile bootstrap over seeds and tasks for
comparison; sweeps in which all simultaneous intervals of a family hold (≥ 95 %); sweeps with a significant effect
(Holm) where there is none (≤ 5 %); effects beyond the margin that were called "no effect"; effects whose arm is
INVALID that were called "no effect" (0).

"""

if __name__ == "__main__":
    main()
