"""`backend=art_local`: stock ART. Each run has an `art.local.LocalBackend` of its own, whose Unsloth trainer lives in a
child process and whose vLLM server serves this run alone. Nothing that it computes is changed, but for the tokenizer:
what it packs is looked at, and it tokenises with ours, which shows a tool call as often as the run asks for.

A GPU holds one such pair, so runs take turns and each one starts and ends its own. What stock ART does not report
(log-probs of its trainer) stays absent from the records; an update depends on what the trainer's process did before,
so updates are never shared. Episodes are, by the digest of the weights that sample them.
"""

import asyncio
import secrets
import shutil
import socket
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import art
import httpx
import torch
from art.backend import AnyTrainableModel
from art.local import LocalBackend
from art.metrics_taxonomy import TRAIN_GRADIENT_STEPS_KEY
from art.preprocessing.pack import PackedTensors
from art.utils.output_dirs import get_model_dir, get_step_checkpoint_dir
from safetensors.torch import load_file

from harness.backend import SKIPPED, ScoredReply, Trained, TrainedContext, stock
from harness.backend.advantages import shuffled
from harness.backend.packed import contexts_of
from harness.backend.packed_files import reserve
from harness.backend.tokenizer import tokenizer_of
from harness.engine.server import CHECK_PROMPTS, CHECK_TOKENS, TOLERANCE_16_BIT, Answer, mean_gap
from harness.errors import EngineError, visible
from harness.factors import derive_seed
from harness.records.store import digest
from harness.seams import Rendering

CLOSE_SECONDS = 60.0  # until a backend that does not end by itself is ended


class Watched(LocalBackend):
    """Stock ART; keeps what it packed last, and shuffles its advantages where a run asks for it.

    shuffle: from the number of the batch to a seed; None: advantages stay with their rollouts
    computed: the advantages as ART had computed them, where they were shuffled
    """

    packed: PackedTensors | None = None
    computed: torch.Tensor | None = None
    shuffle: Callable[[int], int] | None = None
    batches = 0

    def _get_packed_tensors(self, model: Any, *args: Any, **options: Any) -> PackedTensors | None:
        self.packed = super()._get_packed_tensors(model, *args, **options)
        if self.packed is not None:
            reserve(self.packed, model, self._path)
        if self.packed is not None and self.shuffle is not None:
            self.computed = self.packed["advantages"]
            self.packed = shuffled(self.packed, self.shuffle(self.batches))
        self.batches += 1
        return self.packed


@dataclass
class Admitted:
    """A run and its own LocalBackend. digests: of the adapter of each step that was asked for."""

    run: str
    model: AnyTrainableModel
    local: Watched
    folder: Path
    digests: dict[int, str] = field(default_factory=dict)
    last: Trained = SKIPPED
    base_answers: list[Answer] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.folder / "logs" / "vllm-runtime.log"


class ArtLocalBackend:
    """See the module.

    in_process: the trainer in this process, for a look at it (unsloth must then be imported before art)
    """

    runs_at_once = 1
    replays = False

    def __init__(self, settings: stock.Settings, path: Path, in_process: bool = False) -> None:
        self.settings = settings
        self.path = path.absolute()  # vLLM loads adapters by path
        self.in_process = in_process
        self._admitted: dict[str, Admitted] = {}

    async def admit(self, model: AnyTrainableModel, run: str, seed: int, rendering: Rendering) -> None:
        """Starts the run's trainer and server: one to two minutes. Raises EngineError if they do not start."""
        started = time.perf_counter()
        folder = Path(get_model_dir(model=model, art_path=str(self.path)))
        shutil.rmtree(folder, ignore_errors=True)
        model._internal_config = stock.model_config(self.settings, seed, rendering)  # type: ignore[assignment]
        local = Watched(path=str(self.path), in_process=self.in_process)
        local._tokenizers[model.base_model, None] = tokenizer_of(model.base_model, rendering.calls)
        if rendering.advantages == "shuffled":
            local.shuffle = partial(derive_seed, seed, "advantages")
        admitted = self._admitted[model.name] = Admitted(run, model, local, folder)
        try:
            await model.register(
                local,
                _openai_client_config={"server_args": stock.server_args(self.settings)},  # type: ignore[arg-type]
            )
        except Exception as error:
            raise EngineError(
                f"Stock ART did not start for {run}: {type(error).__name__}: {error}. The trainer's own words are in "
                f"this program's output. {_tail(admitted.log)}"
            ) from error
        admitted.base_answers = await _answers(admitted)
        print(f"{run}: stock ART ready after {time.perf_counter() - started:.1f} s", flush=True)

    async def release(self, model: AnyTrainableModel) -> None:
        admitted = self._admitted.pop(model.name, None)
        if admitted is None:
            return
        try:
            await asyncio.wait_for(admitted.local.close(), CLOSE_SECONDS)
        except Exception:  # the run has ended, well or not: its processes must go, and its result stays
            print(f"{admitted.run}: stock ART did not close by itself\n{visible(traceback.format_exc())}", flush=True)
            admitted.local._close()

    async def stop(self) -> None:
        """Releases what is still admitted."""
        for admitted in list(self._admitted.values()):
            await self.release(admitted.model)

    async def train(
        self,
        model: AnyTrainableModel,
        trajectory_groups: Iterable[art.TrajectoryGroup],
        *,
        learning_rate: float,
        packed_sequence_length: int,
        **options: Any,
    ) -> art.LocalTrainResult:
        """ART's own step. packed_sequence_length is ignored: stock ART packs nothing and pads to the longest row."""
        admitted = self._admitted[model.name]
        result = await admitted.local.train(model, trajectory_groups, learning_rate=learning_rate, **options)
        stepped = result.metrics.get(TRAIN_GRADIENT_STEPS_KEY, 0) > 0
        admitted.last = Trained(self.weights(f"{model.name}@{result.step}"), None) if stepped else SKIPPED
        return result

    async def score(self, name: str, replies: Sequence[ScoredReply]) -> None:
        """Stock ART's trainer, in a process of its own, trains and does nothing else: it cannot be asked."""
        return None

    def trained(self, model: AnyTrainableModel) -> Trained:
        """The digest of the weights that the update made stands for the update."""
        return self._admitted[model.name].last

    def trained_contexts(self, model: AnyTrainableModel) -> list[TrainedContext]:
        local = self._admitted[model.name].local
        return contexts_of(local.packed, local.computed) if local.packed is not None else []

    def row_length(self, wanted: int) -> int:
        return self.settings.row_length

    def weights(self, name: str) -> str:
        place = self._place(name)
        if place is None:
            return f"unknown:{name}"
        admitted, step = place
        if step not in admitted.digests:
            file = Path(get_step_checkpoint_dir(str(admitted.folder), step)) / "adapter_model.safetensors"
            if not file.is_file():
                return f"unknown:{name}"
            admitted.digests[step] = adapter_digest(file, self.settings.policy.digest)
        return admitted.digests[step]

    def endpoint(self, name: str) -> tuple[str, str]:
        place = self._place(name)
        if place is None:
            raise EngineError(f"No run that is admitted now serves '{name}'; admitted: {', '.join(self._admitted)}.")
        model = place[0].model
        assert model.inference_base_url is not None
        return model.inference_base_url, model.inference_api_key or "default"

    @asynccontextmanager
    async def serve(self, name: str) -> AsyncIterator[None]:
        """Nothing to do: ART has loaded every step's adapter, and vLLM reads one again that it has dropped."""
        yield

    async def check_base(self) -> float:
        """The first checkpoint, a zero adapter, must answer as it did at the start: it is what an arm with
        fix/endpoint=off keeps asking."""
        largest = 0.0
        for admitted in self._admitted.values():
            gap = mean_gap(admitted.base_answers, await _answers(admitted))
            largest = max(largest, gap)
            if not gap <= TOLERANCE_16_BIT:
                raise EngineError(
                    f"The first checkpoint of {admitted.run} no longer answers as it did at the start: "
                    f"log-probabilities after fixed prompts moved by {gap:.4g} nats on average (allowed: "
                    f"{TOLERANCE_16_BIT:g}). Another adapter answers in its place; do not use this run."
                )
        return largest

    def assert_alive(self) -> None:
        for admitted in self._admitted.values():
            url = urlsplit(admitted.model.inference_base_url or "")
            try:
                socket.create_connection((url.hostname, url.port), timeout=5).close()
            except OSError as error:
                raise EngineError(
                    f"The vLLM server of {admitted.run} is gone ({error}). {_tail(admitted.log)}"
                ) from error

    def _place(self, name: str) -> tuple[Admitted, int] | None:
        model, _, step = name.rpartition("@")
        admitted = self._admitted.get(model)
        return (admitted, int(step)) if admitted and step.isdigit() else None


def adapter_digest(file: Path, base: str) -> str:
    """Digest of an adapter's weights; `base` itself for an adapter whose B matrices are zero."""
    tensors = load_file(file)
    if not any(tensor.any() for name, tensor in tensors.items() if "lora_B" in name):
        return base
    return digest("weights", base, file.read_bytes())


async def _answers(admitted: Admitted) -> list[Answer]:
    """Greedy answers of the run's first checkpoint to fixed prompts, kept from the prefix cache by a salt."""
    body = {
        "model": admitted.model.inference_model_name,
        "prompt": CHECK_PROMPTS,
        "max_tokens": CHECK_TOKENS,
        "temperature": 0,
        "logprobs": 1,
        "ignore_eos": True,
        "return_tokens_as_token_ids": True,
        "cache_salt": secrets.token_hex(8),
    }
    headers = {"Authorization": f"Bearer {admitted.model.inference_api_key}"}
    try:
        async with httpx.AsyncClient(timeout=120, headers=headers, trust_env=False) as client:
            reply = await client.post(f"{admitted.model.inference_base_url}/completions", json=body)
            reply.raise_for_status()
    except httpx.HTTPError as error:
        raise EngineError(
            f"The first checkpoint of {admitted.run} does not answer: {error}. {_tail(admitted.log)}"
        ) from error
    logprobs = [choice["logprobs"] for choice in reply.json()["choices"]]
    return [list(zip(each["tokens"], each["token_logprobs"], strict=True)) for each in logprobs]


def _tail(log: Path, lines: int = 25) -> str:
    if not log.exists():
        return f"Its server wrote no log ({log})."
    last = log.read_text(errors="replace").splitlines()[-lines:]
    return f"Its server's log is {log}; the last lines:\n" + "\n".join(f"  | {line[:300]}" for line in last)
