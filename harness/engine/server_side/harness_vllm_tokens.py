"""Prompts are tokenised by the pieces that are new, loaded by vLLM in each of its processes (`vllm.general_plugins`).

symptom    with prompts of 5,000 tokens the server answers some 100 requests a second, whatever the card does
mechanism  vLLM 0.20 tokenises a chat's whole text anew on every call (13 ms of CPU on retail), all calls in one thread:
           its batches need a `max_length` that chats never have (`AsyncMicrobatchTokenizer._queue_key`)
fix        tokenizers split a text at special tokens before anything else, so the ids of the pieces between them, one
           after another, are the ids of the whole; pieces that were seen (system prompt, tools, history) are kept
evidence   tests/engine/test_server_tokens.py; and the first prompts of every server are tokenised both ways: if one
           differs, this is switched off and says so in the server's log
           `harness.backend.tokenizer` uses the same pieces where trajectories are tokenised
"""

import logging
import re
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

PIECES = 8192  # kept; a retail conversation has some 30, of which few are its own
CHECKED = 32  # first prompts that are tokenised both ways

log = logging.getLogger("vllm.harness_tokens")


class Pieces:
    """A tokenizer's ids of whole texts, from the ids of their pieces between special tokens."""

    def __init__(self, tokenizer: Any) -> None:
        added = tokenizer.added_tokens_decoder
        self._id = {str(token): number for number, token in added.items()}
        longest_first = sorted(self._id, key=len, reverse=True)
        self._split = re.compile("(" + "|".join(re.escape(text) for text in longest_first) + ")")
        # A token that takes white space along, stands for whole words only, or is looked for in normalised text splits
        # in another way.
        self.usable = bool(added) and not any(
            token.lstrip or token.rstrip or token.single_word or token.normalized for token in added.values()
        )
        self.unchecked = CHECKED
        self._tokenizer = tokenizer
        self._ids = lru_cache(PIECES)(lambda text: tuple(self.whole(text)))

    def whole(self, text: str) -> list[int]:
        """The tokenizer's own ids of a text."""
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)

    def encode(self, text: str) -> list[int]:
        """The same ids. Switches itself off at the first text for which they are not."""
        if not self.usable:
            return self.whole(text)
        ids: list[int] = []
        for i, piece in enumerate(self._split.split(text)):  # special tokens stand at the odd places
            if i % 2:
                ids.append(self._id[piece])
            elif piece:
                ids += self._ids(piece)
        if self.unchecked:
            self.unchecked -= 1
            expected = self.whole(text)
            if ids != expected:
                self.usable = False
                log.warning("A text's ids are not those of its pieces: from now on every prompt is tokenised whole.")
                return expected
        return ids


def apply() -> None:
    """Called by vLLM. Changes nothing in versions that tokenise in another way."""
    try:
        from vllm.utils.async_utils import AsyncMicrobatchTokenizer
    except ImportError:
        return
    patch(AsyncMicrobatchTokenizer)


def _pieces(tokenizer: Any) -> Pieces | None:
    try:
        return Pieces(tokenizer)
    except Exception as error:  # a tokenizer of another kind must not cost the server its requests
        log.warning("Prompts are tokenised whole: %r", error)
        return None


def patch(tokenizer_class: Any) -> None:
    """Replaces the class's `encode(prompt, **kwargs)`. Idempotent: vLLM may call a plugin more than once."""
    original: Callable[..., Awaitable[list[int]]] = tokenizer_class.encode
    if getattr(original, "by_pieces", False):
        return

    async def encode(self: Any, prompt: str, **kwargs: Any) -> list[int]:
        if kwargs.get("add_special_tokens", True) or not isinstance(prompt, str):
            return await original(self, prompt, **kwargs)
        pieces: Pieces | None = self.__dict__.get("_pieces")
        if pieces is None:
            pieces = self._pieces = _pieces(self.tokenizer)
        if pieces is None or not pieces.usable:
            return await original(self, prompt, **kwargs)
        # Longer than `max_length`, vLLM's own check refuses it afterwards, as it does what the tokenizer has cut there.
        return pieces.encode(prompt)

    encode.by_pieces = True  # type: ignore[attr-defined]
    tokenizer_class.encode = encode
