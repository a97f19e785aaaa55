"""Does the power plan hold? Effects of the size that it names are planted and looked for. No model, no server.

    python -m experiments.benchmarks.planned_power                    # two minutes on one core
    python -m experiments.benchmarks.planned_power --sweeps 200

Three tables:
    known variances     the plan is told the true components: its 80 % should be 75 to 85 %
    planted sweeps      rewards of 0 or 1 (simulated_sweeps.py); the components are those of a very large sweep
    estimated variances the plan is told a pilot of few seeds: how often its interval holds the size that the true
                        components give, and with what power the size that it names is found
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.optimize import brentq

from experiments.benchmarks.simulated_sweeps import SimulatedWorld, simulated_sweep, truth
from harness.designs import design
from harness.factors import Arm
from harness.fixes.registry import note
from harness.stats.contrasts import Contrast, all_contrasts
from harness.stats.intervals import crossed_spread
from harness.stats.measured import Measured, measure
from harness.stats.power import Comparison, Variance, comparison, smallest_effect, variance_of

NOTE = note()
SEED = 20261129  # of the committed table; development and tests use other seeds
Row = tuple[str, ...]
Array = np.ndarray
LOOKED_FOR = "tools"  # the fix whose effect gets the planned size


def normal_rows(sweeps: int, seed: int = SEED) -> Iterator[Row]:
    """Everything is normal, the components are those of the plan."""
    for kind, seeds in (("leave_one_out", 1), ("leave_one_out", 3), ("leave_one_out", 5), ("leave_one_out", 10)):
        random = np.random.default_rng([seed, 1, seeds])
        known = hardest(kind, kind, seeds)
        size = known.detectable(Variance())
        v = Variance().where_lost(size)
        found = sum(
            crossed_spread(size + table(known, v, random), known.jump).p_value < 1 - known.level for _ in range(sweeps)
        )
        yield kind, str(seeds), f"{size:.3f}", share(found, sweeps)


def hardest(design_name: str, kind: str, seeds: int, tasks: int = 45) -> Comparison:
    found = comparison(NOTE, design(design_name, NOTE), kind, seeds, tasks)
    assert found is not None
    return found[0]


def table(known: Comparison, v: Variance, random: np.random.Generator) -> Array:
    """(N, T) deviations of a contrast from its effect. One seed: the effect is that of the seed."""
    shape = (known.seeds, known.tasks)
    run, task, rest = np.sqrt([known.size * v.run, known.size_task * v.task, known.size * v.rest])
    own = run * random.normal(size=(known.seeds, 1)) * (known.seeds > 1)
    return np.asarray(own + task * random.normal(size=(1, known.tasks)) + rest * random.normal(size=shape))


PLANTED = (  # design, kind, seeds, run_sd
    ("leave_one_out", "leave_one_out", 3, 0.02),
    ("leave_one_out", "leave_one_out", 5, 0.1),
    ("leave_one_out", "leave_one_out", 10, 0.2),
    ("full_factorial", "main", 3, 0.02),
    ("full_factorial", "main", 5, 0.1),
    ("gate_aware", "main", 5, 0.1),
    ("gate_aware", "shapley", 5, 0.1),
)


def planted_rows(
    sweeps: int, seed: int = SEED, cells: Sequence[tuple[str, str, int, float]] = PLANTED
) -> Iterator[Row]:
    """Sweeps of rewards of 0 or 1 in which one fix has the effect that the plan names."""
    for name, kind, seeds, run_sd in cells:
        arms = design(name, NOTE)
        random = np.random.default_rng([seed, 2, seeds, len(arms)])
        world = replace(
            SimulatedWorld(),
            off=(("endpoint", 1.0), (LOOKED_FOR, 0.6), ("reward", 1.0)),
            run_sd=run_sd,
            seed_sd=0.1,
            copies=True,
        )
        contrast = next(c for c in contrasts(arms) if c.kind == kind and c.factors == (LOOKED_FOR,))
        size, level = 0.0, 0.05
        for _ in range(3):  # the components depend a little on the effect
            large, _ = simulated_sweep(NOTE, arms, replace(world, tasks=300), 60 if len(arms) > 20 else 300, random)
            planned = smallest_effect(NOTE, arms, kind, seeds, world.tasks, variance_of(large))
            assert planned is not None
            size, level = planned.paired, 0.05 / planned.corrected_for
            world = with_effect(world, arms, contrast, size)
        p_values = []
        for _ in range(sweeps if len(arms) < 20 else sweeps // 2):
            found = measure(simulated_sweep(NOTE, arms, world, seeds, random)[0], contrast, "final")
            assert isinstance(found, Measured)
            p_values.append(found.spread.p_value)
        hits = sum(p < level for p in p_values)
        yield name, kind, str(seeds), f"{size:.3f}", share(hits, len(p_values))


def contrasts(arms: Sequence[Arm]) -> list[Contrast]:
    return all_contrasts(NOTE, arms, [True] * len(arms), [NOTE.no_update(arm) for arm in arms])


def with_effect(world: SimulatedWorld, arms: Sequence[Arm], contrast: Contrast, size: float) -> SimulatedWorld:
    """The world in which the contrast's true effect on the final reward is of this size."""

    def planted(left: float) -> SimulatedWorld:
        return replace(world, off=tuple((f, left if f == LOOKED_FOR else s) for f, s in world.off))

    def excess(left: float) -> float:
        return float(contrast.weights_A @ truth(NOTE, arms, planted(left), None)[:, -1]) - size

    return planted(float(brentq(excess, 0.0, 1.0)))


def pilot_rows(sweeps: int, seed: int = SEED) -> Iterator[Row]:
    """Plans of leave_one_out with 5 seeds after a pilot of few."""
    arms = design("leave_one_out", NOTE)
    for name, seeds, world in (
        ("2 seeds", 2, SimulatedWorld()),
        ("3 seeds", 3, SimulatedWorld()),
        ("5 seeds", 5, SimulatedWorld()),
        ("5 seeds, 15 % of runs collapse", 5, SimulatedWorld(collapse=0.15)),
    ):
        random = np.random.default_rng([seed, 3, seeds, int(world.collapse > 0)])
        large, _ = simulated_sweep(NOTE, arms, replace(world, tasks=400), 400, random)
        true = variance_of(large)
        assert true is not None
        known = hardest("leave_one_out", "leave_one_out", 5)
        size = known.detectable(true)
        held, planned = 0, []
        for _ in range(max(sweeps // 3, 3)):
            pilot = variance_of(simulated_sweep(NOTE, arms, world, seeds, random)[0])
            found = smallest_effect(NOTE, arms, "leave_one_out", 5, world.tasks, pilot)
            assert found is not None
            held += found.low <= size <= found.high
            planned.append(found.paired)
        low, middle, high = np.quantile(planned, (0.1, 0.5, 0.9))
        powers = [share_found(known, true, float(s), random) for s in (low, middle, high)]
        yield (
            name, f"{size:.3f}", share(held, max(sweeps // 3, 3)), f"{middle:.3f} ({low:.3f} to {high:.3f})",
            f"{100 * powers[1]:.0f} % ({100 * powers[0]:.0f} to {100 * powers[2]:.0f} %)",
        )  # fmt: skip


def share_found(known: Comparison, v: Variance, size: float, random: np.random.Generator) -> float:
    tables = (size + table(known, v.where_lost(size), random) for _ in range(400))
    return float(np.mean([crossed_spread(x, known.jump).p_value < 1 - known.level for x in tables]))


def share(part: int, whole: int) -> str:
    """In per cent, with twice its Monte-Carlo error."""
    p = part / whole
    return f"{100 * p:.1f} ± {200 * max(p * (1 - p) / whole, 0.25 / whole**2) ** 0.5:.1f} %"


TABLES = (
    (
        "### The planned 80 %, everything normal",
        ("kind", "seeds", "planned size", "found"),
        normal_rows,
    ),
    (
        "### The planned 80 %, planted sweeps of rewards 0 and 1",
        ("design", "kind", "seeds", "planned size", "found"),
        planted_rows,
    ),
    (
        "### What a pilot of few seeds knows\n\nPlans of leave_one_out with 5 seeds; median (middle 80 %) over pilots.",
        ("pilot", "true size", "interval holds it", "planned size", "power at the planned size"),
        pilot_rows,
    ),
)


def lines(sweeps: int, seed: int = SEED) -> Iterator[str]:
    for text, head, make in TABLES:
        yield f"\n{text}\n"
        yield "| " + " | ".join(head) + " |"
        yield "| " + " | ".join("---" for _ in head) + " |"
        for cells in make(sweeps, seed):
            yield "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=1000, help="planted sweeps per cell")
    parser.add_argument("--out", type=Path, help="write the tables to this file, too")
    options = parser.parse_args()
    said = []
    for line in lines(options.sweeps):
        said.append(line)
        print(line, flush=True)
    if options.out:
        options.out.write_text("\n".join(said) + "\n")


if __name__ == "__main__":
    main()
