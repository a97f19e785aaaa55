"""`harness watch [results/<sweep>]`: the report's page in a browser, while the sweep runs and afterwards."""

import os
from argparse import Namespace
from pathlib import Path

from harness.errors import ConfigError, Exit
from harness.live.server import WatchServer
from harness.live.standing import standing
from harness.records.layout import SweepFiles
from harness.records.load import load_sweep

RESULTS = Path("results")


def run(asked: Namespace) -> int:
    folder = asked.sweep or newest(RESULTS)
    load_sweep(folder)  # or say at once that it is none
    with WatchServer(folder, asked.port) as server:
        print(f"{folder}: {server.url}   (Ctrl-C ends the watching; the sweep goes on)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("The watching has ended." + (" The sweep goes on." if standing(folder).runs else ""))
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
