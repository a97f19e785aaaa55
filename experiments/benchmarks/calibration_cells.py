"""The cells of the calibration's large table: a design, a world, how many seeds, and what goes wrong."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from experiments.benchmarks.other_worlds import ItemResponseWorld, RecordedWorld
from experiments.benchmarks.simulated_sweeps import SimulatedWorld, World
from harness.designs import DESIGNS, design, listed
from harness.factors import Arm, Factors
from harness.fixes.registry import as_launched, note, own

CONF = Path(__file__).parent.parent.parent / "conf" / "ablation"
NONE_OFF = (("endpoint", 1.0), ("tools", 1.0), ("reward", 1.0), ("toolorder", 1.0), ("toolcalls", 1.0))

USUAL = SimulatedWorld()
NULL = SimulatedWorld(off=NONE_OFF, sealed=False)
WEAK = SimulatedWorld(gain=1.6, off=(("endpoint", 0.0), ("tools", 0.8), ("reward", 0.6)), seed_sd=0.4, run_sd=0.3)
COLLAPSES = SimulatedWorld(collapse=0.15)
BY_CHANCE = replace(NULL, collapse=0.5, seed_sd=0.0, run_sd=0.0)  # a run takes off or not, and nothing else differs
CEILING = SimulatedWorld(base=0.6, gain=2.2)
FLOOR = SimulatedWorld(base=-3.0, gain=1.2)
ITEMS = ItemResponseWorld()
OPEN = replace(ITEMS, sealed=False)  # no fix is a gate
ITEMS_NULL = replace(OPEN, off=NONE_OFF)
FEW_TASKS_MOVED = replace(ITEMS, moved=0.25)
NOISY = replace(ITEMS, noisy=(("reward", 3.0),))
NOISY_NULL = replace(ITEMS_NULL, noisy=(("reward", 3.0),))
TOKENS = replace(ITEMS, off=(("tools", 0.75), ("toolorder", 0.9), ("toolcalls", 0.8), ("reward", 0.6)))
EIGHT, TWENTY_FOUR = RecordedWorld("cpu_8_steps"), RecordedWorld("cpu_24_steps")


@dataclass(frozen=True)
class Setting:
    """invalid: share of runs that are INVALID; invalid_arm: an arm all of whose runs are
    missing: share of the episodes
    first_look: the sweep is analysed at so many seeds, and after each further one up to `seeds` until something is
        significant, each time as if it were the only time; 0: once
    """

    name: str
    design: str
    seeds: int
    kinds: tuple[str, ...]
    world: World = USUAL
    invalid: float = 0.0
    invalid_arm: str | None = None
    missing: float = 0.0
    first_look: int = 0

    @property
    def factors(self) -> Factors:
        if self.design == "as_launched":
            return as_launched()
        if self.design == "tokenisation":
            return Factors(tuple(factor for factor in own() if factor.name in ("tools", "toolcalls", "toolorder")))
        return note()

    @property
    def arms(self) -> Sequence[Arm]:
        if self.design in ("as_launched", "tokenisation"):
            return design("full_factorial", self.factors)
        if self.design not in DESIGNS:
            asked = yaml.safe_load((CONF / f"{self.design}.yaml").read_text())
            return listed(self.factors, asked["hydra"]["sweeper"]["arms"])
        return design(self.design, self.factors)


def failing(share: float, world: ItemResponseWorld | RecordedWorld = ITEMS) -> ItemResponseWorld | RecordedWorld:
    """So many runs of one arm stay at the base policy."""
    return replace(world, fails=("without_reward", share))


FULL = ("main", "leave_one_out", "interaction", "shapley")
LEAVE = ("leave_one_out",)
LOO = "leave_one_out"
SETTINGS = (
    # The estimator's own world: normal skills on the probit scale.
    Setting("usual, 2 seeds", LOO, 2, LEAVE),
    Setting("usual, 3 seeds", LOO, 3, LEAVE),
    Setting("usual, 5 seeds", LOO, 5, LEAVE),
    Setting("usual, 2 seeds, 15 tasks", LOO, 2, LEAVE, replace(USUAL, tasks=15)),
    Setting("usual, 5 seeds, 15 tasks", LOO, 5, LEAVE, replace(USUAL, tasks=15)),
    Setting("usual, 2 seeds, 27 tasks", LOO, 2, LEAVE, replace(USUAL, tasks=27)),
    Setting("usual, 5 seeds, 27 tasks", LOO, 5, LEAVE, replace(USUAL, tasks=27)),
    Setting("ceiling, 5 seeds", LOO, 5, LEAVE, CEILING),
    Setting("floor, 5 seeds", LOO, 5, LEAVE, FLOOR),
    Setting("weak and noisy, 5 seeds", LOO, 5, LEAVE, WEAK),
    Setting("15 % of all runs collapse, 5 seeds", LOO, 5, LEAVE, COLLAPSES),
    Setting("5 % of episodes missing, 5 seeds", LOO, 5, LEAVE, missing=0.05),
    Setting("full factorial, 1 seed", "full_factorial", 1, FULL),
    Setting("full factorial, 3 seeds", "full_factorial", 3, FULL),
    Setting("gate_aware, 5 seeds", "gate_aware", 5, FULL),
    # No effect anywhere.
    Setting("null, 2 seeds", LOO, 2, LEAVE, NULL),
    Setting("null, 2 seeds, 15 tasks", LOO, 2, LEAVE, replace(NULL, tasks=15)),
    Setting("null, 5 seeds", LOO, 5, LEAVE, NULL),
    Setting("null, 1 seed", LOO, 1, LEAVE, NULL),
    *(
        Setting(f"null, half of all runs collapse, alike otherwise, {seeds} seeds", LOO, seeds, LEAVE, BY_CHANCE)
        for seeds in (2, 3, 4, 5)
    ),
    # With one seed the truth is that of its runs; without luck of their own their effects are zero.
    Setting("null, 1 seed, runs alike", LOO, 1, LEAVE, replace(NULL, run_sd=0.0)),
    Setting("null, full factorial, 1 seed, runs alike", "full_factorial", 1, FULL, replace(NULL, run_sd=0.0)),
    Setting("null, full factorial, 3 seeds", "full_factorial", 3, ("main",), NULL),
    Setting("null, 5 % of episodes missing, 3 seeds", LOO, 3, LEAVE, NULL, missing=0.05),
    Setting("null, INVALID runs, 5 seeds", LOO, 5, LEAVE, NULL, 0.1, "without_reward"),
    Setting("INVALID runs, full factorial, 3 seeds", "full_factorial", 3, FULL[:2], USUAL, 0.02, "without_reward"),
    # Extended: plain analysis after each seed. What it costs to look is not paid here.
    Setting("null, looked at after seeds 3 to 8, not corrected", LOO, 8, LEAVE, NULL, first_look=3),
    Setting("usual, looked at after seeds 3 to 8, not corrected", LOO, 8, LEAVE, USUAL, first_look=3),
    # Another world: logistic item response, heavy tails, correlated curves.
    Setting("item response, 2 seeds", LOO, 2, LEAVE, ITEMS),
    Setting("item response, 3 seeds", LOO, 3, LEAVE, ITEMS),
    Setting("item response, 5 seeds", LOO, 5, LEAVE, ITEMS),
    Setting("item response, null, 2 seeds", LOO, 2, LEAVE, ITEMS_NULL),
    Setting("item response, null, 5 seeds", LOO, 5, LEAVE, ITEMS_NULL),
    Setting("item response, 25 % of tasks moved, 3 seeds", LOO, 3, LEAVE, FEW_TASKS_MOVED),
    Setting("item response, 25 % of tasks moved, 5 seeds, 15 tasks", LOO, 5, LEAVE, replace(FEW_TASKS_MOVED, tasks=15)),
    Setting("item response, one arm noisier, 3 seeds", LOO, 3, LEAVE, NOISY),
    Setting("item response, null, one arm noisier, 5 seeds", LOO, 5, LEAVE, NOISY_NULL),
    Setting("item response, INVALID runs, 5 seeds", LOO, 5, LEAVE, ITEMS, 0.1, "without_reward"),
    Setting("item response, 15 % of one arm's runs fail, 3 seeds", LOO, 3, LEAVE, failing(0.15)),
    Setting("item response, 15 % of one arm's runs fail, 5 seeds", LOO, 5, LEAVE, failing(0.15)),
    Setting("item response, 30 % of one arm's runs fail, 5 seeds", LOO, 5, LEAVE, failing(0.3)),
    Setting("recorded 8 steps, 15 % of one arm's runs fail, 3 seeds", LOO, 3, LEAVE, failing(0.15, EIGHT)),
    Setting("recorded 8 steps, 15 % of one arm's runs fail, 5 seeds", LOO, 5, LEAVE, failing(0.15, EIGHT)),
    Setting(
        "item response, 30 % of one arm's runs fail, full factorial, 3 seeds", "full_factorial", 3, FULL, failing(0.3)
    ),
    Setting("item response, one_at_a_time, 3 seeds", "one_at_a_time", 3, ("added_alone",), OPEN),
    Setting("item response, short_term, 3 seeds", "short_term", 3, ("added_alone",), OPEN),
    Setting("item response, screening, 3 seeds", "screening", 3, ("main", "interaction"), OPEN),
    Setting("item response, gate_aware, 3 seeds", "gate_aware", 3, FULL, ITEMS),
    Setting("item response, full factorial, 2 seeds", "full_factorial", 2, FULL, ITEMS),
    Setting("item response, as_launched, 5 seeds", "as_launched", 5, FULL, TOKENS),
    Setting("item response, tokenisation, 5 seeds", "tokenisation", 5, FULL, TOKENS),
    # Learning curves of the committed sweeps.
    Setting("recorded 8 steps, 3 seeds", LOO, 3, LEAVE, EIGHT),
    Setting("recorded 8 steps, 5 seeds", LOO, 5, LEAVE, EIGHT),
    Setting("recorded 24 steps, 4 seeds", LOO, 4, LEAVE, TWENTY_FOUR),
    Setting("recorded 24 steps, 4 seeds, 15 tasks", LOO, 4, LEAVE, replace(TWENTY_FOUR, tasks=15)),
)
