"""The parts of a sweep that an engine gets at a time.

A unit is all runs of one seed: they share episodes and updates, and with other seeds they share nothing. Seeds that
do not go evenly into the engines are cut, so that no engine idles; runs that take the same gradient steps stay
together. Cutting is never wrong: what another engine computes is found in the store, or waited for.
"""

from collections.abc import Sequence
from itertools import groupby

from harness.factors import Run

# `split` changes neither episodes nor updates, so runs that differ in it alone share all of their training.
TRAINING = ("exploration", "logprobs", "endpoint", "tools", "reward")

Unit = tuple[Run, ...]


def units(runs: Sequence[Run], engines: int) -> list[Unit]:
    """Whole seeds, and the remaining fewer-than-engines seeds in `engines` pieces; the largest need goes first."""
    seeds = sorted({run.seed for run in runs})
    rest = len(seeds) % engines
    whole, cut = seeds[: len(seeds) - rest], seeds[len(seeds) - rest :]
    of_seed = {seed: [run for run in runs if run.seed == seed] for seed in seeds}
    found = [tuple(of_seed[seed]) for seed in whole]
    for number, seed in enumerate(cut):
        found += pieces(of_seed[seed], engines // rest + (number < engines % rest))
    return found


def pieces(runs: Sequence[Run], count: int) -> list[Unit]:
    """At most `count` parts of the runs of one seed, dealt by what they train: no part is empty."""
    chains = [list(chain) for _, chain in groupby(sorted(runs, key=_training), key=_training)]
    dealt = [[run for chain in chains[first::count] for run in chain] for first in range(count)]
    return [tuple(part) for part in dealt if part]


def _training(run: Run) -> tuple[bool, ...]:
    """Equal for runs that take the same gradient steps; those that learn come first, so that all pieces get some."""
    return tuple(run.arm.level(factor) == "off" for factor in TRAINING)
