"""What a sweep's runs did step by step: training success, validation, log-prob gaps; and how long updates took.

    .venv/bin/python experiments/training_curves.py results/h100_retail_wrong_decisions --pass-steps 3

Raw success in training is the mean over `--pass-steps` steps at a time (as many as make one pass over the training
tasks). The gap is that of trainer and sampler at a step's first update, in nats. Reads all runs, finished or not.
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

from harness.records.load import RecordedRun, load_sweep
from harness.records.schema import StepRecord


def passes(steps: Sequence[StepRecord], length: int) -> list[float]:
    """Mean raw success of each `length` steps in a row; a rest that is shorter is left out."""
    values = [reward for step in steps if (reward := step["raw_reward"]) is not None]
    return [statistics.mean(values[i : i + length]) for i in range(0, len(values) - length + 1, length)]


def row(name: str, runs: Sequence[RecordedRun], length: int) -> str:
    """A line of the table: means over the runs for success, all of them for the rest."""
    found = [passes(run.steps, length) for run in runs]
    trained = " ".join(f"{statistics.mean(column):.2f}" for column in zip(*found, strict=False))
    reference = "; ".join(
        " ".join(f"{v.step}: {v.reference:.2f}" for v in run.validations if v.reference is not None) for run in runs
    )
    gaps = [[gap for s in run.steps if (gap := s.get("logprob_gap")) is not None] for run in runs]
    every = [gap for each in gaps for gap in each]
    last = ", ".join(f"{each[-1]:.4f}" for each in gaps if each)
    spread = f"{min(every):.4f}-{max(every):.4f}, last {last}" if every else "–"
    return f"| {name} | {trained} | {reference} | {spread} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="results/<sweep>")
    parser.add_argument("--pass-steps", type=int, default=1, help="steps that are averaged")
    options = parser.parse_args()
    sweep = load_sweep(options.sweep)
    print(
        f"| arm | raw success in training, by {options.pass_steps} steps | reference validation, by seed | gap |\n"
        + "|---" * 4
        + "|"
    )
    for arm in sweep.arms:
        print(row(arm, sweep.runs_of(arm), options.pass_steps))
    own = [s["trainer"] for run in sweep.runs for s in run.steps if s.get("trainer") and not s["update_shared_with"]]
    if own:
        seconds = statistics.median(t["seconds"] for t in own)
        speed = statistics.median(t["tokens"] / t["seconds"] for t in own)
        print(f"\n{len(own)} updates computed: {seconds:.1f} s and {speed:,.0f} tokens/s (medians)")


if __name__ == "__main__":
    main()
