"""hydra/launcher=ray: engines as actors of a Ray cluster, fed from one queue in the process that started the sweep.

Each actor holds an engine process and, where the cluster has GPUs, one of them. Ray decides where an actor lives;
actors that find no place yet wait, and join when the cluster grows. A lost worker's runs go back to the queue.
"""

import asyncio
import contextlib
import logging
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

from harness.config import RunConfig
from harness.endings import run_stoppable
from harness.errors import ConfigError, EngineError, HarnessError
from harness.launch.engine_pool import RunNames
from harness.launch.engine_process import GRACE, EngineProcess
from harness.launch.launcher import SweepLauncher
from harness.launch.options import RayOptions, plain
from harness.launch.several_engines import train_on
from harness.launch.work_order import WorkOrder
from harness.sections import BackendConfig
from harness.sweep.cost import EngineCost
from harness.sweep.partition import partition
from harness.sweep.plan import Sweep

LOOK = 5.0  # seconds between two looks whether the cluster still has a machine, while an engine starts
WATCH = 0.5  # seconds between two looks of a worker whether its machine's raylet lives


class RayLauncher(SweepLauncher):
    """Its options are those of `options.RayOptions`."""

    def __init__(self, **options: Any) -> None:
        wished = RayOptions(**plain(options))
        self.address, self.cpus, self.gpus = wished.address, wished.cpus, wished.gpus

    def train(self, sweep: Sweep, runs: Sequence[RunConfig]) -> None:
        ray = connect(self.address)
        try:
            nodes = sum(bool(node["Alive"]) for node in ray.nodes())
            count, gpus = places(sweep.config.backend, self.gpus, ray.cluster_resources().get("GPU", 0.0), nodes)
            run_stoppable(self._train(sweep, runs, min(count, len(runs)), gpus))
        finally:
            ray.shutdown()

    async def _train(self, sweep: Sweep, runs: Sequence[RunConfig], count: int, gpus: float) -> None:
        order = WorkOrder.of(sweep, runs)
        parts = partition([config.run for config in runs], count, sweep.config.factors)
        start = partial(_start_actor, self.cpus, gpus)
        make = [partial(_RayEngine, order, partial(start, number)) for number in range(count)]
        await train_on(sweep, runs, [tuple(run.name for run in part) for part in parts], make)


def places(backend: BackendConfig, wished: float | None, cluster_gpus: float, nodes: int) -> tuple[int, float]:
    """How many engines, and the GPUs of each. Unless asked otherwise: as many as the GPUs of the cluster hold; without
    GPUs one a machine. Raises ConfigError for backend.port, which actors of one machine cannot share."""
    if backend.port is not None:
        raise ConfigError("backend.port cannot be given with hydra/launcher=ray. Leave it out: free ones are found.")
    usual = float(cluster_gpus > 0 and backend.device != "cpu") * backend.gpus_per_engine / backend.engines_per_gpu
    gpus = wished if wished is not None else usual
    room = math.floor(cluster_gpus / gpus + 1e-6) if gpus else nodes
    return backend.engines or max(room, 1), gpus


def connect(address: str | None) -> Any:
    """The module `ray`, connected. Raises ConfigError when it is not installed or there is no cluster."""
    try:
        import ray
    except ImportError:
        raise ConfigError(
            "hydra/launcher=ray needs Ray, which is not installed here: `pip install 'ray'` in the harness's "
            "environment, on every machine of the cluster. hydra/launcher=node needs nothing."
        ) from None
    try:
        _reach(address)
        ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"No Ray cluster was reached at {address!r}: {error}. Start one with `ray start --head` and `ray start "
            "--address=HOST:6379` on the others, or leave hydra.launcher.address out for one on this machine alone."
        ) from error
    return ray


def _reach(address: str | None) -> None:
    """Raises OSError when nothing listens at HOST:PORT; Ray itself would try for many minutes."""
    host, separator, port = (address or os.environ.get("RAY_ADDRESS") or "").rpartition(":")
    if separator and port.isdigit() and "//" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


class EngineActor:
    """The actor: an engine process in the hands of a Ray worker. When the worker dies, the process ends."""

    def __init__(self, number: int) -> None:
        self.process = EngineProcess(number)
        threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()

    def start(self, order: str) -> str:
        return self.process.start(WorkOrder.from_json(order))

    def train(self, names: RunNames) -> None:
        self.process.train(names)

    def stop(self) -> EngineCost | None:
        return self.process.stop()


def end_with(raylet: int) -> NoReturn:
    """Ends this worker when its parent has ended. Ray calls an actor dead once its raylet is, and leaves the worker of
    one that is at work alive: it would train what another engine is given."""
    while os.getppid() == raylet:
        time.sleep(WATCH)
    os._exit(1)


def _start_actor(cpus: float, gpus: float, number: int) -> Any:
    import ray

    options = {"num_cpus": cpus, "num_gpus": gpus, "max_concurrency": 2, "scheduling_strategy": "SPREAD"}
    return ray.remote(EngineActor).options(**options).remote(number)


class _RayEngine:
    """An actor as the pool sees it. What it notes stays in its log."""

    def __init__(self, order: WorkOrder, start_actor: Callable[[], Any]) -> None:
        self.order, self.start_actor = order, start_actor
        self.actor: Any = None
        self.started = False

    async def start(self, note: Callable[[str], None]) -> str:
        self.actor = self.start_actor()
        host = await self._placed(self.actor.start.remote(self.order.to_json()))
        self.started = True
        return f"ready on {host}"

    async def train(self, names: RunNames) -> None:
        await self._ask(self.actor.train.remote(names))

    async def stop(self) -> EngineCost | None:
        import ray

        if self.actor is None:
            return None
        spent = None
        if self.started:  # else it may have no place yet, and would never answer
            with contextlib.suppress(ray.exceptions.RayError, TimeoutError):
                spent = await asyncio.wait_for(self.actor.stop.remote(), GRACE + 10)
        ray.kill(self.actor)
        return spent

    async def _placed(self, answer: Any) -> Any:
        """Waits as long as there is a machine that it may wait for: an actor without a place says nothing."""
        asking = asyncio.ensure_future(self._ask(answer))
        try:
            while not (await asyncio.wait({asking}, timeout=LOOK))[0]:
                if not await asyncio.to_thread(_has_machine):
                    raise EngineError("no machine of the Ray cluster lives any more. Start Ray, and the command, again")
        finally:
            asking.cancel()
        return await asking

    async def _ask(self, answer: Any) -> Any:
        import ray

        try:
            return await answer
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, HarnessError):
                raise error.cause from None  # Ray's own message is a traceback
            raise
        except ray.exceptions.RayError as error:
            first = str(error).strip().splitlines()[0]
            raise EngineError(f"its Ray worker is gone ({type(error).__name__}: {first})") from error


def _has_machine() -> bool:
    import ray

    return any(node["Alive"] for node in ray.nodes())  # type: ignore[no-untyped-call]
