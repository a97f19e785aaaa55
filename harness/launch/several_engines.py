"""Several engines train the runs of a sweep, wherever they are: their pool, the display, what it cost."""

import asyncio
from collections.abc import Callable, Sequence

from harness.config import RunConfig
from harness.endings import stoppable
from harness.launch.engine_pool import LOSSES, EnginePool, PooledEngine, RunNames
from harness.records.layout import SweepFiles
from harness.records.run_records import RunRecords
from harness.sweep.cost import StartCost
from harness.sweep.display import Progress
from harness.sweep.plan import Sweep, is_completed
from harness.sweep.watch import Watch

LOOK_EVERY = 1.0  # seconds between looks at the records


async def train_on(
    sweep: Sweep, runs: Sequence[RunConfig], units: Sequence[RunNames], make: Sequence[Callable[[], PooledEngine]]
) -> None:
    """Returns when every run has ended. Writes reuse.json when it ends, however it ends.

    make: one maker of engines per place. Raises what the first place met when no place can hold an engine any more.
    """
    spent = StartCost(engines=min(len(units), len(make)))
    settled: set[str] = set()
    steps = len(runs) * sweep.config.train.steps
    with Progress(total_runs=len(runs), total_steps=steps, folder=sweep.folder) as progress:
        watch = Watch(sweep.folder, [config.run.name for config in runs], progress)
        pool = EnginePool(
            units,
            make,
            open_runs=lambda names: tuple(name for name in names if not is_completed(sweep.folder, name)),
            settled=settled.update,
            note=progress.note,
            warn=progress.warn,
            tell=progress.engine,
        )
        progress.note(f"{len(units)} units of work, places for {len(make)} engines; each starts in a minute or so")
        looking = asyncio.create_task(_look(watch, settled))
        try:
            with stoppable(progress.stopping):
                await pool.work()
        finally:
            looking.cancel()
            _give_up(sweep, pool.queue.given_up)
            watch.look(settled | set(pool.queue.given_up))
            spent.elsewhere, spent.silent = pool.spent, pool.silent
            spent.add_to(SweepFiles(sweep.folder).reuse_path)


async def _look(watch: Watch, settled: set[str]) -> None:
    while True:
        await asyncio.sleep(LOOK_EVERY)
        await asyncio.to_thread(watch.look, frozenset(settled))


def _give_up(sweep: Sweep, names: Sequence[str]) -> None:
    for name in names:
        records = RunRecords(SweepFiles(sweep.folder).run(name).folder)
        status = records.status() or {"run": name}
        reason = status.get("error") or "no error of its own was recorded"
        error = f"{LOSSES} engines were lost while this run was with them; {reason}"
        records.set_status(**status | {"state": "failed", "error": error})
