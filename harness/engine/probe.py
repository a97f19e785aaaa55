"""Before a trainer's first update: is the attention that it is asked to use right, and what does a row take?

Flex attention is compiled for the card at hand. If that fails, or if it gives other log-probs or gradients than the
dense attention, the dense one takes its place, and the trainer's notes say why.
"""

import math
import time
from typing import Protocol

import torch

from harness.engine.attention import DENSE, FLEX
from harness.engine.execution import Execution, Size
from harness.engine.packed_rows import Rows

# Mean absolute difference of log-probs; difference of gradients as a share of their norm. On SmolLM2-135M in bfloat16
# two right attentions differ by .06 and .03; one in which the rollouts see each other is off by .39 and .29.
LOGPROB_TOLERANCE = 0.2
GRADIENT_TOLERANCE = 0.12


class Probed(Protocol):
    """What is asked of a trainer here; see the methods of `harness.engine.trainer.Trainer`."""

    device: torch.device
    execution: Execution
    size: Size
    activation_bytes: float

    def use_attention(self, kind: str) -> None: ...

    def trial(self, row: Rows) -> tuple[torch.Tensor, torch.Tensor]: ...

    def kept_bytes(self, row: Rows) -> int: ...

    def room(self) -> float: ...

    def note(self, text: str) -> None: ...


def prepare(trainer: Probed) -> None:
    """Checks and measures with some short rows; compiles, which may take a minute on a GPU."""
    started = time.perf_counter()
    if trainer.execution.attention == FLEX:
        reason = _why_not_flex(trainer)
        if reason:
            trainer.use_attention(DENSE)
            trainer.note(f"dense attention in place of flex: {reason}")
    if trainer.device.type == "cuda":
        trainer.activation_bytes = _activation_bytes(trainer)
        trainer.note(
            f"a row's activations take {trainer.activation_bytes / 2**10:,.0f} KiB a token; rows of more than "
            f"{trainer.room() / trainer.activation_bytes:,.0f} tokens compute them twice"
        )
    dtype = str(trainer.execution.dtype).removeprefix("torch.")
    trainer.note(f"{trainer.execution.attention} attention, {dtype}, ready in {time.perf_counter() - started:.1f} s")


def _why_not_flex(trainer: Probed) -> str:
    """Empty if flex attention works here and agrees with the dense one."""
    try:
        return _difference(trainer)
    except Exception as error:  # whatever a compiler raises: there is another way to compute the same
        lines = str(error).strip().splitlines() or [""]
        return f"{type(error).__name__}: {lines[0]}"


def _difference(trainer: Probed) -> str:
    """How flex attention's log-probs and gradients differ from the dense ones; empty if they agree.

    On two row lengths, because the second one makes the compiled kernel one for all lengths.
    """
    gaps = []
    for blocks in (2, 3):
        row = made_up(blocks * _step(trainer), trainer.size.vocabulary)
        trainer.use_attention(DENSE)
        dense_logprobs, dense_gradient = trainer.trial(row)
        trainer.use_attention(FLEX)
        logprobs, gradient = trainer.trial(row)
        gap = (logprobs - dense_logprobs).abs().mean().item()
        far = ((gradient - dense_gradient).norm() / dense_gradient.norm()).item()
        if not (gap <= LOGPROB_TOLERANCE and far <= GRADIENT_TOLERANCE):  # not "or >": NaN is a difference
            return f"log-probs differ by {gap:.3g}, gradients by {far:.3g} of their norm"
        gaps.append(f"{gap:.2g} and {far:.2g}")
    trainer.note(f"flex and dense attention differ by {', '.join(gaps)} (log-probs; gradients, of their norm)")
    return ""


def _activation_bytes(trainer: Probed) -> float:
    """Bytes that a forward pass keeps for the backward pass, per token of a row."""
    tokens = 4 * _step(trainer)
    return trainer.kept_bytes(made_up(tokens, trainer.size.vocabulary)) / tokens


def _step(trainer: Probed) -> int:
    return max(trainer.execution.row_multiple, 128)  # 128: a block of flex attention


def made_up(tokens: int, vocabulary: int, rollouts: int = 3) -> Rows:
    """A row of a prompt, which takes half of it, some rollouts and a little padding; always the same.

    As `harness.engine.packed_rows.minibatches` gives rows. Half of a rollout's tokens are trained.
    """
    prompt = tokens // 2
    own = (tokens - prompt) // rollouts - 1
    used = prompt + rollouts * own
    place = torch.arange(tokens)
    rollout = (place - prompt).div(own, rounding_mode="floor")
    group_ids = torch.where(place < prompt, 10, 11 + rollout)
    group_ids[used:] = -1
    inside = (place >= prompt) & (place < used)
    position = torch.where(inside, prompt + (place - prompt) % own, place)
    position[used:] = 0
    trained = inside & ((place - prompt) % own > 1) & (place % 32 < 16)
    generator = torch.Generator().manual_seed(0)
    row = {
        "tokens": torch.randint(0, vocabulary, (tokens,), generator=generator),
        "group_ids": group_ids,
        "parent_ids": torch.where(place < used, 10, -1),
        "input_pos": position,
        "assistant_mask": trained,
        "logprobs": torch.full((tokens,), -2.0).masked_fill(~trained, math.nan),
        "advantages": torch.ones(tokens),
        "weights": torch.ones(tokens),
        "ours": place < used,
    }
    return {key: value.unsqueeze(0) for key, value in row.items()}
