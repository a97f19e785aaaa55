"""`harness report results/<sweep>`: make the report of a sweep again, from its records; of several, compare them."""

import json
from argparse import Namespace
from typing import Any

from rich.console import Console

from harness.printed import printed
from harness.records.load import SweepRecords, load_sweep
from harness.records.looks import record_look
from harness.report import formats
from harness.report.arm_rows import arm_rows
from harness.report.arm_table import print_report
from harness.report.compare import as_data, compare, parts
from harness.report.page import write_report
from harness.report.verdict import verdict_sentences
from harness.stats.sweep_statistics import SweepStatistics, effects_json, statistics_of


def run(asked: Namespace) -> int:
    for folder in asked.sweeps:
        record_look(folder)
    sweeps = [load_sweep(folder) for folder in asked.sweeps]
    if len(sweeps) > 1:
        return _compare(sweeps, asked.json)
    (sweep,) = sweeps
    if asked.json:
        print(printed(report_data(sweep, statistics_of(sweep)) | {"report": str(write_report(sweep))}))
        return 0
    print_report(sweep)
    print(write_report(sweep))
    return 0


def _compare(sweeps: list[SweepRecords], as_json: bool) -> int:
    found = compare(sweeps)
    if as_json:
        print(printed(as_data(found)))
        return 0
    console = Console(markup=False, emoji=False)
    console = console if console.is_terminal else Console(width=160, markup=False, emoji=False)
    for part in parts(found):
        console.print(part, highlight=False)
    return 0


def report_data(sweep: SweepRecords, found: SweepStatistics) -> dict[str, Any]:
    """What the report says, ready for JSON; `effects` is effects.json."""
    every = sweep.with_controls
    return {
        "sweep": sweep.name,
        "baseline": sweep.baseline,
        "verdict": verdict_sentences(sweep.main, found.effects),
        "arms": [vars(row) for row in arm_rows(every)],
        "invalid": [{"run": run, "why": why} for run, why in formats.invalid_lines(every)],
        "failed": [{"run": run, "why": why} for run, why in formats.failed_lines(every)],
        "effects": json.loads(effects_json(found)),
    }
