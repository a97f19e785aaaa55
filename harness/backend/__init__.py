"""Where a run's policy is served and trained: what the loop and the rollouts need of it, and two that do it.

    shared.py     one sampler and one trainer for all runs, behind ART's own `Backend` interface
    art_local.py  stock ART: an unmodified `art.local.LocalBackend` for each run, one run after another
    stock.py      what stock ART is given: its model config, its environment, its GPUs; stand_ins/: packages it imports
    packed.py     the token ids that were trained, and with which advantages, from the tensors that ART packed
    advantages.py the advantages of a step, shuffled among its rollouts where the rendering says so
    packed_files.py  its room on the disk, before ART maps it into memory
    context.py    the same set beside what was served: of which kind is each context?
    tokenizer.py  the trainer's tokenizer: calls once or twice, and the same ids sooner

Neighbours know `Backend`, what it takes and gives (`ScoredReply`, `Trained`) and `build`, never which of the two it is.
A backend knows no fix and no level: it serves names, trains what it is given and scores what was served. This file
stays light: torch, art and vllm load when `build` is entered.
"""

import asyncio
import importlib
import math
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harness.errors import ConfigError

if TYPE_CHECKING:
    import art
    import numpy as np
    import numpy.typing as npt
    from art.backend import AnyTrainableModel

    from harness.config import SweepConfig
    from harness.engine.server import ServerConfig
    from harness.engine.trainer_process import TrainerProcess
    from harness.policy import Policy
    from harness.records.store import Store
    from harness.seams import Rendering
    from harness.sections import BackendConfig

__all__ = ["SKIPPED", "Backend", "ScoredReply", "Trained", "TrainedContext", "build", "server_config"]


@dataclass(frozen=True)
class Trained:
    """What the last training call of a run was: a name of the update (None: skipped) and whose it is."""

    update: str | None
    shared_with: str | None


SKIPPED = Trained(None, None)
Note = Callable[[str], None]


@dataclass(frozen=True)
class ScoredReply:
    """A turn of a stored episode, token ids as served and as sampled. episode: its key in the store."""

    episode: str
    turn: int
    prompt_ids: tuple[int, ...]
    output_ids: tuple[int, ...]


@dataclass(frozen=True)
class TrainedContext:
    """A rollout as the trainer saw it. ids: token ids from the first to the last; trained: positions of those that
    got an advantage, in order; advantage: that they got; computed: that ART had computed for them."""

    ids: tuple[int, ...]
    trained: tuple[int, ...]
    advantage: float = math.nan
    computed: float = math.nan

    @property
    def sampled(self) -> tuple[int, ...]:
        """The trained token ids."""
        return tuple(self.ids[place] for place in self.trained)


class Backend(Protocol):
    """A started backend. Names are served model names, without litellm's provider prefix.

    runs_at_once: runs that may be admitted at the same time; None: any number
    replays: a run that starts again finds its own updates in the store; else it is computed anew from step 0
    """

    runs_at_once: int | None
    replays: bool

    async def admit(self, model: "AnyTrainableModel", run: str, seed: int, rendering: "Rendering") -> None:
        """Registers a run's model at step 0, with a fresh adapter under the seed, ready to be asked.

        rendering: how the trainer renders what the run trains on, and with whose advantages; what is served does not
        depend on it
        """
        ...

    async def release(self, model: "AnyTrainableModel") -> None:
        """Gives back what the run alone used. Idempotent; raises nothing."""
        ...

    async def train(
        self,
        model: "AnyTrainableModel",
        trajectory_groups: "Iterable[art.TrajectoryGroup]",
        *,
        learning_rate: float,
        packed_sequence_length: int,
        **options: Any,
    ) -> "art.LocalTrainResult":
        """ART's step: trained or skipped, the step and the inference name advance by one. options: further arguments
        of ART's `LocalBackend.train`."""
        ...

    def row_length(self, wanted: int) -> int:
        """Tokens of the longest history that `train` takes, given the packed_sequence_length that it is called with."""
        ...

    def trained(self, model: "AnyTrainableModel") -> Trained:
        """What the last `train` of this model did."""
        ...

    def trained_contexts(self, model: "AnyTrainableModel") -> "Sequence[TrainedContext] | None":
        """What the last `train` of this model trained on, read from the tensors that ART packed: [] where nothing was
        trained, None where this backend cannot say. Before the model's next `train`."""
        ...

    async def score(self, name: str, replies: Sequence[ScoredReply]) -> "list[npt.NDArray[np.float32]] | None":
        """The trainer's log-probs (natural) of each reply's output ids, at the weights that a name stands for.

        None where the trainer cannot be asked, or has no longer these weights: it has those of a run's first step, of
        the current one and of the one before.
        """
        ...

    def weights(self, name: str) -> str:
        """Digest of the weights behind a name; that of the base for a zero adapter; `unknown:<name>` for no name."""
        ...

    def endpoint(self, name: str) -> tuple[str, str]:
        """Base URL and API key of the server that answers a name."""
        ...

    def serve(self, name: str) -> AbstractAsyncContextManager[None]:
        """The adapter behind a name answers while the context is open."""
        ...

    async def check_base(self) -> float:
        """Nats by which the untrained policy's answers have moved since the start. Raises EngineError if that is more
        than rounding."""
        ...

    def assert_alive(self) -> None:
        """Raises EngineError, naming a log, once a server that is in use is gone."""
        ...


@asynccontextmanager
async def build(
    config: "SweepConfig", policy: "Policy", folder: Path, store: "Store", logs: Path, note: Note
) -> AsyncIterator[Backend]:
    """The backend that `backend.kind` names, started; it stops when the context ends.

    folder: the sweep's, which gets ART's checkpoints; logs: this engine's; note: called with a line for a person
    Raises ConfigError if this machine cannot run it, EngineError if it does not start.
    """
    opened = _art_local if config.backend.kind == "art_local" else _shared
    async with opened(config, policy, folder, store, logs, note) as backend:
        yield backend


@asynccontextmanager
async def _shared(
    config: "SweepConfig", policy: "Policy", folder: Path, store: "Store", logs: Path, note: Note
) -> AsyncIterator[Backend]:
    from harness.engine.server import Server
    from harness.machine.processes import end_loading

    await _room(config.backend, note)
    server = Server(server_config(config, policy, logs), note)

    async def start_trainer() -> tuple[Any, "TrainerProcess"]:
        shared = await asyncio.to_thread(importlib.import_module, "harness.backend.shared")
        end_loading()
        return shared, await shared.start_trainer(config, policy, logs / "trainer.log", note)

    # torch, art and litellm load, here and in the trainer's process, while the server starts
    starting = asyncio.create_task(start_trainer())
    try:
        async with server:
            shared, trainer = await starting
            yield shared.backend_on(server, trainer, policy.name, folder / "art", store)
    finally:
        starting.cancel()  # if the server did not start
        await asyncio.gather(starting, return_exceptions=True)
        if not starting.cancelled() and starting.exception() is None:
            await starting.result()[1].close()


def server_config(config: "SweepConfig", policy: "Policy", logs: Path) -> "ServerConfig":
    """The server of `backend=shared`. Raises ConfigError where this machine cannot run it."""
    from harness.engine.server import ServerConfig

    config.backend.check_kernels()
    return ServerConfig(
        path=policy.path,
        name=policy.name,
        tool_parser=policy.tool_parser,
        max_model_len=policy.max_model_len,
        dtype=policy.dtype,
        lora_rank=config.policy.lora_rank,
        max_loras=config.backend.slots,
        max_num_seqs=config.backend.requests,
        gpu_memory_utilization=config.backend.memory[0] if config.backend.on_gpu else None,
        gpus=config.backend.places[0],
        kv_cache_bytes=_cache_beside_others(config, policy),
        port=config.backend.port,
        log=logs / "vllm.log",
        batch_invariant=config.backend.batch_invariant,
    )


async def _room(backend: "BackendConfig", note: Note) -> None:
    """Waits until the GPUs have the shares of an engine free. Raises EngineError if that takes too long."""
    from harness.machine.gpu import gpus
    from harness.machine.gpu_room import wait_for_room

    if not backend.on_gpu:
        return
    sampler, trainer = backend.memory
    if backend.placement == "together":
        await wait_for_room(gpus()[0], (sampler + trainer) * gpus()[0].memory, note)
        return
    for gpu in gpus()[: backend.sampler_gpus]:
        await wait_for_room(gpu, sampler * gpu.memory, note)
    gpu = gpus()[backend.sampler_gpus]
    await wait_for_room(gpu, trainer * gpu.memory, note)


def _cache_beside_others(config: "SweepConfig", policy: "Policy") -> int | None:
    """Bytes of the sampler's KV cache on a GPU that engines share; None: vLLM measures what is left of its own share.

    What vLLM measures includes what the other engines take meanwhile. Raises ConfigError when nothing is left.
    """
    from harness.machine.gpu import gpus
    from harness.machine.memory import GIB, read_shape, sampler

    backend = config.backend
    if not backend.on_gpu or backend.engines_per_gpu == 1:
        return None
    budget = backend.memory[0] * gpus()[0].memory * GIB
    found = sampler(read_shape(policy.path), config.policy.lora_rank, backend.slots, budget)
    if found.tokens < policy.max_model_len:
        raise ConfigError(
            f"backend.engines_per_gpu is {backend.engines_per_gpu}: a sampler's {budget / GIB:.1f} GiB leave room for "
            f"{found.tokens:,} tokens, and an episode may take {policy.max_model_len:,}. Give fewer engines per GPU."
        )
    return int(found.cache)


@asynccontextmanager
async def _art_local(
    config: "SweepConfig", policy: "Policy", folder: Path, store: "Store", logs: Path, note: Note
) -> AsyncIterator[Backend]:
    from harness.backend import stock
    from harness.machine.processes import end_loading

    stock.check_machine(config.backend)
    stock.prepare_process(folder)
    art_local = await asyncio.to_thread(importlib.import_module, "harness.backend.art_local")
    end_loading()
    backend = art_local.ArtLocalBackend(stock.Settings.of(config, policy), folder / "art")
    try:
        yield backend
    finally:
        await backend.stop()
