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
from harness.disk import fault
from harness.episode import same_rollout
from harness.errors import EngineError, HarnessError, visible
from harness.records.layout import SweepFiles
from harness.records.run_records import RunRecords
from harness.records.schema import FILES, UNRECORDED, Record, not_shown, validity_word
from harness.records.store import Store
from harness.sweep.display import Progress
from harness.tracking import Background, Tracker, resolve_mode, tracked
from harness.users import load_played
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


async def work(
    sweep: "Sweep",
    batches: Batches,
    progress: Progress,
    counts: Counter[str],
    logs: Path,
    store: Store | None = None,
) -> None:
    """Trains the runs on one engine. A run that fails is recorded as failed and stops no other.

    batches: asked for the first one when the engine is ready, for the next one when every run of the last has ended
    counts: where the store counts what was asked, computed and shared; logs: this engine's folder
    store: another one than the sweep's own
    Raises EngineError when the engine cannot start or is gone: no other run can go on without it.
    """
    config = sweep.config
    store = store or Store(
        SweepFiles(sweep.folder).store,
        config.reuse.enabled,
        config.reuse.audit,
        same={"episodes": same_rollout},
        counts=counts,
    )
    progress.note(STARTING[config.backend.kind])
    # torch, art and litellm load inside, so that planning, help and errors stay quick.
    tracking = resolve_mode(config.tracking.mode) != "off"
    with tracked(sweep.folder, tracking, progress.warn, progress.keep) as background:
        async with (
            _players(sweep, logs, progress.note) as players,
            build(config, sweep.policy, sweep.folder, store, logs, progress.note) as backend,
        ):
            await _interleave(sweep, batches, backend, store, players, progress, background)
    if damaged := sum(count for what, count in counts.items() if what.endswith("/damaged")):
        progress.note(f"{damaged} stored results were damaged and were computed anew")


@asynccontextmanager
async def _players(sweep: "Sweep", logs: Path, note: Callable[[str], None]) -> AsyncIterator["PlayerPool | None"]:
    """The processes that play the episodes, on their way up; None where this process does."""
    config = sweep.config
    count = config.rollout.processes(config.backend.on_gpu)
    if not count:
        yield None
        return
    from harness.player_pool import PlayerPool

    at_once = -(-config.user.at_once // count)
    place = SweepFiles(sweep.folder).store
    load = partial(load_played, config.env.source, config.user, place, config.reuse.enabled, at_once)
    players = PlayerPool(count, load, sweep.domain.digest, config.backend.requests, logs / "players.log", note)
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
    background: Background,
) -> None:
    from harness.sweep.runner import Runner

    runner = Runner.build(sweep, backend, store, players)
    places = asyncio.Semaphore(backend.runs_at_once or len(sweep.config.runs))
    async for runs in batches:
        try:
            async with asyncio.TaskGroup() as group:
                for config in runs:
                    group.create_task(_placed(places, sweep, config, runner, progress, background))
        except BaseExceptionGroup as errors:  # except* wraps what is raised in it before Python 3.11.4
            if full := fault(errors):
                raise full from None
            ours, others = errors.split(HarnessError)
            if ours is None or others is not None:
                raise
            raise _first(ours) from None


async def _placed(
    places: asyncio.Semaphore,
    sweep: "Sweep",
    config: RunConfig,
    runner: "Runner",
    progress: Progress,
    background: Background,
) -> None:
    async with places:
        await _run(sweep, config, runner, progress, background)


async def _run(sweep: "Sweep", config: RunConfig, runner: "Runner", progress: Progress, background: Background) -> None:
    """One run with its records and its W&B view."""
    run = config.run
    tracker = Tracker.start(
        background,
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
    anew = not (sweep.config.reuse.enabled and runner.backend.replays)
    files = SweepFiles(sweep.folder).run(run.name)
    records = RunRecords(files.folder, watch=lambda name, line: views[name](line), anew=anew)
    before = records.status() or {"state": "damaged"} if files.status.exists() else {}
    sources = _sources({} if anew else before, sweep.source_name)
    started = time.perf_counter()
    progress.start_run(run.name)
    records.set_status(run=run.name, state="running", sources=sources)
    try:
        checks, base_gap = await runner.run(config, records, progress)
    except asyncio.CancelledError:
        tracker.finish("stopped")
        raise
    except Exception as error:  # the run boundary: one failing run never stops the others
        if full := fault(error):  # but for what no run could record: this one stays open, and all stop
            tracker.finish("stopped")
            raise full from error
        print(visible(traceback.format_exc()))
        gone = _gone(runner.backend)
        state = "running" if gone else "failed"
        records.set_status(
            run=run.name,
            state=state,
            error=str(error) if isinstance(error, HarnessError) else f"{type(error).__name__}: {error}",
            seconds=time.perf_counter() - started,
            sources=sources,
        )
        tracker.finish("stopped" if gone else "failed")
        if gone:  # without what all runs share no other run can go on, and this one with another engine
            raise gone from error
        progress.finish_run(run.name, state, None)
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
        lines={name: len(records.lines(name)) for name in FILES},
        base_gap=base_gap,
        seconds=time.perf_counter() - started,
        sources=sources,
    )
    hidden = [factor for factor in not_shown(checks) if factor in run.arm.factors]
    readings = [f"{i['factor']}: {i['reading']}" for i in invalid]
    tracker.finish("completed", validity_word(not invalid, hidden), readings)
    progress.finish_run(run.name, "completed", validity)


def _gone(backend: Backend) -> EngineError | None:
    """What became of a server or a trainer that is no longer there."""
    try:
        backend.assert_alive()
    except EngineError as error:
        return error
    return None


def _sources(status: Record, now: str | None) -> list[str]:
    """The sources that a run comes from: what it had computed before it was stopped, and the present one."""
    before = status.get("sources", [UNRECORDED] if status else [])
    return list(dict.fromkeys((*before, *filter(None, (now,)))))


def _first(errors: BaseExceptionGroup) -> BaseException:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
