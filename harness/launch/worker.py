"""One engine works on the runs that it is given: it starts, trains them interleaved, records them, ends."""

import asyncio
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.config import RunConfig
from harness.errors import HarnessError
from harness.launch.progress import Progress
from harness.records import RunRecords
from harness.validity import findings, invalid_factors

if TYPE_CHECKING:
    from harness.engine.server import Server
    from harness.launch.runner import Runner
    from harness.launch.sweep import Sweep


Batches = AsyncIterable[Sequence[RunConfig]]


async def only(configs: Sequence[RunConfig]) -> AsyncIterator[Sequence[RunConfig]]:
    """One batch."""
    yield configs


async def work(sweep: "Sweep", batches: Batches, progress: Progress, counts: Counter[str], logs: Path) -> None:
    """Trains the runs on one engine. A run that fails is recorded as failed and stops no other.

    batches: asked for the first one when the engine is ready, for the next one when every run of the last has ended
    counts: where the store counts what was asked, computed and shared; logs: this engine's folder
    Raises EngineError when the engine cannot start or is gone: no other run can go on without it.
    """
    # torch, art, litellm and wandb load here, so that planning, help and errors stay quick.
    from harness.engine.server import Server, ServerConfig

    first, policy = sweep.configs[0], sweep.policy
    server = Server(
        ServerConfig(
            path=policy.path,
            name=policy.name,
            tool_parser=policy.tool_parser,
            max_model_len=policy.max_model_len,
            dtype=policy.dtype,
            lora_rank=first.policy.lora_rank,
            max_loras=first.backend.slots,
            max_num_seqs=first.backend.requests,
            gpu_memory_utilization=first.backend.gpu_split[0] if first.backend.on_gpu else None,
            port=first.backend.port,
            log=logs / "vllm.log",
        )
    )
    progress.note("starting the vLLM server")
    loading = asyncio.create_task(asyncio.to_thread(_import_parts))
    async with server:
        await loading
        await _interleave(sweep, batches, server, progress, counts)


def _import_parts() -> None:
    import harness.launch.runner  # noqa: F401 - imported while the server starts


async def _interleave(
    sweep: "Sweep", batches: Batches, server: "Server", progress: Progress, counts: Counter[str]
) -> None:
    from harness.launch.runner import Runner
    from harness.tracking import drain

    runner = Runner.build(sweep, sweep.configs[0], server, counts)
    async for configs in batches:
        try:
            async with asyncio.TaskGroup() as group:
                for config in configs:
                    group.create_task(_run(sweep, config, runner, server, progress))
        except* HarnessError as errors:
            raise _first(errors) from None
    await asyncio.to_thread(drain)


async def _run(sweep: "Sweep", config: RunConfig, runner: "Runner", server: "Server", progress: Progress) -> None:
    """One run with its records and its W&B view."""
    from harness.tracking import Tracker

    run = config.run
    tracker = Tracker.start(
        run_name=run.name,
        arm=run.arm.name,
        seed=run.seed,
        sweep=sweep.name,
        config=config.resolved,
        levels=run.arm.as_dict,
        dir=sweep.folder,
        mode=config.tracking.mode,
    )
    views = {"steps": tracker.step, "validation": tracker.validation, "checks": lambda line: tracker.checks([line])}
    records = RunRecords(
        sweep.folder / "runs" / run.name,
        watch=lambda name, line: views[name](line),
        anew=not config.reuse.enabled,
    )
    started = time.perf_counter()
    progress.start_run(run.name)
    records.set_status(run=run.name, state="running")
    try:
        checks = await runner.run(config, records, progress)
        await server.check_base()  # before the run is called completed: nobody's adapter in the base's answers
    except asyncio.CancelledError:
        tracker.finish("stopped")
        raise
    except Exception as error:  # the run boundary: one failing run never stops the others
        print(traceback.format_exc())
        records.set_status(
            run=run.name,
            state="failed",
            error=str(error) if isinstance(error, HarnessError) else f"{type(error).__name__}: {error}",
            seconds=time.perf_counter() - started,
        )
        tracker.finish("failed")
        progress.finish_run(run.name, "failed", None)
        server.assert_alive()  # without a server no other run can go on
        return
    invalid = invalid_factors(checks, config.seams)
    validity = "INVALID" if invalid else "valid"
    records.set_status(
        run=run.name,
        state="completed",
        validity=validity,
        invalid=invalid,
        findings=findings(records.lines("steps"), run.arm),
        seconds=time.perf_counter() - started,
    )
    tracker.finish("completed", validity, [f"{i['factor']}: {i['reading']}" for i in invalid])
    progress.finish_run(run.name, "completed", validity)


def _first(errors: BaseExceptionGroup) -> BaseException:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
