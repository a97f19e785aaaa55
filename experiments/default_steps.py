"""Default learning rate and number of steps, by a rule that sees all_on alone, on seeds that no result reports.

    harness -m seed=100,101,102,103,104 train.learning_rate=7.5e-4,1.5e-3,3e-3 train.steps=48 sweep=defaults
    .venv/bin/python experiments/default_steps.py results/defaults

Written before the sweep that it is applied to. Nothing here may depend on what a fix does: a default chosen where a fix
looks large would make it large. So other arms are not read, and a sweep with seeds below 100 is refused.

Per rate, from the mean curve over seeds (reference validation; δ is the sweep's `stats.margin`, MOVES is .1 reward):

    plateau    mean reward over the validations in the last third of the steps
    settles    the first validation from which on every one lies within ± δ of the plateau
    falls      the largest fall of a single run: its best mean of three validations in a row minus its mean over the
               last third. The mean over seeds hides one run that broke

1. A rate is out if it does not learn (plateau less than MOVES above the first validation), if a run falls by more than
   MOVES, or if it settles in the last third or never: then the sweep cannot tell whether it has, and has to be longer.
   A rate at which the loop with all fixes on breaks says which arms break earlier, not what a fix is good for.
2. Rates whose plateau is within δ of the best one of the rest are equally good: a smaller difference is what the sweep
   calls next to nothing. Of these the one that settles first, since a step is what a sweep costs. Of several the lowest
   rate, which is the farther from breaking.
3. Steps: half as many again as it takes that rate to settle, rounded up to a multiple of four validation intervals. So
   the last third of a sweep begins where all_on has settled; that is what a report asks before it says "no effect"
   (harness/stats/settling.py). Four, so that halves and quarters of the steps are validated.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.errors import ConfigError
from harness.records.load import SweepRecords, load_sweep
from harness.stats.outcomes import Outcomes, outcomes_of
from harness.stats.verdicts import MOVES

Array = np.ndarray
ARM, FIRST_SEED, IN_A_ROW, INTERVALS = "all_on", 100, 3, 4
TINY = 1e-9


@dataclass(frozen=True)
class RateCurve:
    """What the rule reads of one rate. settles: a step; None: not before the last third."""

    rate: float
    seeds: int
    first: float
    plateau: float
    falls: float
    settles: int | None
    interval: int  # steps from one validation to the next
    margin: float

    @property
    def out(self) -> str:
        """Why the rate is not chosen whatever the others do; or nothing."""
        if self.plateau < self.first + MOVES - TINY:
            return "does not learn"
        if self.falls > MOVES + TINY:
            return "a run breaks"
        return "" if self.settles is not None else "not settled: longer sweep"


@dataclass(frozen=True)
class Defaults:
    rate: float
    steps: int


def curve_of(rate: float, steps: Sequence[int], rewards_N_S: Array, margin: float) -> RateCurve:
    """rewards: mean over tasks, of every run at every validation. Raises ConfigError with too few validations."""
    at = np.array(steps)
    late = at > at[0] + 2 / 3 * (at[-1] - at[0])
    if late.sum() < IN_A_ROW:
        raise ConfigError(f"{len(at)} validations: the last third needs {IN_A_ROW} or more. Validate more often.")
    mean = rewards_N_S.mean(axis=0)
    plateau = float(mean[late].mean())
    windows = np.lib.stride_tricks.sliding_window_view(rewards_N_S, IN_A_ROW, axis=1).mean(axis=2)
    falls = float((windows.max(axis=1) - rewards_N_S[:, late].mean(axis=1)).max())
    outside = np.flatnonzero(np.abs(mean - plateau) > margin + TINY)
    start = int(outside[-1]) + 1 if len(outside) else 0
    settles = int(at[start]) if start < len(at) and not late[start] else None
    interval = int(np.diff(at).max())
    return RateCurve(rate, len(rewards_N_S), float(mean[0]), plateau, falls, settles, interval, margin)


def choose(curves: Sequence[RateCurve]) -> Defaults | None:
    """None where every rate is out."""
    kept = [c for c in curves if not c.out]
    if not kept:
        return None
    best = max(c.plateau for c in kept)
    equal = [c for c in kept if c.plateau >= best - c.margin - TINY]
    chosen = min(equal, key=lambda c: (c.settles or 0, c.rate))
    block = INTERVALS * chosen.interval
    return Defaults(chosen.rate, max(1, math.ceil(1.5 * (chosen.settles or 0) / block - TINY)) * block)


def curves_of(sweep: SweepRecords) -> list[RateCurve]:
    """One per block, by rate. Raises ConfigError for a sweep that the rule must not or cannot read."""
    out = []
    for block in sweep.blocks:
        part = sweep.of_block(block)
        outcomes = outcomes_of(part)
        rate = (part.manifest.get("config") or {}).get("train", {}).get("learning_rate")
        if rate is None:
            raise ConfigError(f"{sweep.name} does not say at which rate {block or 'it'} ran (train.learning_rate).")
        out.append(curve_of(float(rate), outcomes.steps, _all_on(sweep, outcomes), outcomes.margin))
    return sorted(out, key=lambda c: c.rate)


def _all_on(sweep: SweepRecords, outcomes: Outcomes) -> Array:
    """(N, S) mean rewards of the runs of all_on."""
    if reported := [n for n in outcomes.seeds if n < FIRST_SEED]:
        seeds = ", ".join(map(str, reported))
        raise ConfigError(
            f"{sweep.name} has seed {seeds}, which results report. Run it with seeds from {FIRST_SEED} on."
        )
    place = next((i for i, arm in enumerate(outcomes.arms) if arm.name == ARM), None)
    runs = outcomes.counts("area")[place] if place is not None else np.zeros(0, dtype=bool)
    if place is None or not runs.any():
        raise ConfigError(f"{sweep.name} has no complete run of {ARM}.")
    means: Array = np.nanmean(outcomes.rewards_A_N_S_T[place][runs], axis=2)
    return means


def table(curves: Sequence[RateCurve], chosen: Defaults | None) -> str:
    lines = ["| rate | seeds | first | plateau | settles at step | largest fall of a run | |", "|---" * 7 + "|"]
    for c in curves:
        word = "chosen" if chosen and c.rate == chosen.rate else c.out
        settles = "–" if c.settles is None else str(c.settles)
        lines.append(
            f"| {c.rate:g} | {c.seeds} | {c.first:.3f} | {c.plateau:.3f} | {settles} | {c.falls:.3f} | {word} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", type=Path, nargs="+", help="results/<sweep>: rates as blocks, or a sweep each")
    options = parser.parse_args()
    try:
        curves = sorted((c for folder in options.sweeps for c in curves_of(load_sweep(folder))), key=lambda c: c.rate)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    chosen = choose(curves)
    print(table(curves, chosen))
    print(f"\ntrain.learning_rate={chosen.rate:g} train.steps={chosen.steps}" if chosen else "\nNo rate is left.")
    return 0 if chosen else 1


if __name__ == "__main__":
    sys.exit(main())
