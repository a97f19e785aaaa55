"""A tokenizer that gives the same ids sooner: it tokenises a chat by the pieces that are new.

ART tokenises every trajectory twice, and the manipulation check does so again: on retail 5,000 tokens of system prompt
and tools each time, 16 ms, for hundreds of trajectories a step, in the process that all runs of a sweep share. By
pieces ART's whole work on a batch takes a fifth (experiments/benchmarks/packing_speed.py).
"""

import copy
from functools import cache
from typing import Any

from transformers import AutoTokenizer, BatchEncoding, PreTrainedTokenizerBase

from harness.engine.server_side.harness_vllm_tokens import Pieces

# Of a call by `apply_chat_template` for one conversation; whatever else is asked for goes to the tokenizer itself.
PLAIN = {
    "add_special_tokens": False,
    "padding": False,
    "truncation": False,
    "max_length": None,
    "return_tensors": None,
}


@cache
def tokenizer_of(checkpoint: str) -> PreTrainedTokenizerBase:
    """A checkpoint's tokenizer by pieces, the same one for all in this process that ask: they see the same texts."""
    return by_pieces(AutoTokenizer.from_pretrained(checkpoint))


def by_pieces(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """A copy of the tokenizer, with its chat template, that keeps the ids of pieces (see `Pieces`).

    The first texts are tokenised both ways; if one differs, all later ones are tokenised whole.
    """
    pieces = Pieces(tokenizer)

    class ByPieces(type(tokenizer)):  # type: ignore[misc]
        def __call__(self, text: Any = None, *args: Any, **options: Any) -> BatchEncoding:
            plain = "add_special_tokens" in options and PLAIN | options == PLAIN  # left out, it means True
            if args or not plain or not isinstance(text, str):
                whole: BatchEncoding = super().__call__(text, *args, **options)
                return whole
            ids = pieces.encode(text)
            return BatchEncoding({"input_ids": ids, "attention_mask": [1] * len(ids)})

    found = copy.copy(tokenizer)
    found.__class__ = ByPieces
    return found
