"""The learning rate of a sweep over rates whose validations are highest on average.

    python -m experiments.best_rate SWEEP

The table goes to standard error, the rate to standard output, as `train.learning_rate=…` takes it. Of equal rates the
smaller one is taken. A run that did not end has no mean, and a rate whose runs all did not end is left out.
"""

import argparse
import sys
from pathlib import Path
from statistics import mean

from harness.records.load import SweepRecords, load_sweep

BLOCK = "learning_rate="  # how the runs of a rate are named in the plan


def means(sweep: SweepRecords) -> dict[float, float]:
    """By rate, in ascending order, the mean validation reward over the steps of its runs."""
    found: dict[float, list[float]] = {}
    for run in sweep.runs:
        rewards = [one.reference for one in run.validations if one.reference is not None]
        if run.state == "completed" and run.block.startswith(BLOCK) and rewards:
            found.setdefault(float(run.block.removeprefix(BLOCK)), []).append(mean(rewards))
    return {rate: mean(found[rate]) for rate in sorted(found)}


def best(by_rate: dict[float, float]) -> float:
    return max(by_rate, key=lambda rate: (by_rate[rate], -rate))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sweep", type=Path, help="a folder of results")
    by_rate = means(load_sweep(parser.parse_args().sweep))
    if not by_rate:
        print("No run of this sweep has a learning rate of its own: give -m train.learning_rate=A,B.", file=sys.stderr)
        return 1
    for rate, reward in by_rate.items():
        print(f"{rate:g}  {reward:.3f}", file=sys.stderr)
    print(f"{best(by_rate):g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
