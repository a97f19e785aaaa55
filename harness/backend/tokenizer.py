"""The tokenizer that ART trains with: tool calls once or twice, and the same ids sooner.

Calls: ART puts one token in the place of each trained turn's text and leaves the turn's calls beside it, so that a
template which shows both shows each call twice: as it was sampled, which is trained, and again, which ART masks. The
tokenizer sees that token, and leaves the calls out, whatever the template; or it shows them as stock ART does with a
template that does not know the token, as ours do.

Sooner: ART tokenises every trajectory twice: on retail 5,000 tokens of system prompt and tools each time, 16 ms, for
hundreds of trajectories a step, in the process that all runs of a sweep share. By pieces ART's whole work on a batch
takes a fifth (experiments/benchmarks/packing_speed.py).
"""

import copy
from functools import cache
from typing import Any

from transformers import AutoTokenizer, BatchEncoding, PreTrainedTokenizerBase

from harness.engine.server_side.harness_vllm_tokens import Pieces
from harness.policy.template import STAND_IN

# Of a call by `apply_chat_template` for one conversation; whatever else is asked for goes to the tokenizer itself.
PLAIN = {
    "add_special_tokens": False,
    "padding": False,
    "truncation": False,
    "max_length": None,
    "return_tensors": None,
}


def tokenizer_of(checkpoint: str, calls: str = "once") -> PreTrainedTokenizerBase:
    """A checkpoint's tokenizer by pieces, the same one for all in this process that ask: they see the same texts.

    calls: "once" or "twice", see `Rendering`
    """
    return _tokenizer(checkpoint, calls)


@cache
def _tokenizer(checkpoint: str, calls: str) -> PreTrainedTokenizerBase:
    return showing_calls(_by_pieces(checkpoint), calls)


@cache
def _by_pieces(checkpoint: str) -> PreTrainedTokenizerBase:
    return by_pieces(AutoTokenizer.from_pretrained(checkpoint))


def showing_calls(tokenizer: PreTrainedTokenizerBase, calls: str) -> PreTrainedTokenizerBase:
    """A copy of the tokenizer that shows the calls of ART's trained turns "once" or "twice".

    ART alone asks for a chat whose final message goes on (`continue_final_message`), and that message is ART's token:
    the last turn that is trained. Every other chat is rendered as it is.
    """

    class ShowingCalls(type(tokenizer)):  # type: ignore[misc]
        def apply_chat_template(self, conversation: Any, *args: Any, **options: Any) -> Any:
            if not options.get("continue_final_message"):
                return super().apply_chat_template(conversation, *args, **options)
            token = conversation[-1]["content"]
            turns = [_turn(m) if (m["role"], m.get("content")) == ("assistant", token) else m for m in conversation]
            if calls == "once":
                return super().apply_chat_template(turns, *args, **options)
            # The template is shown a text that it cannot know for ART's, which the token replaces afterwards.
            text = super().apply_chat_template(turns, *args, **options | {"tokenize": False})
            return self(text.replace(STAND_IN, token), **PLAIN)

    def _turn(message: dict[str, Any]) -> dict[str, Any]:
        if calls == "twice":
            return message | {"content": STAND_IN}
        return {key: value for key, value in message.items() if key != "tool_calls"}

    return _of_class(tokenizer, ShowingCalls)


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

    return _of_class(tokenizer, ByPieces)


def _of_class(tokenizer: PreTrainedTokenizerBase, made: type) -> PreTrainedTokenizerBase:
    """A copy of the tokenizer, of that class, a subclass of its own."""
    found = copy.copy(tokenizer)
    found.__class__ = made
    return found
