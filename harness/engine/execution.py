"""How an update is computed on a device, and what it took."""

from dataclasses import dataclass, field
from typing import Any

import torch

from harness.engine.attention import DENSE, FLEX
from harness.engine.packed_rows import Amount


@dataclass(frozen=True)
class Execution:
    """How an update is computed. What it computes stays the same up to rounding.

    dtype: of the base weights and of the adapter that computes
    attention: dense or flex, see `harness.engine.attention`
    fused: LoRA and norms as in `harness.engine.fused`
    row_by_row: one row after another, without tokens of groups that the step does not train; else all rows at once
    row_multiple: tokens; a single row is padded to a multiple, so that few lengths occur
    logits_chunk: trained positions whose logits exist at a time; None: all
    checkpoint: whether layers compute their activations twice to keep fewer; None: for rows whose activations, as
        measured at the start, would not fit into the trainer's share of the memory
    states: how many of the latest states keep a copy on the device
    scored_row: tokens; replies are scored together, up to so many, behind what their prompts share. 0: each by itself,
        so that its numbers do not depend on its company
    """

    dtype: torch.dtype = torch.float32
    attention: str = DENSE
    fused: bool = False
    row_by_row: bool = False
    row_multiple: int = 1
    logits_chunk: int | None = None
    checkpoint: bool | None = False
    states: int = 0
    scored_row: int = 0

    @classmethod
    def on(cls, device: torch.device | str) -> "Execution":
        """What is used on a kind of device unless something else is asked for."""
        if torch.device(device).type != "cuda":
            return cls()
        return cls(
            dtype=torch.bfloat16,
            attention=FLEX,
            fused=True,
            row_by_row=True,
            row_multiple=512,
            logits_chunk=2048,
            checkpoint=None,
            states=16,
            scored_row=24576,
        )


@dataclass(frozen=True)
class UpdateCost:
    """What updates took: seconds (of them in gradient steps), the amount of tokens, TFLOP, peak GiB on the device.

    tflop: as a training step is usually counted, 6 x parameters x tokens + 12 x layers x width x attended pairs, in
    10^12. Parameters: of the layers' matrices for every token, of the output matrix for trained tokens; width: of all
    query heads. With LoRA the gradient of the frozen matrices is not computed: 4 of these 6 are.
    """

    updates: int = 0
    seconds: float = 0.0
    step_seconds: float = 0.0
    amount: Amount = field(default_factory=Amount)
    tflop: float = 0.0
    peak_gib: float = 0.0

    def __add__(self, other: "UpdateCost") -> "UpdateCost":
        return UpdateCost(
            self.updates + other.updates,
            self.seconds + other.seconds,
            self.step_seconds + other.step_seconds,
            self.amount + other.amount,
            self.tflop + other.tflop,
            max(self.peak_gib, other.peak_gib),
        )

    def metrics(self) -> dict[str, float]:
        """Of one update, for its records: `train/tokens_per_s` and `train/tflop_per_s` are over the whole update."""
        return {
            "train/seconds": self.seconds,
            "train/step_seconds": self.step_seconds,
            "train/tokens": float(self.amount.tokens),
            "train/computed_tokens": float(self.amount.computed),
            "train/trained_tokens": float(self.amount.trained),
            "train/tokens_per_s": self.amount.tokens / self.seconds,
            "train/tflop_per_s": self.tflop / self.seconds,
            "train/peak_gib": self.peak_gib,
        }


@dataclass(frozen=True)
class Size:
    """Of the base model: parameters of the layers' matrices and of the output matrix, layers, query width, tokens."""

    layers: int
    parameters: int
    output: int
    width: int
    vocabulary: int

    @classmethod
    def of(cls, model: Any) -> "Size":
        config = model.get_base_model().config
        head = model.get_output_embeddings().weight
        matrices = {
            name: p.numel()
            for name, p in model.named_parameters()
            if p.dim() == 2 and ".layers." in name and ".lora_" not in name
        }
        wide = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return cls(
            layers=config.num_hidden_layers,
            parameters=sum(matrices.values()),
            output=head.numel(),
            width=wide * config.num_attention_heads,
            vocabulary=head.shape[0],
        )

    def tflop(self, done: Amount) -> float:
        """See `UpdateCost`."""
        matrices = 6 * (self.parameters * done.tokens + self.output * done.trained)
        return (matrices + 12 * self.layers * self.width * done.pairs) / 1e12
