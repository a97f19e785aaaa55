"""`harness watch [results/<sweep>]`: the report's page in a browser, while the sweep runs and afterwards."""

import os
import sys
from argparse import Namespace
from pathlib import Path

from harness.errors import ConfigError, Exit
from harness.live.server import WatchServer
from harness.live.standing import standing
from harness.printed import printed
from harness.records.layout import SweepFiles
from harness.records.load import load_sweep

RESULTS = Path("results")
CTRL_C = "Ctrl-C ends the watching; the sweep goes on"


def run(asked: Namespace) -> int:
    folder = asked.sweep or newest(RESULTS)
    load_sweep(folder)  # or say at once that it is none
    with WatchServer(folder, asked.port) as server:
        said = printed({"url": server.url, "sweep": str(folder), "pid": os.getpid()}, indent=None)  # read by the line
        try:
            print(said if asked.json else f"{folder}: {server.url}   ({CTRL_C})", flush=True)
            server.serve_forever()
        except KeyboardInterrupt:
            ended = "The watching has ended." + (" The sweep goes on." if standing(folder).runs else "")
            print(ended, file=sys.stderr if asked.json else sys.stdout)
    return Exit.DONE


def newest(results: Path) -> Path:
    """The sweep that said or wrote something last. Raises ConfigError where there is none."""
    sweeps = {path.parent: _written(SweepFiles(path.parent)) for path in results.glob("*/plan.jsonl")}
    if not sweeps:
        raise ConfigError(
            f"No sweep is in {results.absolute()}. Name its folder: `harness watch FOLDER`. "
            "`harness +ablation=smoke` makes one."
        )
    return max(sweeps, key=lambda folder: (standing(folder).runs, sweeps[folder], folder.name))


def _written(files: SweepFiles) -> float:
    paths = (files.plan_path, files.manifest_path, files.reuse_path, files.now_path)
    return max((os.path.getmtime(path) for path in paths if path.exists()), default=0.0)
