"""Corrections to vLLM on a CPU, loaded by vLLM in each of its processes (entry point `vllm.general_plugins`).

symptom    a request to the base is answered with somebody's adapter as soon as one batch mixes both
mechanism  "no adapter" is slot -1; the CPU operators index the stacked weights with it, which picks the last slot
fix        every slot's product at once, with the slots that are not the token's own multiplied by zero
evidence   tests/engine/test_server_real.py; also about twice the calls per second, as no weights are gathered

The products per module are x A^T for all slots side by side [tokens, slices * slots * rank], a mask, and one product
with the slices' B in a block-diagonal matrix. The packed matrices are kept until an adapter is written to a slot.
"""

from typing import Any

import torch
from torch import Tensor

Stacked = tuple[Tensor, ...]  # of each slice, the weights of all slots


def apply() -> None:
    """Called by vLLM. Changes nothing where the CPU operators are not used."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    PunicaWrapperCPU.update_metadata = update_metadata
    PunicaWrapperCPU.add_lora_linear = add_lora_linear
    PunicaWrapperCPU.add_lora_logits = add_lora_logits
    PunicaWrapperCPU.add_lora_embedding = add_lora_embedding


def update_metadata(
    self: Any, mapping: Any, lora_index_to_id: list[int | None], max_loras: int, vocab_size: int, **_: Any
) -> None:
    """Once per engine step: which slot each token and each sampled row belongs to, -1 for the base."""
    self._update_base_metadata(mapping, lora_index_to_id, max_loras, vocab_size)
    self._masks = {}
    self._any_adapter = bool((self.token_lora_indices >= 0).any())


def add_lora_linear(
    self: Any,
    y: Tensor,
    x: Tensor,
    lora_a_stacked: Stacked,
    lora_b_stacked: Stacked,
    scale: float,
    output_slices: tuple[int, ...],
    **_: Any,
) -> None:
    """y[tokens, sum(output_slices)] += scale * x A^T B^T with each token's own A and B; zero for the base."""
    if self._any_adapter:
        _add_product(self, y, x, lora_a_stacked, lora_b_stacked, scale, self.token_lora_indices)


def add_lora_logits(
    self: Any, y: Tensor, x: Tensor, lora_a_stacked: Tensor, lora_b_stacked: Tensor, scale: float, **_: Any
) -> None:
    """The same for the rows that are sampled from."""
    if self._any_adapter:
        y, x = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1])
        _add_product(self, y, x, (lora_a_stacked,), (lora_b_stacked,), scale, self.sampler_indices)


def add_lora_embedding(
    self: Any, y: Tensor, x: Tensor, lora_b_stacked: Tensor, add_inputs: bool = True, **_: Any
) -> None:
    """y[tokens, hidden] += x B^T; x [tokens, rank] was looked up in the token's own A already."""
    b = _packed(self, (), (lora_b_stacked,))[1]
    if self._any_adapter and b is not None:
        slots, rank = lora_b_stacked.shape[0], lora_b_stacked.shape[-1]
        y += (x.to(y.dtype).repeat(1, slots) * _mask(self, self.token_lora_indices, slots, rank, 1, y.dtype)) @ b


def _add_product(
    self: Any, y: Tensor, x: Tensor, a_stacked: Stacked, b_stacked: Stacked, scale: float, slot_of_row: Tensor
) -> None:
    a, b = _packed(self, a_stacked, b_stacked)  # [in, k], [k, out]; k = slices * slots * rank
    if a is None or b is None:
        return
    slots, _, rank, _ = a_stacked[0].shape
    hidden = x @ a
    hidden *= _mask(self, slot_of_row, slots, rank, len(a_stacked), hidden.dtype)
    y[:, : b.shape[1]].addmm_(hidden, b, alpha=scale)


def _mask(self: Any, slot_of_row: Tensor, slots: int, rank: int, slices: int, dtype: torch.dtype) -> Tensor:
    """[rows, slices * slots * rank]: 1 in the columns of the row's own slot."""
    key = (slot_of_row.data_ptr(), slots, rank, slices, dtype)
    if key not in self._masks:
        column_slot = torch.arange(slots).repeat_interleave(rank).repeat(slices)
        self._masks[key] = (slot_of_row[:, None] == column_slot).to(dtype)
    mask: Tensor = self._masks[key]
    return mask


def _packed(self: Any, a_stacked: Stacked, b_stacked: Stacked) -> tuple[Tensor | None, Tensor | None]:
    """The stacked weights ([slots, 1, rank, in] and [slots, 1, out, rank] per slice) as two matrices.

    (None, None) when no adapter in any slot changes this module. vLLM wraps the output layer always, and dies there
    on a request for prompt log-probabilities beside an adapter: the rows are the prompt's, not the sampled ones.
    """
    kept: dict[int, tuple[int, Tensor | None, Tensor | None]] = self.__dict__.setdefault("_kept", {})
    key = b_stacked[0].data_ptr()
    version = sum(t._version for t in (*a_stacked, *b_stacked))  # every in-place write counts one up
    if key not in kept or kept[key][0] != version:
        a = b = None
        if any(bool(tensor.any()) for tensor in b_stacked):
            b = torch.block_diag(*[tensor[:, 0].transpose(1, 2).flatten(0, 1) for tensor in b_stacked])
            a = torch.cat([tensor[:, 0].flatten(0, 1) for tensor in a_stacked]).t() if a_stacked else None
        kept[key] = (version, a, b)
    return kept[key][1:]
