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
    coverage    intervals (nominal 95 %) that hold the true effect; target 93-97 %
    raw         the same for the plain percentile bootstrap over seeds and tasks, for comparison
    family      sweeps with at least one significant effect (Holm) among effects that are truly zero; ≤ 5 %
    INVALID     effects whose own arm is INVALID that come out as "no effect"; 0
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.special import ndtr

from harness.analysis.bootstrap import raw_draws, resample
from harness.analysis.contrasts import all_contrasts
from harness.analysis.effects import NO_EFFECT, Measured, _family, measure, usable_arms
from harness.analysis.outcomes import OUTCOMES, LeftOut, Outcomes, step_weights
from harness.arm import Arm
from harness.design import SEALED, design

Array = np.ndarray
STEPS = (0, 2, 4, 6)
BASE = -1.35  # skill before training: 17 % of tasks at a difficulty spread of 1
GROWTH = np.array([0.0, 0.35, 0.8, 1.0])  # share of the gain that a run has at each validation


@dataclass(frozen=True)
class World:
    """What is planted, on the probit scale. gain: of all_on; the factors multiply it when they are off."""

    gain: float = 3.4
    off: tuple[tuple[str, float], ...] = (("endpoint", 0.0), ("tools", 0.75), ("reward", 0.6))
    seed_sd: float = 0.25  # of a seed, shared by its arms, as a share of the gain
    run_sd: float = 0.2  # of a run, its own
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
FULL = ("main", "leave_one_out", "interaction", "shapley")
SETTINGS = (
    Setting("leave_one_out, 5 seeds", "leave_one_out", 5, ("leave_one_out",)),
    Setting("leave_one_out, 5 seeds, weak and noisy", "leave_one_out", 5, ("leave_one_out",), WEAK),
    Setting("full factorial, 1 seed", "full_factorial", 1, FULL),
    Setting("full factorial, 3 seeds", "full_factorial", 3, FULL),
    Setting("gate_aware, 5 seeds", "gate_aware", 5, FULL),
    Setting("null effects, leave_one_out, 5 seeds", "leave_one_out", 5, ("leave_one_out",), NULL),
    Setting("null effects, leave_one_out, 1 seed", "leave_one_out", 1, ("leave_one_out",), NULL),
    Setting("null effects, full factorial, 3 seeds", "full_factorial", 3, ("main",), NULL),
    Setting("INVALID runs, leave_one_out, 5 seeds", "leave_one_out", 5, ("leave_one_out",), NULL, 0.1, "without_reward"),
    Setting("INVALID runs, full factorial, 3 seeds", "full_factorial", 3, ("main",), World(), 0.02, "without_reward"),
)  # fmt: skip


def gains(arms: Sequence[Arm], world: World) -> Array:
    """(A,) mean gain of skill; NaN behind a sealed gate, where every episode is that of step 0."""
    out = []
    for arm in arms:
        factor = np.prod([share for f, share in world.off if arm.level(f) == "off"])
        sealed = any(arm.level(g) == "off" for g in SEALED) and world is not NULL
        out.append(np.nan if sealed else world.gain * factor)
    return np.array(out)


def truth(arms: Sequence[Arm], world: World, skill_A_N: Array | None) -> Array:
    """(A, S) success probabilities over the population of tasks and seeds; of the given seed if there is one."""
    mean = np.nan_to_num(gains(arms, world))
    variance = mean**2 * (world.seed_sd**2 + world.run_sd**2)
    if skill_A_N is not None:
        mean, variance = skill_A_N[:, 0], np.zeros(len(arms))
    spread = np.sqrt(1 + world.difficulty_sd**2 + np.outer(variance, GROWTH**2))
    return ndtr((BASE * np.sqrt(1 + world.difficulty_sd**2) / np.sqrt(2) + np.outer(mean, GROWTH)) / spread)


def sweep(arms: Sequence[Arm], setting: Setting, random: np.random.Generator) -> tuple[Outcomes, Array]:
    """One synthetic sweep and the true (A, S) curve of each arm."""
    world, seeds = setting.world, setting.seeds
    shape = (len(arms), seeds, len(STEPS), world.tasks)
    mean = gains(arms, world)
    wobble = 1 + world.seed_sd * random.normal(size=(1, seeds)) + world.run_sd * random.normal(size=(len(arms), seeds))
    skill = np.nan_to_num(mean)[:, None] * wobble
    base = BASE * np.sqrt(1 + world.difficulty_sd**2) / np.sqrt(2)
    difficulty = world.difficulty_sd * random.normal(size=world.tasks)
    first = random.normal(size=world.tasks)  # luck of the base policy: the same in every arm and seed
    own = random.normal(size=(len(arms), seeds, 1, world.tasks))
    fresh = random.normal(size=shape)
    luck = np.sqrt(world.steady) * own + np.sqrt(1 - world.steady) * fresh
    luck[:, :, 0] = first
    luck[np.isnan(mean) | (np.nan_to_num(mean) == 0)] = first  # a policy that never moves repeats itself
    skill_S = skill[:, :, None] * GROWTH
    rewards = (base + skill_S[..., None] + luck > difficulty).astype(float)
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
    intervals: int = 0
    covered: int = 0
    raw: int = 0
    together: int = 0
    null_sweeps: int = 0
    false_alarms: int = 0
    sweeps: int = 0
    invalid_effects: int = 0
    invalid_called_none: int = 0
    answered: int = 0
    wrong_none: int = 0


def run(setting: Setting, sweeps: int, seed: int = 1) -> dict[tuple[str, str], Count]:
    """Counts per (kind, outcome) over so many synthetic sweeps."""
    arms = design(setting.design)
    random = np.random.default_rng([seed, SETTINGS.index(setting)])
    counts: dict[tuple[str, str], Count] = {}
    weights = resample(setting.seeds, setting.world.tasks, draws=400)
    for _ in range(sweeps):
        made, true_A_S = sweep(arms, setting, random)
        contrasts = [c for c in all_contrasts(made.arms, usable_arms(made)) if c.kind in setting.kinds]
        for outcome in OUTCOMES:
            at = step_weights(outcome, STEPS)
            measured = {id(c): measure(made, c, outcome) for c in contrasts}
            for kind in setting.kinds:
                family = [c for c in contrasts if c.kind == kind]
                effects = _family(made, outcome, family, measured)
                count = counts.setdefault((kind, outcome), Count())
                count.sweeps += 1
                alarm = null = False
                inside = True
                for contrast, effect in zip(family, effects, strict=True):
                    found = measured[id(contrast)]
                    own = setting.invalid_arm == f"without_{contrast.factors[0]}" and kind == "leave_one_out"
                    count.invalid_effects += own
                    count.invalid_called_none += own and effect.verdict == NO_EFFECT
                    if not isinstance(found, Measured):
                        continue
                    true = float(contrast.weights_A @ true_A_S @ at)
                    covered = effect.low - 1e-9 <= true <= effect.high + 1e-9
                    inside &= effect.low_all - 1e-9 <= true <= effect.high_all + 1e-9
                    if not found.identical:  # both arms are the same run: nothing is estimated
                        count.intervals += 1
                        count.covered += covered
                        if found.values_N_T.shape == (setting.seeds, setting.world.tasks):
                            low, high = np.quantile(raw_draws(found.values_N_T[None], weights)[0], (0.025, 0.975))
                            count.answered += 1
                            count.raw += low - 1e-9 <= true <= high + 1e-9
                    if abs(true) < 1e-9:
                        null = True
                        alarm |= effect.p_holm < 0.05
                    elif effect.verdict == NO_EFFECT and abs(true) > 0.05:
                        count.wrong_none += 1
                count.together += inside
                count.null_sweeps += null
                count.false_alarms += alarm
    return counts


def rows(sweeps: int) -> Iterator[tuple[str, ...]]:
    for setting in SETTINGS:
        started = time.perf_counter()
        for (kind, outcome), c in run(setting, sweeps).items():
            yield (
                setting.name, kind.replace("_", " "), outcome, _percent(c.covered, c.intervals),
                _percent(c.raw, c.answered), _percent(c.together, c.sweeps), _percent(c.false_alarms, c.null_sweeps),
                f"{c.invalid_called_none} of {c.invalid_effects}" if c.invalid_effects else "–",
            )  # fmt: skip
        print(f"{setting.name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=1000, help="synthetic sweeps per setting")
    parser.add_argument("--only", default="", help="settings whose name contains this")
    parser.add_argument("--out", type=Path, help="write the table to this file, too")
    options = parser.parse_args()
    head = ("setting", "effect", "outcome", "coverage", "raw", "all together", "family-wise error", "INVALID as none")
    lines = [head, *rows(options.sweeps)] if not options.only else [head]
    if options.only:
        for s in (s for s in SETTINGS if options.only in s.name):
            for (kind, outcome), c in run(s, options.sweeps).items():
                print(s.name, kind, outcome, c, _percent(c.covered, c.intervals), _percent(c.raw, c.answered), _percent(c.together,c.sweeps), _percent(c.false_alarms, c.null_sweeps))
        return
    for line in lines:
        print("| " + " | ".join(line) + " |")


if __name__ == "__main__":
    main()
