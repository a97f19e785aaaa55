"""One engine in this process trains all runs of a sweep, interleaved."""

import asyncio
import logging
import sys
from collections.abc import Sequence

from harness.config import RunConfig
from harness.records.layout import SweepFiles
from harness.sweep.cost import StartCost
from harness.sweep.display import Progress
from harness.sweep.plan import Sweep
from harness.sweep.train_runs import only, work


def train_here(sweep: Sweep, runs: Sequence[RunConfig]) -> None:
    asyncio.run(_train(sweep, runs))


async def _train(sweep: Sweep, runs: Sequence[RunConfig]) -> None:
    """Writes reuse.json when it ends, however it ends."""
    logs = sweep.folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    spent = StartCost()
    terminal = sys.stdout
    with (
        open(logs / "harness.log", "a", buffering=1) as log,
        Progress(total_runs=len(runs), total_steps=len(runs) * sweep.config.train.steps) as progress,
    ):
        sys.stdout = log  # ART prints; the display belongs to us
        logging.basicConfig(filename=logs / "harness.log", level=logging.WARNING)
        logging.captureWarnings(True)
        try:
            await work(sweep, only(runs), progress, spent.counts, logs)
        finally:
            sys.stdout = terminal
            spent.add_to(SweepFiles(sweep.folder).reuse_path)
