"""The attention of packed rows: causal, and only to the own rollout or to the prompt that it shares.

ART packs the rollouts of a group behind one copy of their prompt. A token may look back at tokens with its own group
id and at those whose group id is its parent id: the rule of `calculate_mask` in ART's `art/unsloth/train.py`, which
cannot be imported without trl. Padding carries -1 in both and looks at padding alone, so that no softmax is empty.

Two kinds compute the same:

    dense  an additive bias [rows, 1, tokens, tokens] for transformers' `sdpa`: every pair of tokens is computed
    flex   a BlockMask of 128 x 128 blocks for PyTorch's flex_attention: blocks without an allowed pair are skipped

A model is loaded with `attn_implementation=implementation(kind)` and called with
`attention_mask=packed_attention(group_ids, parent_ids, dtype, kind)`; transformers hands a mask of four dimensions to
its layers as it is (`masking_utils._preprocess_mask_arguments`, 5.2.0).
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from transformers import AttentionInterface

DENSE = "dense"
FLEX = "flex"
KINDS = (DENSE, FLEX)
_FLEX_NAME = "packed_flex"  # under which transformers finds `_flex_forward`
BLOCK = 128  # tokens: a block of a BlockMask
# For rows of whole blocks: a kernel for all lengths cannot know that they are whole, and would check every load. For
# narrow heads: on an H200 a forward pass in smaller tiles takes 1.0 ms where PyTorch's own choice takes 1.7 (width 64,
# a row of 20,000 tokens, kernels for this length; experiments/LOG.md, 5).
BY_BLOCKS = {"IS_DIVISIBLE": True}
NARROW = {"BLOCK_M": 64, "BLOCK_N": 64}


def kind_for(device: torch.device | str) -> str:
    """flex on CUDA, dense elsewhere: only CUDA has a kernel that trains through flex_attention."""
    return FLEX if torch.device(device).type == "cuda" else DENSE


def implementation(kind: str) -> str:
    """What a model of this kind is loaded with: transformers' `attn_implementation`."""
    return {DENSE: "sdpa", FLEX: _FLEX_NAME}[_known(kind)]


def packed_attention(
    group_ids: torch.Tensor, parent_ids: torch.Tensor, dtype: torch.dtype, kind: str | None = None
) -> torch.Tensor | BlockMask:
    """What the model takes as `attention_mask`; by default the kind of the tensors' device.

    group_ids, parent_ids: integers [rows, tokens], -1 where padding is
    dtype: of the model, for the dense bias
    """
    kind = _known(kind_for(group_ids.device) if kind is None else kind)
    if kind == FLEX:
        return block_mask(group_ids, parent_ids)
    return dense_bias(group_ids, parent_ids, dtype)


def allowed_pairs(group_ids: torch.Tensor, parent_ids: torch.Tensor) -> torch.Tensor:
    """Whether a query may look at a key, bool [rows, queries, keys]."""
    tokens = group_ids.shape[1]
    causal = torch.ones(tokens, tokens, dtype=torch.bool, device=group_ids.device).tril()
    own = group_ids.unsqueeze(2) == group_ids.unsqueeze(1)
    prompt = parent_ids.unsqueeze(2) == group_ids.unsqueeze(1)
    return causal & (own | prompt)


def dense_bias(group_ids: torch.Tensor, parent_ids: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask [rows, 1, tokens, tokens]: 0 where a pair is allowed, else the dtype's lowest number."""
    allowed = allowed_pairs(group_ids, parent_ids)
    bias = torch.zeros(allowed.shape, dtype=dtype, device=group_ids.device)
    return bias.masked_fill_(~allowed, torch.finfo(dtype).min).unsqueeze(1)


def block_mask(group_ids: torch.Tensor, parent_ids: torch.Tensor) -> BlockMask:
    """The same rule in blocks. While it is made it takes about 4 bytes for each pair of tokens on the device."""
    rows, tokens = group_ids.shape
    # The kernel reads the ids for every pair of a partial block: small numbers instead of ART's 64-bit draws.
    _, small = torch.unique(torch.stack([group_ids, parent_ids]), return_inverse=True)
    own, prompt = small.to(torch.int32)

    def allowed(row: torch.Tensor, _head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        ours: torch.Tensor = (own[row, query] == own[row, key]) | (prompt[row, query] == own[row, key])
        return (query >= key) & ours

    device = group_ids.device
    return create_block_mask(allowed, rows, None, Q_LEN=tokens, KV_LEN=tokens, device=device, BLOCK_SIZE=BLOCK)


@cache
def kernel(device: str) -> Callable[..., Any]:
    """flex_attention; compiled where that gives a kernel. The second row length met makes it one for all lengths."""
    plain: Callable[..., Any] = flex_attention
    return torch.compile(plain) if device == "cuda" else plain


def kernel_options(tokens: int, width: int) -> dict[str, Any] | None:
    """flex_attention's `kernel_options` for rows of so many tokens and heads so wide; see BY_BLOCKS."""
    if tokens % BLOCK:
        return None
    return BY_BLOCKS | (NARROW if width <= 64 else {})


def _flex_forward(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: BlockMask,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: query [rows, heads, tokens, width] to [rows, tokens, heads, width]."""
    if not isinstance(attention_mask, BlockMask):
        raise TypeError("packed flex attention needs the BlockMask of `packed_attention` as attention_mask.")
    if dropout:
        raise ValueError("packed flex attention has no dropout; set the model's attention_dropout to 0.")
    shared_by = query.shape[1] // key.shape[1]
    if shared_by > 1:  # grouped heads: also where their number is no power of two
        key, value = (t.repeat_interleave(shared_by, dim=1) for t in (key, value))
    natural = query.shape[-1] ** -0.5  # what the kernel scales with; an argument would be a symbol to the compiler
    if scaling is not None and not math.isclose(scaling, natural):
        query = query * (scaling / natural)
    options = kernel_options(tokens=query.shape[2], width=query.shape[3])
    out = kernel(query.device.type)(query, key, value, block_mask=attention_mask, kernel_options=options)
    return out.transpose(1, 2).contiguous(), None


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"Packed attention of kind {kind!r} is unknown; expected one of {', '.join(KINDS)}.")
    return kind


AttentionInterface.register(_FLEX_NAME, _flex_forward)
