"""`backend=shared`: one sampler and one trainer for all runs of a sweep, behind ART's `Backend` interface.

A `LocalBackend` whose model service is ours. ART's registration, tokenisation, packing, advantages, loss,
step, checkpoint and inference-name rules stay; what changes is where a policy is served (one vLLM for all
runs, its adapters loaded when they are asked) and trained (one trainer, its results in the store).
"""

import asyncio
import hashlib
import io
import json
import random
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import art
import numpy as np
import numpy.typing as npt
import torch
from art import dev, types
from art.backend import AnyTrainableModel
from art.local.backend import LocalBackend
from art.preprocessing.pack import DiskPackedTensors, PackedTensors, packed_tensors_from_dir
from art.utils.output_dirs import get_model_dir, get_step_checkpoint_dir

import harness.backend.context  # noqa: F401 - litellm and transformers load here, while the server starts
from harness.backend import SKIPPED, ScoredReply, Trained, TrainedContext
from harness.backend.advantages import shuffled
from harness.backend.packed import contexts_of
from harness.backend.packed_files import reserve
from harness.backend.stock import SCHEMA_FORMATS
from harness.backend.tokenizer import tokenizer_of
from harness.config import SweepConfig
from harness.engine.server import Server
from harness.engine.state import Lora, Optimiser, State
from harness.engine.trainer_process import AsksTrainer, TrainerOrder, TrainerProcess
from harness.errors import EngineError
from harness.factors import derive_seed
from harness.policy import Policy
from harness.records.store import Store, digest
from harness.seams import Rendering

UPDATE = "updates"
# Part of every update's key: raise it when a change here or in the trainer changes what an update is.
UPDATE_VERSION = 1
# The same of what only a GPU computes. 2: flex attention's tiles.
GPU_UPDATE_VERSION = 2


@dataclass
class SharedService:
    """ART's `ModelService` of one run: no process of its own, only a place in the shared engine.

    names: digest and checkpoint folder behind each served name
    adapters: by the digest of their weights, those of the current state and of the one before, as the trainer made
        them. A checkpoint's file is what the sampler reads: it proves nothing about what should be in it
    """

    name: str
    run: str
    output_dir: Path
    engine: "SharedEngine"
    state: State
    step: int = 0
    packed: PackedTensors | None = None  # what the last update was given; the files of it are mapped, not read
    computed: torch.Tensor | None = None  # the advantages that ART had computed, where others were given
    names: dict[str, tuple[str, Path]] = field(default_factory=dict)
    adapters: dict[str, bytes] = field(default_factory=dict)
    last: Trained = SKIPPED

    def write_checkpoint(self, step: int, state: State) -> None:
        folder = Path(get_step_checkpoint_dir(str(self.output_dir), step))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "adapter_model.safetensors").write_bytes(state.adapter)
        self.engine.trainer.order.lora.peft_config(self.engine.base_name).save_pretrained(str(folder))
        self._serve(step, folder, state)

    def _serve(self, step: int, folder: Path, state: State) -> None:
        self.adapters = {known.weights: known.adapter for known in (self.state, state)}
        self.step, self.state = step, state
        self.names[f"{self.name}@{step}"] = (state.weights, folder)

    async def start_openai_server(self, config: dev.OpenAIServerConfig | None) -> tuple[str, int]:
        host, port = self.engine.server.base_url.removeprefix("http://").removesuffix("/v1").split(":")
        return host, int(port)

    async def vllm_engine_is_sleeping(self) -> bool:
        return False

    async def register_lora_for_step(self, step: int, checkpoint_dir: str) -> None:
        """ART calls this after a skipped update: the checkpoint was copied, the policy is the same."""
        self.last, self.packed = SKIPPED, None
        self._serve(step, Path(checkpoint_dir), self.state)

    async def train(
        self,
        disk_packed_tensors: DiskPackedTensors,
        config: types.TrainConfig,
        _config: dev.TrainConfig,
        verbose: bool = False,
    ) -> AsyncIterator[dict[str, float]]:
        """One update from the current state; yields ART's metrics, one dict per gradient step."""
        tensors = packed_tensors_from_dir(**disk_packed_tensors)
        key, state, metrics, shared_with = await self.engine.update(
            self.run, self.state, tensors, config.learning_rate, dict(_config)
        )
        self.write_checkpoint(self.step + 1, state)
        self.last, self.packed = Trained(key, shared_with), tensors
        for step in metrics:
            yield {**step, "data/step_num_gradient_steps": float(len(metrics))}

    async def train_sft(self, *_args: Any, **_kwargs: Any) -> AsyncIterator[dict[str, float]]:
        raise EngineError("backend=shared trains by reinforcement only; warm starts are made by harness.policy.")
        yield {}


Scored = tuple[str, bytes]  # digests of the weights, and of the ids of a prompt and its reply


@dataclass
class SharedEngine:
    """What all runs share: the sampler, the trainer (one question at a time) and the store."""

    server: Server
    trainer: AsksTrainer
    store: Store
    base_name: str
    scores: dict[Scored, npt.NDArray[np.float32]] = field(default_factory=dict)
    scoring: asyncio.Lock = field(default_factory=asyncio.Lock)  # what one run asks, another one finds

    async def update(
        self, run: str, state: State, tensors: PackedTensors, learning_rate: float, config: dict[str, Any]
    ) -> tuple[str, State, list[dict[str, float]], str | None]:
        """Digest, new state, metrics per gradient step, and the run that computed it if another one did."""
        raw = {k: v.contiguous() for k, v in tensors.items() if isinstance(v, torch.Tensor)}
        batch = b"".join(raw[k].view(torch.uint8).numpy().tobytes() for k in sorted(raw))
        hyper = [learning_rate, config, repr(self.trainer.order.optimiser), repr(self.trainer.order.lora)]
        dtype = self.trainer.order.dtype
        if dtype != torch.float32:  # what a GPU computes is not what a CPU computes
            hyper.append([str(dtype), GPU_UPDATE_VERSION])
        key = digest("update", UPDATE_VERSION, state.digest, batch, hyper)

        spent: dict[str, float] = {}  # beside the stored result: a time is no part of a pure function

        async def compute() -> bytes:
            new, metrics, cost = await self.trainer.update(state, tensors, learning_rate, config)
            spent.update(cost.metrics())
            return packed(new, metrics)

        found = await self.store.get(UPDATE, key, run, compute)
        new, metrics = unpacked(found.value)
        return key, new, [{**step, **spent} for step in metrics], found.shared_with

    async def score(
        self, weights: str, adapter: bytes | None, replies: Sequence[ScoredReply]
    ) -> list[npt.NDArray[np.float32]]:
        """Log-probs of each reply under an adapter (None: the base), `weights` being its digest; each computed once.

        By its token ids: with reuse=off two runs sample episodes of one key, and on a GPU these may differ.
        """
        places = [(weights, _ids_digest(reply)) for reply in replies]
        async with self.scoring:
            missing = {p: r for p, r in zip(places, replies, strict=True) if p not in self.scores}
            if missing:
                found = await self.trainer.score(adapter, [(r.prompt_ids, r.output_ids) for r in missing.values()])
                self.scores.update(zip(missing, found, strict=True))
        return [self.scores[place] for place in places]


def _ids_digest(reply: ScoredReply) -> bytes:
    """In the place of the ids, which would be kept as long as the scores: a prompt of 6,000 tokens takes 200 KiB."""
    ids = np.array([len(reply.prompt_ids), *reply.prompt_ids, *reply.output_ids], np.int64)
    return hashlib.sha256(ids.tobytes()).digest()


class SharedBackend(LocalBackend):
    """ART's local backend on the shared engine. One instance serves every run of a sweep."""

    runs_at_once = None
    replays = True

    def __init__(self, engine: SharedEngine, path: Path) -> None:
        super().__init__(in_process=True, path=str(path))
        self.engine = engine
        self._runs: dict[str, tuple[str, int]] = {}
        self._renderings: dict[str, Rendering] = {}
        # Group-prefix packing: the rollouts of a group share one copy of their prompt.
        self._supports_result_packing = True
        self._packed_sequence_length_requires_chunk_alignment = False

    async def admit(self, model: AnyTrainableModel, run: str, seed: int, rendering: Rendering) -> None:
        """Registers a run's model with a fresh adapter. A replay starts from step 0 and finds its updates."""
        shutil.rmtree(get_model_dir(model=model, art_path=self._path), ignore_errors=True)
        self._runs[model.name], self._renderings[model.name] = (run, seed), rendering
        schema_format = SCHEMA_FORMATS[rendering.tool_order]
        model._internal_config = {"chat_template_tool_schema_format": schema_format}
        await model.register(self, _openai_client_config={"server_args": {"api_key": self.engine.server.api_key}})

    async def release(self, model: AnyTrainableModel) -> None:
        """Nothing: the engine is everybody's, and an idle adapter makes room when its slot is needed."""

    async def _get_service(self, model: AnyTrainableModel) -> SharedService:
        if model.name not in self._services:
            run, seed = self._runs[model.name]
            state = await self.engine.trainer.initial_state(derive_seed(seed, "lora"))
            service = SharedService(
                model.name, run, Path(get_model_dir(model=model, art_path=self._path)), self.engine, state
            )
            service.write_checkpoint(0, state)
            self._services[model.name] = service
        return self._own(model.name)

    def _own(self, name: str) -> SharedService:
        service = self._services[name]
        assert isinstance(service, SharedService)  # ART's dictionary holds nothing else here
        return service

    def _get_packed_tensors(  # type: ignore[override]  # what else ART passes is handed on
        self, model: AnyTrainableModel, trajectory_groups: list[art.TrajectoryGroup], **kwargs: Any
    ) -> PackedTensors | None:
        # ART shuffles rows and draws group ids from Python's global generator: arms with one seed that pack
        # the same trajectories at the same step must get the same tensors.
        service = self._own(model.name)
        _, seed = self._runs[model.name]
        place = (model.base_model, None)  # where ART looks for the tokenizer, and else loads it
        self._tokenizers[place] = tokenizer_of(model.base_model, self._renderings[model.name].calls)
        with seeded(derive_seed(seed, "packing", service.step)):
            packed = super()._get_packed_tensors(model, trajectory_groups, **kwargs)
        if packed is not None:
            reserve(packed, model, self._path)
        if packed is None or self._renderings[model.name].advantages == "own":
            return packed
        service.computed = packed["advantages"]
        return shuffled(packed, derive_seed(seed, "advantages", service.step))

    def row_length(self, wanted: int) -> int:
        return wanted

    async def score(self, name: str, replies: Sequence[ScoredReply]) -> list[npt.NDArray[np.float32]] | None:
        """See `Backend`."""
        weights = self.weights(name)
        service = self._services.get(name.rpartition("@")[0])
        adapter = service.adapters.get(weights) if service else None  # type: ignore[attr-defined]
        if adapter is None and weights != self.engine.trainer.order.base_digest:
            return None
        return await self.engine.score(weights, adapter, replies)

    def trained(self, model: AnyTrainableModel) -> Trained:
        """What the last `train` of this model did."""
        return self._own(model.name).last

    def trained_contexts(self, model: AnyTrainableModel) -> list[TrainedContext]:
        own = self._own(model.name)
        return contexts_of(own.packed, own.computed) if own.packed is not None else []

    def weights(self, name: str) -> str:
        """Digest of the weights behind a served name; `unknown:<name>` for a name that nobody registered."""
        if name == self.engine.base_name:
            return self.engine.trainer.order.base_digest
        service = self._services.get(name.rpartition("@")[0])
        known = service.names.get(name) if service else None  # type: ignore[attr-defined]
        return known[0] if known else f"unknown:{name}"

    def endpoint(self, name: str) -> tuple[str, str]:
        """Base URL and API key of the server that answers `name`: one for all."""
        return self.engine.server.base_url, self.engine.server.api_key

    async def check_base(self) -> float:
        return await self.engine.server.check_base()

    def assert_alive(self) -> None:
        self.engine.server.assert_alive()
        self.engine.trainer.assert_alive()

    @asynccontextmanager
    async def serve(self, name: str) -> AsyncIterator[None]:
        """Keeps the adapter behind `name` loaded in the server while the context is open."""
        if name == self.engine.base_name:
            yield
            return
        service = self._services[name.rpartition("@")[0]]
        _, folder = service.names[name]  # type: ignore[attr-defined]
        async with self.engine.server.lease(name, folder):
            yield


async def start_trainer(config: SweepConfig, policy: Policy, log: Path, note: Callable[[str], None]) -> TrainerProcess:
    """The trainer of a shared backend, ready to be asked. Raises EngineError if it does not start."""
    torch.set_num_threads(config.backend.threads)  # of this process, which packs: see `Trainer`
    order = TrainerOrder(
        policy.path,
        policy.digest,
        Lora(config.policy.lora_rank, config.policy.lora_alpha),
        Optimiser(groups_per_step=config.train.groups_per_gradient_step),
        device="cuda" if config.backend.on_gpu else "cpu",
        threads=config.backend.threads,
        memory_share=config.backend.memory[1] if config.backend.on_gpu else None,
        gpu=config.backend.places[1],
    )
    trainer = TrainerProcess(order, log, note)
    await trainer.start()
    return trainer


def backend_on(server: Server, trainer: AsksTrainer, base_name: str, path: Path, store: Store) -> SharedBackend:
    """The shared backend on a server and a trainer that are ready; path: gets ART's checkpoints."""
    return SharedBackend(SharedEngine(server, trainer, store, base_name), path)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Python's global generator under a seed, put back afterwards: ART's packing draws from it."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


def packed(state: State, metrics: list[dict[str, float]]) -> bytes:
    head = json.dumps(
        {"metrics": metrics, "digest": state.digest, "weights": state.weights, "adapter": len(state.adapter)}
    )
    return head.encode() + b"\n" + state.adapter + state.moments


def unpacked(raw: bytes) -> tuple[State, list[dict[str, float]]]:
    """The state after an update, and its metrics by gradient step, of what the store holds of it."""
    file = io.BytesIO(raw)
    head = json.loads(file.readline())
    adapter = file.read(head["adapter"])
    return State(adapter, file.read(), head["digest"], head["weights"]), head["metrics"]
