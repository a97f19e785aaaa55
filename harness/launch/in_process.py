"""One engine in this process trains all runs of a sweep, interleaved; one that is lost is replaced."""

import logging
import sys
from collections.abc import AsyncIterator, Sequence

from harness.config import RunConfig
from harness.disk import writing
from harness.endings import run_stoppable, stoppable
from harness.errors import EngineError
from harness.launch.engine_pool import STARTS
from harness.log_stream import LogHandler, log_stream
from harness.records.layout import SweepFiles
from harness.records.store import Store
from harness.sweep.cost import StartCost
from harness.sweep.display import Progress
from harness.sweep.plan import Sweep
from harness.sweep.train_runs import work


def train_here(sweep: Sweep, runs: Sequence[RunConfig], store: Store | None = None) -> None:
    """Raises EngineError when the engine does not start, or STARTS were lost in a row without a run ended.

    store: another one than the sweep's own
    """
    run_stoppable(_train(sweep, runs, store))


async def _train(sweep: Sweep, runs: Sequence[RunConfig], store: Store | None) -> None:
    """Writes reuse.json when it ends, however it ends."""
    logs = sweep.folder / "logs"
    with writing(logs / "harness.log"):
        logs.mkdir(parents=True, exist_ok=True)
        opened = log_stream(logs / "harness.log")
    spent = StartCost()
    terminal, steps = sys.stdout, len(runs) * sweep.config.train.steps
    with opened as log, Progress(total_runs=len(runs), total_steps=steps, folder=sweep.folder) as progress:
        sys.stdout = log  # ART prints; the display belongs to us
        logging.basicConfig(handlers=[LogHandler(logs / "harness.log", delay=True)], level=logging.WARNING)
        logging.captureWarnings(True)
        try:
            losses = 0
            while left := [config for config in runs if config.run.name not in progress.over]:
                batch = _Batch(left)
                try:
                    with stoppable(progress.stopping):
                        await work(sweep, batch.once(), progress, spent.counts, logs, store)
                    return
                except EngineError as error:
                    losses = 0 if any(config.run.name in progress.over for config in left) else losses + 1
                    if not batch.asked or losses == STARTS:
                        raise
                    progress.note(f"the engine is lost: {error} Another one starts.")
        finally:
            sys.stdout = terminal
            spent.add_to(SweepFiles(sweep.folder).reuse_path)


class _Batch:
    """Runs for an engine. asked: whether it came to be ready for them."""

    def __init__(self, runs: Sequence[RunConfig]) -> None:
        self.runs, self.asked = runs, False

    async def once(self) -> AsyncIterator[Sequence[RunConfig]]:
        self.asked = True
        yield self.runs
