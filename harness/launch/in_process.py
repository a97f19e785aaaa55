"""One engine in this process trains all runs of a sweep, interleaved."""

import logging
import sys
from collections.abc import Sequence

from harness.config import RunConfig
from harness.disk import writing
from harness.endings import run_stoppable, stoppable
from harness.launch.log_stream import LogHandler, log_stream
from harness.records.layout import SweepFiles
from harness.sweep.cost import StartCost
from harness.sweep.display import Progress
from harness.sweep.plan import Sweep
from harness.sweep.train_runs import only, work


def train_here(sweep: Sweep, runs: Sequence[RunConfig]) -> None:
    run_stoppable(_train(sweep, runs))


async def _train(sweep: Sweep, runs: Sequence[RunConfig]) -> None:
    """Writes reuse.json when it ends, however it ends."""
    logs = sweep.folder / "logs"
    with writing(logs / "harness.log"):
        logs.mkdir(parents=True, exist_ok=True)
        opened = log_stream(logs / "harness.log")
    spent = StartCost()
    terminal = sys.stdout
    with (
        opened as log,
        Progress(total_runs=len(runs), total_steps=len(runs) * sweep.config.train.steps) as progress,
    ):
        sys.stdout = log  # ART prints; the display belongs to us
        logging.basicConfig(handlers=[LogHandler(logs / "harness.log")], level=logging.WARNING)
        logging.captureWarnings(True)
        try:
            with stoppable(progress.stopping):
                await work(sweep, only(runs), progress, spent.counts, logs)
        finally:
            sys.stdout = terminal
            spent.add_to(SweepFiles(sweep.folder).reuse_path)
