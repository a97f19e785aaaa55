"""`harness track results/<sweep>`: write all runs of a sweep to W&B, from their records, and its report."""

import sys
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from harness.disk import check_writable
from harness.errors import ConfigError, Exit, StoreError
from harness.printed import printed
from harness.records.json_files import is_damaged
from harness.records.links import refuse_links
from harness.records.load import RecordedRun, SweepRecords, load_sweep
from harness.records.schema import validity_word
from harness.tracking.arm_effects import arm_effects, read_effects, run_effects
from harness.tracking.background import Background
from harness.tracking.report_run import ReportRun, effects_summary, is_reported
from harness.tracking.tables import effects_table
from harness.tracking.tracker import Tracker, project_of, resolve_mode

RUN_SECONDS = 60.0  # for W&B to take a whole run


def run(asked: Namespace) -> int:
    """Ends with 1 as soon as W&B does not take a run, or the report."""
    refuse_links(asked.sweep)
    mode = resolve_mode(asked.mode)
    if mode == "off":
        raise ConfigError("WANDB_MODE says that nothing goes to W&B. Give --mode online or --mode offline.")
    sweep = load_sweep(asked.sweep)
    check_writable(sweep.folder / "wandb")  # W&B itself would write to a temporary folder and not say so
    runs = [run for run in sweep.with_controls.runs if run.state != "missing"]
    reported = is_reported(sweep.folder)
    _check_effects(sweep)
    addresses: list[str] = []

    def tell_group(address: str) -> None:
        addresses.append(address)
        print(f"W&B: {address}", file=sys.stderr if asked.json else sys.stdout)

    background = Background(sweep.folder, tell=lambda _: None, tell_group=tell_group)
    try:
        written = _write(sweep, runs, mode, background)
        if reported and not background.why:
            project = project_of(next((sweep.config_of(run) for run in runs), {}))
            shown = ReportRun(sweep, mode, project, background)
            shown.finish()
            background.wait_written(shown.id, RUN_SECONDS)
    finally:
        background.close()
    if background.why:
        print(
            f"harness track: W&B ({mode}) took {written} of {len(runs)} runs of {sweep.name}, then failed: "
            f"{background.why}. The same command writes all of them again.",
            file=sys.stderr,
        )
        return Exit.FAILED
    if asked.json:
        said = {"sweep": sweep.name, "mode": mode, "runs": len(runs), "report": reported, "addresses": addresses}
        print(printed(said))
        return Exit.DONE
    print(f"{len(runs)} runs of {sweep.name}{' and its report' * reported} written to W&B, {mode}.")
    if not reported:
        print(f"There is no report to show yet: `python -m harness report {sweep.folder}` makes it.")
    if mode == "offline":
        print(f"To upload them: wandb sync {sweep.folder}/wandb/offline-run-*")
    return Exit.DONE


def _check_effects(sweep: SweepRecords) -> None:
    """Raises StoreError where effects.json is none that a report wrote."""
    path, effects = sweep.folder / "effects.json", read_effects(sweep)
    try:
        if is_damaged(path):
            raise ValueError
        for use in (effects_table, effects_summary, lambda written: list(arm_effects(written))):
            use(effects)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise StoreError(
            f"{path} is not what a report writes. Make it anew, then track the sweep again: "
            f"`python -m harness report {sweep.folder}`."
        ) from error


def _write(sweep: SweepRecords, runs: Sequence[RecordedRun], mode: str, background: Background) -> int:
    """Run after run, until W&B does not take one; how many it took."""
    effects = run_effects(sweep)
    for written, run in enumerate(runs):
        tracker = write_run(run, sweep, mode, background, effects.get(run.name))
        if not background.wait_written(tracker.id, RUN_SECONDS):
            return written
    return len(runs)


def write_run(
    run: RecordedRun,
    sweep: SweepRecords,
    mode: str,
    background: Background,
    effects: Mapping[str, Any] | None = None,
) -> Tracker:
    """Write one run to W&B from its records alone. effects: as of `Tracker.finish`"""
    config = {"baseline": sweep.baseline} | sweep.config_of(run)
    tracker = Tracker.start(
        background,
        run.name,
        run.arm,
        run.seed,
        sweep.name,
        config,
        run.levels,
        sweep.folder,
        mode,
        project_of(config),
        run.block,
    )
    lines: dict[int, list[Callable[[], None]]] = defaultdict(list)
    for step in run.steps:
        lines[step["step"]].append(partial(tracker.step, step))
    for check in run.checks:
        lines[check.step].append(partial(tracker.checks, [check.line()]))
    for validation in run.validations:
        lines[validation.step].append(partial(tracker.validation, validation.line()))
    for number in sorted(lines):
        for write in lines[number]:
            write()
    word = validity_word(run.valid, run.not_shown) if run.state == "completed" else None
    tracker.finish(run.state, word, (f"{factor}: {reading}" for factor, reading in run.invalid), effects)
    return tracker
