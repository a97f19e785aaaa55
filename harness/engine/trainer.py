"""The trainer behind `backend=shared`: base weights once, an adapter and optimiser state per update.

An update is a pure function: (trainer state, packed tensors, hyper-parameters) -> (new state, metrics), so the runs of
a sweep can take turns on the trainer, which has a process of its own (trainer_process.py). What it keeps between
updates are copies of states that it would else have to bring to the device again; they change no result.

Loss, masks and advantages are ART's: `art.loss.loss_fn` over tensors packed by ART, with the attention rule of
`harness.engine.attention`. A gradient step may be computed row by row: its loss is the sum over all rows divided by
the number of trained tokens of all rows, as ART's mean over the whole batch is.

On a GPU the base weights and the adapter that computes are bfloat16, as in the sampler; the adapter that is trained,
its gradients and Adam's moments are float32. Log-probs are computed in float32 from logits as the sampler has them,
only at trained positions and some of these at a time.
"""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from peft import get_peft_model
from torch.nn.attention.flex_attention import BlockMask
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM
from transformers.modeling_layers import GradientCheckpointingLayer

from harness.engine.adapter import Adapter
from harness.engine.art_loss import loss_fn, shift_tensor
from harness.engine.attention import implementation, packed_attention
from harness.engine.execution import Execution, Size, UpdateCost
from harness.engine.fused import fuse
from harness.engine.packed_rows import (
    Amount,
    Reply,
    Rows,
    amount,
    minibatches,
    reply_rows,
    single_rows,
    trained,
    trimmed,
)
from harness.engine.probe import prepare
from harness.engine.state import Lora, Optimiser, State
from harness.errors import EngineError

if TYPE_CHECKING:
    from art.preprocessing.pack import PackedTensors

__all__ = ["Execution", "Lora", "Optimiser", "State", "Trainer", "UpdateCost"]

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Pass:
    """One forward and backward pass: rows on the device, their attention, indices into the flattened rows."""

    rows: Rows
    attention: torch.Tensor | BlockMask
    trained: torch.Tensor
    known: torch.Tensor
    amount: Amount


class Trainer:
    """Holds the base model with one LoRA slot; see the module's docstring.

    device: cpu or cuda; threads: of PyTorch on the CPU. More than a few make small tensors slow where other programs
        keep the cores busy
    execution: None: `Execution.on(device)`; what is used is in `execution`
    memory_share: of the GPU's memory, in (0, 1], what the trainer may take; None: what is free
    last, total: what the last update and all updates took
    notes: what was found before the first update: the attention that is used and why, what a row takes
    """

    def __init__(
        self,
        base: Path,
        base_digest: str,
        lora: Lora,
        optimiser: Optimiser,
        device: str = "cpu",
        threads: int = 1,
        execution: Execution | None = None,
        memory_share: float | None = None,
    ) -> None:
        self.base_digest = base_digest
        self.lora = lora
        self.optimiser = optimiser
        self.device = torch.device(device)
        self.execution = execution or Execution.on(device)
        self.notes: list[str] = []
        self.last, self.total = UpdateCost(), UpdateCost()
        self.activation_bytes = 0.0  # per token of a row; measured by `prepare`
        self._memory_share = memory_share
        self._prepared = False
        torch.set_num_threads(threads)
        if self.device.type == "cuda" and self.device.index is None:
            self.device = torch.device("cuda", torch.cuda.current_device())
        if self.device.type == "cuda" and memory_share is not None:
            torch.cuda.set_per_process_memory_fraction(memory_share, self.device)
        model = AutoModelForCausalLM.from_pretrained(
            base, dtype=self.execution.dtype, attn_implementation=implementation(self.execution.attention)
        )
        with torch.random.fork_rng():
            # Any: a PeftModel has the attributes of the model inside, which no type names
            self.model: Any = get_peft_model(model, lora.peft_config(str(base))).to(self.device)
        if self.execution.fused:
            fuse(self.model)
        self._layers: list[Any] = [m for m in self.model.modules() if isinstance(m, GradientCheckpointingLayer)]
        for layer in self._layers:
            layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
        self.size = Size.of(self.model)
        self._adapter = Adapter(self.model, base_digest, self.execution.dtype, self.execution.states)

    def prepare(self) -> None:
        """Once, before the first update, in the thread that updates: compiles, checks, measures; see `probe`."""
        if not self._prepared:
            self.model.train()
            prepare(self)
            self._prepared = True

    def initial_state(self, seed: int) -> State:
        """A fresh adapter; see `Adapter.initial`."""
        return self._adapter.initial(seed)

    def update(
        self, state: State, tensors: "PackedTensors", learning_rate: float, config: dict[str, Any]
    ) -> tuple[State, list[dict[str, float]]]:
        """Trains on packed tensors [rows, tokens] from `state`; metrics, one dict per gradient step.

        config: ART's options of the loss
        Raises EngineError when a gradient or a weight is not finite: nothing that follows from it would be a result.
        """
        self.prepare()
        started = time.perf_counter()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        adam = self._adapter.resume(state, self.optimiser, learning_rate)
        self.model.train()
        spent, metrics = UpdateCost(), []
        for batch in minibatches(tensors, self.optimiser.groups_per_step):
            begun = time.perf_counter()
            step, done = self._gradient_step(adam, batch, config)
            seconds = time.perf_counter() - begun  # reading the metrics has waited for the device
            spent += UpdateCost(step_seconds=seconds, amount=done, tflop=self.size.tflop(done))
            metrics.append(step)
        first = {f"first/{name}": metrics[0][f"loss/{name}"] for name in ("probs_corr", "logprob_gap")}
        metrics = [{**step, **first} for step in metrics]  # ART averages over steps: the first one stays apart
        if not self._adapter.finite():
            raise EngineError(
                f"The weights after {len(metrics)} training steps are not finite, though the gradients were. Lower "
                f"train.learning_rate, which is {learning_rate:g}."
            )
        new = self._adapter.leave(adam)
        peak = torch.cuda.max_memory_allocated(self.device) / 2**30 if self.device.type == "cuda" else 0.0
        self.last = replace(spent, updates=1, seconds=time.perf_counter() - started, peak_gib=peak)
        self.total += self.last
        return new, metrics

    def score(self, adapter: bytes | None, replies: Sequence[Reply]) -> list[npt.NDArray[np.float32]]:
        """Log-probs (natural) of each reply's output ids after its prompt's ids, under an adapter; nothing is trained.

        adapter: as in `State.adapter`; None: the base policy
        Together or each by itself: `Execution.scored_row`. A later update starts from its own state, as ever.
        """
        self.prepare()
        self._adapter.show(self.initial_state(0).adapter if adapter is None else adapter)
        found: list[npt.NDArray[np.float32]] = []
        with torch.no_grad():
            for row in reply_rows(replies, self.execution.scored_row):
                (each,) = self._passes(row)
                logprobs, _ = self._logprobs(each)
                found.append(logprobs.flatten()[each.trained].cpu().numpy())
        ends = np.cumsum([len(output) for _, output in replies])
        return np.split(np.concatenate(found), ends[:-1]) if found else []

    def _gradient_step(
        self, adam: torch.optim.AdamW, batch: Rows, config: dict[str, Any]
    ) -> tuple[dict[str, float], Amount]:
        passes = list(self._passes(batch))  # all of them before the first: making an attention waits for the device
        done = sum((each.amount for each in passes), Amount())
        denominator = torch.tensor(done.trained + 1e-6, device=self.device)  # as in ART's mean
        losses, entropies, served, found = [], [], [], []
        for each in passes:
            logprobs, entropy = self._logprobs(each)
            loss = loss_fn(each.rows, logprobs, None, None, config, reduction="sum")  # type: ignore[arg-type]
            part = loss.policy_loss_sum / denominator
            part.backward()
            self._adapter.collect()
            losses.append(part.detach())
            entropies.append(entropy)
            served.append(shift_tensor(each.rows["logprobs"], math.nan).flatten()[each.known])
            found.append(logprobs.detach().flatten()[each.known])
        norm = torch.nn.utils.clip_grad_norm_(self._adapter.parameters.values(), self.optimiser.clip)
        adam.step()
        adam.zero_grad(set_to_none=True)
        self._adapter.hand_over()
        old, new = torch.cat(served), torch.cat(found)
        readings = {
            "loss/train": torch.stack(losses).sum(),
            "loss/grad_norm": norm,
            "loss/entropy": torch.cat(entropies).mean(),
            "loss/probs_corr": torch.corrcoef(torch.stack([old.exp(), new.exp()]))[0, 1],
            "loss/logprob_gap": (old - new).abs().mean(),
        }
        step = dict(zip(readings, torch.stack(list(readings.values())).tolist(), strict=True))
        if not math.isfinite(step["loss/grad_norm"]):
            raise EngineError(
                f"The gradient of a training step is {step['loss/grad_norm']} (loss {step['loss/train']}). Lower "
                "train.learning_rate; if this is a first step, the log-probs or rewards of its rollouts are not finite."
            )
        return step, done

    def _passes(self, batch: Rows) -> Iterator[_Pass]:
        if self.execution.row_by_row:
            parts: Iterator[Rows] = single_rows(batch, self.execution.row_multiple)
        else:
            parts = iter([trimmed(batch)])
        for rows in parts:
            known = ~torch.isnan(shift_tensor(rows["logprobs"], math.nan))
            where = [mask.flatten().nonzero().squeeze(1).to(self.device) for mask in (trained(rows), known)]
            here = {key: value.to(self.device) for key, value in rows.items()}
            attention = packed_attention(
                here["group_ids"], here["parent_ids"], self.execution.dtype, self.execution.attention
            )
            yield _Pass(here, attention, where[0], where[1], amount(rows))

    def _logprobs(self, each: _Pass) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probs of each next token, [rows, tokens], zero where nothing is trained; entropies where it is, [n]."""
        hidden = self._hidden(each).flatten(0, 1)[each.trained]
        targets = shift_tensor(each.rows["tokens"], 0).flatten()[each.trained]
        size = self.execution.logits_chunk
        if size is None:
            picked, entropy = self._pick(hidden, targets)
        else:  # computed again in the backward pass: logits are the largest tensors of a small model
            parts = [
                checkpoint(self._pick, h, t, use_reentrant=False, preserve_rng_state=False)
                for h, t in zip(hidden.split(size), targets.split(size), strict=True)
            ]
            picked, entropy = (torch.cat(column) for column in zip(*parts, strict=True))
        shape = each.rows["tokens"].shape
        out = torch.zeros(shape.numel(), dtype=picked.dtype, device=self.device)
        return out.index_put((each.trained,), picked).view(shape), entropy

    def _hidden(self, each: _Pass) -> torch.Tensor:
        """The last layer's output, [rows, tokens, width]."""
        twice = self.execution.checkpoint
        if twice is None:
            twice = each.amount.computed * self.activation_bytes > self.room()
        for layer in self._layers:
            layer.gradient_checkpointing = twice
        decoder: torch.nn.Module = self.model.get_base_model().model  # without the output matrix
        out = decoder(
            input_ids=each.rows["tokens"].clamp(min=0),
            position_ids=each.rows["input_pos"],
            attention_mask=each.attention,
            use_cache=False,
        )
        hidden: torch.Tensor = out.last_hidden_state
        return hidden

    def _pick(self, hidden: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probs of the targets and entropies, both [n], from hidden states [n, width]."""
        distribution = torch.log_softmax(self.model.get_output_embeddings()(hidden).float(), dim=-1)
        picked = distribution.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        entropy = -(distribution.detach().exp() * distribution.detach()).sum(-1)
        return picked, entropy

    def room(self) -> float:
        """Bytes that the activations of a row may take; infinite on a CPU."""
        if self.device.type != "cuda":
            return math.inf
        total = torch.cuda.get_device_properties(self.device).total_memory
        if self._memory_share is not None:
            free = total * self._memory_share - torch.cuda.memory_allocated(self.device)
        else:
            cached = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
            free = torch.cuda.mem_get_info(self.device)[0] + cached
        logits = 6 * 4 * (self.execution.logits_chunk or 0) * self.size.vocabulary  # float32, some of them at once
        return 0.8 * (free - logits)

    def note(self, text: str) -> None:
        self.notes.append(text)
        LOG.info("trainer: %s", text)

    def use_attention(self, kind: str) -> None:
        """From here on `dense` or `flex`."""
        self.execution = replace(self.execution, attention=kind)
        self.model.get_base_model().set_attn_implementation(implementation(kind))

    def trial(self, row: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probs at trained positions and their sum's gradient, both flat, of one row; nothing is trained."""
        (each,) = self._passes(row)
        logprobs, _ = self._logprobs(each)
        logprobs.sum().backward()
        return logprobs.detach().flatten()[each.trained], self._adapter.gradient()

    def kept_bytes(self, row: Rows) -> int:
        """Bytes on the GPU that a forward pass over one row keeps when nothing is computed twice."""
        (each,) = self._passes(row)
        asked, self.execution = self.execution, replace(self.execution, checkpoint=False)
        try:
            before = torch.cuda.memory_allocated(self.device)
            hidden = self._hidden(each)
            kept = torch.cuda.memory_allocated(self.device) - before
            del hidden
        finally:
            self.execution = asked
        return kept
