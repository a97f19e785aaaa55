"""One engine works on the runs that it is given: it starts, trains them interleaved, records them, ends."""

import asyncio
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.backend import Backend, build
from harness.config import RunConfig
from harness.env import load_environment
from harness.episode import same_rollout
from harness.errors import HarnessError, visible
from harness.records.layout import SweepFiles
from harness.records.run_records import RunRecords
from harness.records.store import Store
from harness.sweep.display import Progress
from harness.validity import ended_early, findings, invalid_factors, unjudged

if TYPE_CHECKING:
    from harness.player_pool import PlayerPool
    from harness.sweep.plan import Sweep
    from harness.sweep.runner import Runner


Batches = AsyncIterable[Sequence[RunConfig]]

STARTING = {
    "shared": "starting the vLLM server",
    "art_local": "stock ART: each run starts a vLLM server and a trainer of its own, one run after another",
}


async def only(runs: Sequence[RunConfig]) -> AsyncIterator[Sequence[RunConfig]]:
    """One batch."""
    yield runs


async def work(sweep: "Sweep", batches: Batches, progress: Progress, counts: Counter[str], logs: Path) -> None:
    """Trains the runs on one engine. A run that fails is recorded as failed and stops no other.

    batches: asked for the first one when the engine is ready, for the next one when every run of the last has ended
    counts: where the store counts what was asked, computed and shared; logs: this engine's folder
    Raises EngineError when the engine cannot start or is gone: no other run can go on without it.
    """
    config = sweep.config
    store = Store(
        SweepFiles(sweep.folder).store,
        config.reuse.enabled,
        config.reuse.audit,
        same={"episodes": same_rollout},
        counts=counts,
    )
    progress.note(STARTING[config.backend.kind])
    # torch, art, litellm and wandb load inside, so that planning, help and errors stay quick.
    async with _players(sweep, logs) as players, build(config, sweep.policy, sweep.folder, store, logs) as backend:
        await _interleave(sweep, batches, backend, store, players, progress)


@asynccontextmanager
async def _players(sweep: "Sweep", logs: Path) -> AsyncIterator["PlayerPool | None"]:
    """The processes that play the episodes, on their way up; None where this process does."""
    config = sweep.config
    count = config.rollout.processes(config.backend.on_gpu)
    if not count:
        yield None
        return
    from harness.player_pool import PlayerPool

    load = partial(load_environment, config.env.source)
    players = PlayerPool(count, load, sweep.domain.digest, config.backend.requests, logs / "players.log")
    starting = asyncio.create_task(players.start())  # beside the engine; the first episode waits for it
    try:
        yield players
    finally:
        await asyncio.gather(starting, return_exceptions=True)
        await players.close()


async def _interleave(
    sweep: "Sweep",
    batches: Batches,
    backend: Backend,
    store: Store,
    players: "PlayerPool | None",
    progress: Progress,
) -> None:
    from harness.sweep.runner import Runner
    from harness.tracking import drain

    runner = Runner.build(sweep, backend, store, players)
    places = asyncio.Semaphore(backend.runs_at_once or len(sweep.config.runs))
    async for runs in batches:
        try:
            async with asyncio.TaskGroup() as group:
                for config in runs:
                    group.create_task(_placed(places, sweep, config, runner, progress))
        except BaseExceptionGroup as errors:  # except* wraps what is raised in it before Python 3.11.4
            ours, others = errors.split(HarnessError)
            if ours is None or others is not None:
                raise
            raise _first(ours) from None
    await asyncio.to_thread(drain)


async def _placed(
    places: asyncio.Semaphore, sweep: "Sweep", config: RunConfig, runner: "Runner", progress: Progress
) -> None:
    async with places:
        await _run(sweep, config, runner, progress)


async def _run(sweep: "Sweep", config: RunConfig, runner: "Runner", progress: Progress) -> None:
    """One run with its records and its W&B view."""
    from harness.tracking import Tracker

    run = config.run
    tracker = Tracker.start(
        run_name=run.name,
        arm=run.arm.name,
        seed=run.seed,
        sweep=sweep.name,
        config=sweep.config.resolved(config),
        levels=run.arm.as_dict,
        dir=sweep.folder,
        mode=sweep.config.tracking.mode,
        block=run.block,
    )
    views: dict[str, Callable[[dict[str, Any]], None]] = {
        "steps": tracker.step,
        "validation": tracker.validation,
        "checks": lambda line: tracker.checks([line]),
    }
    records = RunRecords(
        SweepFiles(sweep.folder).run(run.name).folder,
        watch=lambda name, line: views[name](line),
        anew=not (sweep.config.reuse.enabled and runner.backend.replays),
    )
    started = time.perf_counter()
    progress.start_run(run.name)
    records.set_status(run=run.name, state="running")
    try:
        checks, base_gap = await runner.run(config, records, progress)
    except asyncio.CancelledError:
        tracker.finish("stopped")
        raise
    except Exception as error:  # the run boundary: one failing run never stops the others
        print(visible(traceback.format_exc()))
        records.set_status(
            run=run.name,
            state="failed",
            error=str(error) if isinstance(error, HarnessError) else f"{type(error).__name__}: {error}",
            seconds=time.perf_counter() - started,
        )
        tracker.finish("failed")
        progress.finish_run(run.name, "failed", None)
        runner.backend.assert_alive()  # without the server that all runs share no other run can go on
        return
    invalid = invalid_factors(checks, config.seams)
    validity = "INVALID" if invalid else "valid"
    steps, planned = records.lines("steps"), config.train.steps
    records.set_status(
        run=run.name,
        state="completed",
        validity=validity,
        invalid=invalid,
        findings=[
            *ended_early(len(steps), planned),
            *findings(steps, config.seams, sweep.policy.dtype),
            *unjudged(checks, run.arm.factors),
        ],
        ended_at=len(steps) if len(steps) < planned else None,
        base_gap=base_gap,
        seconds=time.perf_counter() - started,
    )
    tracker.finish("completed", validity, [f"{i['factor']}: {i['reading']}" for i in invalid])
    progress.finish_run(run.name, "completed", validity)


def _first(errors: BaseExceptionGroup) -> BaseException:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
