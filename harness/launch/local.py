"""hydra/launcher=node: this machine. One engine in this process, or one process per engine, each with its GPUs."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from harness.config import RunConfig, SweepConfig
from harness.endings import run_stoppable
from harness.errors import ConfigError
from harness.launch.engine_pool import RunNames
from harness.launch.engine_process import EngineProcess
from harness.launch.in_process import train_here
from harness.launch.launcher import SweepLauncher
from harness.launch.several_engines import train_on
from harness.launch.work_order import WorkOrder
from harness.machine.gpu import gpus
from harness.sections import BackendConfig
from harness.sweep.cost import EngineCost
from harness.sweep.partition import partition
from harness.sweep.plan import Sweep

T = TypeVar("T")


class NodeLauncher(SweepLauncher):
    def train(self, sweep: Sweep, runs: Sequence[RunConfig]) -> None:
        shares = gpu_shares(sweep.config.backend, len(runs))
        if len(shares) == 1:
            train_here(sweep, runs)
        else:
            run_stoppable(_train(sweep, runs, shares))

    def engines(self, config: SweepConfig) -> int:
        return engines_here(config.backend, len(config.runs))


def engines_here(backend: BackendConfig, runs: int) -> int:
    """As many engines as asked, never more than runs, whether or not they have a place.

    Unless asked otherwise: `engines_per_gpu` for each GPU; one in all on a CPU and with stock ART, which divides
    several GPUs between training and inference itself.
    """
    room = _room(backend, len(gpus()))
    return min(backend.engines or (room if backend.kind == "shared" else 1) or 1, runs)


def gpu_shares(backend: BackendConfig, runs: int) -> list[list[int]]:
    """The GPUs of each engine of this node, [] for one on the CPU. Raises ConfigError for more than have a place."""
    backend.check_place()
    there = [gpu.index for gpu in gpus()] if backend.on_gpu else []
    room = _room(backend, len(there))
    count = engines_here(backend, runs)
    if count > 1 and backend.port is not None:
        raise ConfigError(f"backend.port is given for {count} engines, and each needs its own. Leave it out.")
    if not there:
        return [[] for _ in range(count)]
    if count > room:
        raise ConfigError(
            f"backend.engines is {count}, and {len(there)} GPU{'s are' * (len(there) > 1) or ' is'} visible, with "
            + (
                f"{backend.gpus_per_engine} for each. Give backend.engines={room}."
                if backend.gpus_per_engine > 1
                else f"{backend.engines_per_gpu} on each. Give backend.engines={room}, or more "
                "backend.engines_per_gpu: engines of one GPU share its memory."
            )
        )
    if count > len(there):
        return [[there[number % len(there)]] for number in range(count)]
    each = len(there) // count
    return [there[number * each : (number + 1) * each] for number in range(count)]


def _room(backend: BackendConfig, cards: int) -> int:
    """Engines that so many GPUs have a place for; 0 for engines on a CPU."""
    return cards // backend.gpus_per_engine * backend.engines_per_gpu if backend.on_gpu else 0


async def _train(sweep: Sweep, runs: Sequence[RunConfig], shares: Sequence[Sequence[int]]) -> None:
    order = WorkOrder.of(sweep, runs)
    parts = partition([config.run for config in runs], len(shares), sweep.config.factors)
    names = [tuple(run.name for run in part) for part in parts]
    # A thread per engine, that waits for it, and one to stop it meanwhile.
    with ThreadPoolExecutor(2 * len(shares), thread_name_prefix="engine") as threads:
        make = [partial(_ProcessEngine, order, number, share, threads) for number, share in enumerate(shares)]
        await train_on(sweep, runs, names, make)


class _ProcessEngine:
    """A process of this machine as the pool sees it."""

    def __init__(self, order: WorkOrder, number: int, share: Sequence[int], threads: ThreadPoolExecutor) -> None:
        visible = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, share))} if share else {}
        self.order, self.threads = order, threads
        self.process = EngineProcess(number, visible)
        self.place = f"GPU {', '.join(map(str, share))}" if share else "the CPU"

    async def start(self, note: Callable[[str], None]) -> str:
        self.process.note = note
        await self._call(self.process.start, self.order)
        return f"ready on {self.place}"

    async def train(self, names: RunNames) -> None:
        await self._call(self.process.train, names)

    async def stop(self) -> EngineCost | None:
        return await self._call(self.process.stop)

    async def _call(self, method: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.threads, method, *arguments)
