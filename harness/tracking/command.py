"""`python -m harness track results/<sweep>`: write all runs of a sweep to W&B, from their records."""

import argparse
import sys

from harness.errors import HarnessError
from harness.records.load import RecordedRun, SweepRecords, load_sweep
from harness.tracking.background import drain
from harness.tracking.tracker import Tracker, resolve_mode


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m harness track", description="Write all runs of a sweep to W&B, from its records."
    )
    parser.add_argument("sweep", help="results/<sweep>")
    parser.add_argument("--mode", choices=("auto", "online", "offline"), default="auto")
    asked = parser.parse_args(arguments)
    try:
        sweep = load_sweep(asked.sweep)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 2
    runs = [run for run in sweep.runs if run.state != "missing"]
    for run in runs:
        write_run(run, sweep, asked.mode)
    if not drain(600):
        return 1
    mode = resolve_mode(asked.mode)
    print(f"{len(runs)} runs of {sweep.name} written to W&B, {mode}.")
    if mode == "offline":
        print(f"To upload them: wandb sync {sweep.folder}/wandb/offline-run-*")
    return 0


def write_run(run: RecordedRun, sweep: SweepRecords, mode: str) -> None:
    """Write one run to W&B from its records alone."""
    config = sweep.config_of(run)
    tracker = Tracker.start(run.name, run.arm, run.seed, sweep.name, config, run.levels, sweep.folder, mode)
    for step in run.steps:
        tracker.step(step)
    for validation in run.validations:
        tracker.validation(validation.line())
    tracker.checks(check.line() for check in run.checks)
    validity = None if run.state != "completed" else "valid" if run.valid else "INVALID"
    tracker.finish(run.state, validity, (f"{factor}: {reading}" for factor, reading in run.invalid))
