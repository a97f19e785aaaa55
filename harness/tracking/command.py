"""`harness track results/<sweep>`: write all runs of a sweep to W&B, from their records."""

from argparse import Namespace

from harness.records.links import refuse_links
from harness.records.load import RecordedRun, SweepRecords, load_sweep
from harness.tracking.background import drain
from harness.tracking.tracker import Tracker, resolve_mode


def run(asked: Namespace) -> int:
    refuse_links(asked.sweep)
    sweep = load_sweep(asked.sweep)
    runs = [run for run in sweep.with_controls.runs if run.state != "missing"]
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
    config = {"baseline": sweep.baseline} | sweep.config_of(run)
    tracker = Tracker.start(
        run.name, run.arm, run.seed, sweep.name, config, run.levels, sweep.folder, mode, block=run.block
    )
    for step in run.steps:
        tracker.step(step)
    for validation in run.validations:
        tracker.validation(validation.line())
    tracker.checks(check.line() for check in run.checks)
    validity = None if run.state != "completed" else "valid" if run.valid else "INVALID"
    tracker.finish(run.state, validity, (f"{factor}: {reading}" for factor, reading in run.invalid))
