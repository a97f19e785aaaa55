"""The trainer in a process of its own: updates do not wait for the interpreter of the runs, nor the runs for theirs.

    python -m harness.engine.trainer_process      see harness/child_process.py

An update is a pure function of bytes and tensors, so it does not matter where it is computed. The trainer takes one
question at a time, in the order in which they came; it prepares itself before the first.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from harness.child_process import Answers, ChildProcess, serve
from harness.engine.execution import Execution, UpdateCost
from harness.engine.state import Lora, Optimiser, State
from harness.engine.trainer import Trainer

if TYPE_CHECKING:
    from art.preprocessing.pack import PackedTensors

NAME = "The trainer"
Updated = tuple[State, list[dict[str, float]], UpdateCost]
Reply = tuple[Sequence[int], Sequence[int]]  # token ids of a prompt and of what was sampled after it


@dataclass(frozen=True)
class TrainerOrder:
    """What a trainer is made from; see `Trainer`."""

    base: Path
    base_digest: str
    lora: Lora
    optimiser: Optimiser
    device: str = "cpu"
    threads: int = 1
    memory_share: float | None = None
    execution: Execution | None = None
    gpu: str | None = None  # that its process sees, as CUDA_VISIBLE_DEVICES names it; None: those of the starter

    @property
    def dtype(self) -> torch.dtype:
        """Of the base weights and of the adapter that computes."""
        return (self.execution or Execution.on(self.device)).dtype

    def make(self) -> Trainer:
        return Trainer(
            self.base,
            self.base_digest,
            self.lora,
            self.optimiser,
            device=self.device,
            threads=self.threads,
            execution=self.execution,
            memory_share=self.memory_share,
        )


class AsksTrainer(Protocol):
    """A trainer somewhere else; its methods are those of `Trainer`. order: what it was made from."""

    order: TrainerOrder

    async def initial_state(self, seed: int) -> State: ...

    async def update(
        self, state: State, tensors: "PackedTensors", learning_rate: float, config: dict[str, Any]
    ) -> Updated:
        """The new state, metrics per gradient step, and what it took."""
        ...

    async def score(self, adapter: bytes | None, replies: Sequence[Reply]) -> list[npt.NDArray[np.float32]]: ...

    def assert_alive(self) -> None:
        """Raises EngineError once it is gone."""
        ...


class TrainerProcess:
    """`AsksTrainer` whose trainer has a process of its own, from `start` to `close`."""

    def __init__(self, order: TrainerOrder, log: Path, note: Callable[[str], None] = lambda _: None) -> None:
        """note: called with a line for a person"""
        self.order = order
        sees = {"CUDA_VISIBLE_DEVICES": order.gpu} if order.gpu is not None else {}
        self._process = ChildProcess(NAME, "harness.engine.trainer_process", log, note, computes=True, environment=sees)

    async def start(self) -> None:
        """Returns when the base model is loaded. Raises EngineError if it cannot be."""
        await self._process.start(self.order)

    async def close(self) -> None:
        await self._process.close()

    def assert_alive(self) -> None:
        self._process.assert_alive()

    async def initial_state(self, seed: int) -> State:
        return await self._ask("initial_state", seed)  # type: ignore[no-any-return]

    async def update(
        self, state: State, tensors: "PackedTensors", learning_rate: float, config: dict[str, Any]
    ) -> Updated:
        # arrays: a tensor that is a view of a larger one would be sent with all of it
        arrays = {key: value.numpy() for key, value in tensors.items() if isinstance(value, torch.Tensor)}
        return await self._ask("update", state, arrays, learning_rate, config)  # type: ignore[no-any-return]

    async def score(self, adapter: bytes | None, replies: Sequence[Reply]) -> list[npt.NDArray[np.float32]]:
        return await self._ask("score", adapter, replies)  # type: ignore[no-any-return]

    async def _ask(self, what: str, *arguments: Any) -> Any:
        return await self._process.ask((what, arguments))


class TrainerThread:
    """`AsksTrainer` whose trainer computes in a thread of this process."""

    def __init__(self, order: TrainerOrder, trainer: Trainer | None = None) -> None:
        """trainer: one that was made from the order; None: it is made now"""
        self.order = order
        self.trainer = trainer or order.make()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trainer")

    def assert_alive(self) -> None:
        pass

    def prepare(self) -> None:
        """Without waiting for it; should it fail, the first update says so."""
        self._thread.submit(self.trainer.prepare)

    async def initial_state(self, seed: int) -> State:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.trainer.initial_state, seed)

    async def update(
        self, state: State, tensors: "PackedTensors", learning_rate: float, config: dict[str, Any]
    ) -> Updated:
        def update() -> Updated:
            return *self.trainer.update(state, tensors, learning_rate, config), self.trainer.last

        return await asyncio.get_running_loop().run_in_executor(self._thread, update)

    async def score(self, adapter: bytes | None, replies: Sequence[Reply]) -> list[npt.NDArray[np.float32]]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.trainer.score, adapter, replies)


async def _trainer(order: TrainerOrder) -> tuple[None, Answers]:
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("harness").setLevel(logging.INFO)
    here = TrainerThread(order)
    here.prepare()

    async def answer(question: tuple[str, tuple[Any, ...]]) -> Any:
        what, arguments = question
        if what == "update":
            state, arrays, *rest = arguments
            arguments = (state, {key: torch.from_numpy(array) for key, array in arrays.items()}, *rest)
        return await getattr(here, what)(*arguments)

    return None, answer


if __name__ == "__main__":
    serve(NAME, _trainer)
