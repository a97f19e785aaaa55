"""Carries out a sweep: plan, train where a launcher says, judge, report."""

from collections.abc import Callable, Sequence

from harness.config import RunConfig, SweepConfig
from harness.errors import Exit, visible
from harness.printed import printed
from harness.records.layout import SweepFiles
from harness.records.load import load_sweep
from harness.records.looks import record_look
from harness.records.run_records import RunRecords
from harness.records.schema import ValidationRecord
from harness.records.store import remove_strays
from harness.sweep.estimate import alias_lines, plan_data, plan_lines
from harness.sweep.manifest import alone_in, record_end
from harness.sweep.plan import Sweep, fit_lines, is_completed, planned, preview, work_of
from harness.sweep.sample import keep_sample
from harness.sweep.undo import as_before_if_refused
from harness.tracking import given_up, resolve_mode, tracked
from harness.tracking.background import REPORT_SECONDS
from harness.validity import unequal_starts

Train = Callable[[Sweep, Sequence[RunConfig]], None]  # returns when every run has ended


def execute(config: SweepConfig, train: Train, engines: int | None = None, design: str | None = None) -> Exit:
    """Runs a sweep, or what is left of it. Everything wrong with the input is raised as ConfigError before a run
    starts, and the folder is then as it was.

    train: where the engines are: `launch.local`, `launch.ray_launcher`, `launch.slurm_launcher`
    engines: as many as it would use at once, None if it learns that when it starts; for the plan's estimate only
    design: name of the ablation, kept with the sweep
    """
    sweep = preview(config)
    if config.plan_only == "json":
        own = {"folder": str(sweep.folder), "warnings": list(sweep.warnings), "open_runs": _open_runs(sweep)}
        print(printed(plan_data(work_of(sweep, engines, design)) | own))
        return Exit.DONE
    if config.plan_only:
        _announce(sweep)
        print("\n".join([*plan_lines(work_of(sweep, engines, design)), *fit_lines(sweep)]))
        return Exit.DONE
    with alone_in(sweep.folder):
        with as_before_if_refused(sweep.folder, [each.run.name for each in config.runs]):
            sweep = planned(sweep, design)
            open_runs = _announce(sweep)
            if aliases := alias_lines(work_of(sweep, engines, design).arms):
                print("\n".join(aliases), flush=True)
            if open_runs:
                given_up.try_again(sweep.folder)
                _train(sweep, open_runs, train)
                keep_sample(sweep.folder)
        record_look(sweep.folder)
    report(sweep, at_wandb=bool(open_runs))
    return _exit(sweep)


def report(sweep: Sweep, at_wandb: bool) -> None:
    """Of a sweep that has ended. at_wandb: there too, where the sweep is tracked"""
    from harness.report.arm_table import print_report  # a plan need not wait for the statistics' libraries
    from harness.report.page import write_report
    from harness.tracking.report_run import ReportRun

    tracking = sweep.config.tracking
    mode = tracking.mode if at_wandb else "off"
    with tracked(sweep.folder, resolve_mode(mode) != "off", _say, seconds=REPORT_SECONDS) as background:
        records = load_sweep(sweep.folder)
        shown = ReportRun(records, mode, tracking.project, background)
        print_report(records)
        write_report(records)
        print(f"report: {sweep.folder / 'report.html'}   plots: {sweep.folder / 'figures'}", flush=True)
        shown.finish(runs_ended=True)


def _say(line: str) -> None:
    print(line, flush=True)


def _open_runs(sweep: Sweep) -> list[str]:
    return [each.run.name for each in sweep.config.runs if not is_completed(sweep.folder, each.run.name)]


def _announce(sweep: Sweep) -> list[RunConfig]:
    """Says what is to do; the runs that are not completed."""
    config = sweep.config
    open_runs = [each for each in config.runs if not is_completed(sweep.folder, each.run.name)]
    print(
        f"{sweep.folder}: {len(config.runs)} runs planned, {len(open_runs)} to do "
        f"({config.train.steps} steps each, domain {sweep.domain.name}, policy {sweep.policy.name}, "
        f"baseline {config.baseline})",
        flush=True,
    )
    for warning in sweep.warnings:
        print(f"warning: {visible(warning)}", flush=True)
    return open_runs


def _train(sweep: Sweep, open_runs: Sequence[RunConfig], train: Train) -> None:
    files = SweepFiles(sweep.folder)
    for each in open_runs:
        if files.status(each.run.name).get("state") == "completed":
            print(f"{each.run.name} has lost lines of its records: it is made again, from the store.", flush=True)
    remove_strays(sweep.folder)
    try:
        for part, runs in sweep.parts(open_runs):
            train(part, runs)
    finally:
        _refute_unequal_starts(sweep)
        record_end(sweep.folder)


def _exit(sweep: Sweep) -> Exit:
    """FAILED if a run of this command has not completed, INVALID if one has and must not be read."""
    files = SweepFiles(sweep.folder)
    found = [files.content(each.run.name).status or {} for each in sweep.config.runs]
    if any(status.get("state") != "completed" for status in found):
        return Exit.FAILED
    return Exit.INVALID if any(status.get("validity") == "INVALID" for status in found) else Exit.DONE


def _refute_unequal_starts(sweep: Sweep) -> None:
    """Marks runs INVALID whose step-0 reference validation is not that of the other runs of their seed and policy.

    In 16 bits the same policy in another batch rounds another way, and a greedy episode may turn with it: there the
    check of the base's log-probs before a run counts as completed stands alone.
    """
    files = SweepFiles(sweep.folder)
    alike: dict[tuple[str, int], list[str]] = {}
    for each in sweep.config.runs:
        policy = sweep.policies[each.run.block]
        if policy.dtype == "float32":
            alike.setdefault((policy.digest, each.run.seed), []).append(each.run.name)
    for names in alike.values():
        lines = {name: files.content(name).validation for name in names}
        starts = {name: ValidationRecord.of(found[0]).by_task for name, found in lines.items() if found}
        for name, reading in unequal_starts(starts).items():
            records = RunRecords(files.run(name).folder)
            status = records.status() or {"run": name}
            others = [i for i in status.get("invalid", []) if i["factor"] != "engine"]
            invalid = [*others, {"factor": "engine", "reading": reading}]
            records.set_status(**status | {"validity": "INVALID", "invalid": invalid})
