"""Do the bands over the steps hold, and how often is "depends" or "settled" said wrongly? No model, no server.

    python -m experiments.benchmarks.band_coverage --sweeps 1000

Two arms, all_on and the same without one fix, 12 validations after the first, 45 tasks, rewards of 0 or 1. The worlds
are not those of calibration.py and not the model behind the interval: each run's skill wanders from validation to
validation as an Ornstein-Uhlenbeck process (or jumps), so errors at different steps are correlated as little or as much
as the world says. Per world and number of seeds:

    one step       validations whose own 95 % interval holds the true effect
    unadjusted     sweeps in which all of these hold at once: what a reader of pointwise intervals takes for 95 %
    bootstrap      the same for a band from the largest |t| under a multiplier bootstrap over seeds
    band           the same for ours (Bonferroni over the validations): at least 95 %
    wider          ours against one step's interval, mean ratio of the widths
    depends        sweeps whose verdict is "depends": wrong where the effect does not change, `!` behind it if so
    no effect      sweeps that say it: wrong where there is one, `!` if so
    settled        sweeps whose all_on is called settled: wrong where it still rises by more than the margin, `!` if so
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from harness.fixes.registry import note
from harness.stats.by_step import EffectCurve, effect_curves, stopped_after
from harness.stats.contrasts import Contrast
from harness.stats.depends import qualify, with_places
from harness.stats.effects import estimate_family
from harness.stats.intervals import LEVEL
from harness.stats.measured import Measured, measure
from harness.stats.outcomes import Outcomes
from harness.stats.settling import SETTLED, settling
from harness.stats.verdicts import DEPENDS, NO_EFFECT

Array = np.ndarray
NOTE = note()
STEPS = tuple(range(0, 26, 2))
CONTRAST = Contrast("leave_one_out", ("tools",), np.array([1.0, -1.0]))
TASKS, MANY = 45, 4000
SEED = 20261127  # used once for what is written anywhere


@dataclass(frozen=True)
class CurveWorld:
    """On the probit scale. plateau: skill of all_on once learned; loss: what the other arm lacks of it from the start;
    falls: what it loses besides, after a step of its own in the second half, in so many of its runs."""

    name: str
    rises_over: float = 1.5  # validations; time constant
    plateau: float = 1.6
    loss: float = 0.0
    wobble: float = 0.25  # standard deviation of a run's skill
    memory: float = 0.7  # correlation of a run's skill from one validation to the next
    growing: float = 1.0  # the wobble at the end against that at the start
    falls: float = 0.0
    fallen: float = 0.0  # share of runs

    @property
    def changes(self) -> bool:
        return bool(self.falls and self.fallen)

    @property
    def still_rising(self) -> bool:
        return self.rises_over > 4


WORLDS = (
    CurveWorld("no effect, steady runs", memory=0.95),
    CurveWorld("no effect, wandering runs"),
    CurveWorld("no effect, each step anew", memory=0.0),
    CurveWorld("no effect, quiet", wobble=0.03),
    CurveWorld("small constant effect", loss=0.6),
    CurveWorld("small constant effect, quiet", loss=0.6, wobble=0.05),
    CurveWorld("large constant effect", loss=1.2),
    CurveWorld("no effect, noise grows eightfold", wobble=0.08, growing=8.0),
    CurveWorld("all runs fall late", falls=2.5, fallen=1.0),
    CurveWorld("three of ten runs fall late", falls=2.5, fallen=0.3),
    CurveWorld("no effect, still rising", rises_over=9.0),
)


def simulated(world: CurveWorld, seeds: int, random: np.random.Generator) -> Array:
    """(2, N, S) skills of the runs of all_on and of the other arm."""
    at = np.arange(len(STEPS))
    learned = 1 - np.exp(-at / world.rises_over)
    wander = np.empty((2, seeds, len(STEPS)))
    wander[..., 0] = random.normal(size=(2, seeds))
    for s in at[1:]:
        fresh = np.sqrt(1 - world.memory**2) * random.normal(size=(2, seeds))
        wander[..., s] = world.memory * wander[..., s - 1] + fresh
    width = world.wobble * np.linspace(1, world.growing, len(at))
    skill = -0.85 + (0.85 + world.plateau) * learned + width * wander * (at > 0)
    skill[1] -= world.loss * learned
    begin = random.uniform(len(at) / 2, len(at) - 2, size=seeds)
    slides = np.clip((at - begin[:, None]) / 2, 0, 1) * (random.random(seeds) < world.fallen)[:, None]
    skill[1] -= world.falls * slides
    return skill


def sweep(world: CurveWorld, seeds: int, random: np.random.Generator) -> Outcomes:
    skill = simulated(world, seeds, random)
    luck = 0.8 * random.normal(size=TASKS) + 0.5 * random.normal(size=(seeds, 1, TASKS))
    fresh = np.sqrt(1 - 0.89) * random.normal(size=(2, seeds, len(STEPS), TASKS))
    fresh[..., 0, :] = fresh[0, :, 0]
    rewards = (skill[..., None] + luck + fresh > 0).astype(float)
    arms = (NOTE.with_off(), NOTE.with_off("tools"))
    names = tuple(f"task-{t}" for t in range(TASKS))
    weights = np.array([[["start", *(f"{a}-{n}-{s}" for s in STEPS[1:])] for n in range(seeds)] for a in range(2)])
    counted = np.ones((2, seeds), dtype=bool)
    return Outcomes(NOTE, arms, tuple(range(seeds)), STEPS, names, rewards, counted, (), weights.astype(object))


def truth(world: CurveWorld, random: np.random.Generator) -> Array:
    """(S,) the effect over all seeds and tasks."""
    chance = ndtr(simulated(world, MANY * 5, random) / np.sqrt(0.64 + 0.25 + 0.11)).mean(axis=1)
    difference: Array = chance[0] - chance[1]
    difference[0] = 0.0
    return difference if world.loss or world.changes else np.zeros(len(STEPS))


def bootstrap_half_widths(outcomes: Outcomes, random: np.random.Generator) -> Array:
    """(S − 1,) of a band: the level at which normal errors with the correlation of the seeds' curves exceed it once
    in 20 sweeps, then the interval of one step at that level."""
    found = [measure(stopped_after(outcomes, s), CONTRAST, "final") for s in STEPS[1:]]
    told = [m for m in found if isinstance(m, Measured)]
    errors = np.array([m.values_N_T.mean(axis=1) - m.spread.mean for m in told]).T
    scale = np.sqrt((errors**2).sum(axis=0))
    draws = random.normal(size=(2000, len(errors))) @ np.divide(
        errors, scale, out=np.zeros_like(errors), where=scale > 0
    )
    critical = max(float(np.quantile(np.abs(draws).max(axis=1), LEVEL)), 1.96)
    return np.array([m.spread.half_width(1 - 2 * float(ndtr(-critical))) for m in told])


def row(world: CurveWorld, seeds: int, sweeps: int) -> str:
    random = np.random.default_rng([SEED, seeds, WORLDS.index(world)])
    true = truth(world, random)
    one, unadjusted, bootstrap, band, wider, depends, none, settled = (np.zeros(sweeps) for _ in range(8))
    for i in range(sweeps):
        outcomes = sweep(world, seeds, random)
        curve, verdict, ended = judged(outcomes)
        values, alone, together = columns(curve)
        off = np.abs(values - true[1:])
        one[i], unadjusted[i], band[i] = (off <= alone).mean(), (off <= alone).all(), (off <= together).all()
        bootstrap[i] = (off <= bootstrap_half_widths(outcomes, random)).all()
        wider[i] = (together / np.maximum(alone, 1e-9)).mean()
        depends[i], none[i] = verdict == DEPENDS, verdict == NO_EFFECT
        settled[i] = ended == SETTLED
    wrong = ("" if world.changes else "!", "!" if world.loss or world.changes else "", "!" * world.still_rising)
    shares = [f"{100 * x.mean():.1f} %" for x in (one, unadjusted, bootstrap, band)]
    said = [f"{100 * x.mean():.1f} %{mark}" for x, mark in zip((depends, none, settled), wrong, strict=True)]
    return f"| {world.name} | {seeds} | {' | '.join(shares)} | {wider.mean():.1f} | {' | '.join(said)} |"


def judged(outcomes: Outcomes) -> tuple[EffectCurve, str, str]:
    """The effect over the steps, the verdict on it, and whether all_on settled."""
    found = measure(outcomes, CONTRAST, "final")
    (effect,) = estimate_family(outcomes, "final", [CONTRAST], {id(CONTRAST): found})
    settled = settling(outcomes)
    assert settled is not None
    (curve,) = effect_curves(outcomes, [CONTRAST], settled.middle)
    curve = with_places(curve, outcomes, CONTRAST, effect.verdict, settled.middle)
    return curve, qualify(effect.verdict, effect.identical, curve, settled).verdict, settled.state


def columns(curve: EffectCurve) -> tuple[Array, Array, Array]:
    """(S − 1,) values and the half-widths of one step's interval and of the band, after the first validation."""
    points = [(p.value, p.high, p.high_all) for p in curve.points[1:]]
    value, high, high_all = np.array(points, dtype=float).T
    return value, high - value + 1e-9, high_all - value + 1e-9


def table(sweeps: int, seeds: tuple[int, ...]) -> Iterator[str]:
    yield "| world | seeds | one step | unadjusted | bootstrap | band | wider | depends | no effect | settled |"
    yield "|---" * 10 + "|"
    for world in WORLDS:
        for n in seeds:
            yield row(world, n, sweeps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=1000, help="per world and number of seeds")
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5, 10])
    options = parser.parse_args()
    for line in table(options.sweeps, tuple(options.seeds)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
