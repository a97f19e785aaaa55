"""The parts of a sweep that an engine gets at a time.

A unit is all runs of one seed, in all blocks: they share episodes and updates, and with other seeds they share nothing.
Seeds that do not go evenly into the engines are cut, so that no engine idles; runs that take the same gradient steps
stay together. Cutting is never wrong: what another engine computes is found in the store, or waited for.
"""

from collections.abc import Sequence
from itertools import groupby

from harness.factors import ON, Factors, Run

Unit = tuple[Run, ...]


def partition(runs: Sequence[Run], engines: int, factors: Factors) -> list[Unit]:
    """Whole seeds, and the remaining fewer-than-engines seeds in `engines` pieces; the largest need goes first."""
    seeds = sorted({run.seed for run in runs})
    rest = len(seeds) % engines
    whole, cut = seeds[: len(seeds) - rest], seeds[len(seeds) - rest :]
    of_seed = {seed: [run for run in runs if run.seed == seed] for seed in seeds}
    found = [tuple(of_seed[seed]) for seed in whole]
    for number, seed in enumerate(cut):
        found += pieces(of_seed[seed], engines // rest + (number < engines % rest), factors)
    return found


def pieces(runs: Sequence[Run], count: int, factors: Factors) -> list[Unit]:
    """At most `count` parts of the runs of one seed, dealt by what they train: no part is empty.

    Runs that differ only in factors on which no gradient step depends share all of their training. Those that learn
    come first, so that all pieces get some.
    """

    def steps(run: Run) -> tuple[tuple[tuple[bool, str], ...], str]:
        return tuple((run.arm.level(name) != ON, run.arm.level(name)) for name in factors.training), run.block

    chains = [list(chain) for _, chain in groupby(sorted(runs, key=steps), key=steps)]
    dealt = [[run for chain in chains[first::count] for run in chain] for first in range(count)]
    return [tuple(part) for part in dealt if part]
