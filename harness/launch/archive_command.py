"""`harness archive results/<sweep>`: a sweep's records in one file that can be committed.

With it goes a sample of rollouts, where one can be taken. What is left of the folder to commit: report, effects,
plan, manifest, figures and records.jsonl.xz.
"""

import sys
from argparse import Namespace
from contextlib import redirect_stdout
from pathlib import Path

from harness.errors import ConfigError, HarnessError
from harness.launch.quiet import quiet
from harness.printed import printed
from harness.records.archive import pack
from harness.records.layout import SweepFiles
from harness.records.load import load_sweep
from harness.records.schema import Record
from harness.sweep.manifest import alone_in


def run(asked: Namespace) -> int:
    folder = asked.sweep
    quiet()
    if not SweepFiles(folder).plan():
        raise ConfigError(f"{folder} is no sweep folder: it has no plan.jsonl. Expected results/<sweep>.")
    with alone_in(folder), redirect_stdout(sys.stderr if asked.json else sys.stdout):
        rollouts = [] if SweepFiles(folder).archived else _sample(folder)
        path = pack(folder, rollouts)
        if SweepFiles(folder).further_rollouts:
            _report_alone(folder)
    kept = len(SweepFiles(folder).rollouts())
    if asked.json:
        print(printed({"archive": str(path), "bytes": path.stat().st_size, "rollouts": kept}))
        return 0
    print(f"{path}: {path.stat().st_size / 1024:,.0f} KiB, {kept} rollouts with their token ids.")
    print("The same sweep started again unpacks it where a run is left to do.")
    return 0


def _report_alone(folder: Path) -> None:
    """Makes the report anew, without the pages beside it, which are not committed."""
    from harness.report.page import write_report

    write_report(load_sweep(folder))


def _sample(folder: Path) -> list[Record]:
    from harness.sweep.sample import sample

    try:
        return sample(folder)
    except HarnessError as error:
        print(f"No sample of rollouts is taken: {error}.")
        return SweepFiles(folder).rollouts()
