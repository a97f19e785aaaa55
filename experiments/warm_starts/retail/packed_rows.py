"""Demonstrations as packed rows: one copy of the system prompt with its tools, then conversations that share it.

Row `k` of a seed is a pure function of (seed, k), so any number of processes makes the same rows in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.warm_starts.retail import demonstrations
from experiments.warm_starts.retail.demonstrations import Demonstration
from harness.env.domain import Domain
from harness.env.retail_tasks.agent import Message
from harness.errors import ConfigError

CONTEXT = 12288  # tokens of a whole episode: 24 of the 40 held-out tasks fit in the base model's 8192, all in this
ROOM = 64  # of these left for what a served episode says more
PADDING = -1


@dataclass(frozen=True)
class Tokens:
    """A conversation behind the system prompt. trained: what the assistant writes, its <|im_end|> included."""

    ids: list[int]
    trained: list[bool]


@dataclass(frozen=True)
class Row:
    """Arrays [tokens]. group: 0 for the system prompt, then a number for each conversation, -1 for padding."""

    ids: NDArray[np.int32]
    positions: NDArray[np.int32]
    group: NDArray[np.int32]
    trained: NDArray[np.bool_]

    @property
    def parent(self) -> NDArray[np.int32]:
        """What every token may look at beside its own group: the system prompt."""
        return np.where(self.group == PADDING, PADDING, 0).astype(np.int32)


class Renderer:
    """Tokens by the checkpoint's own chat template: the ids with which the policy will be served."""

    def __init__(self, checkpoint: Path, system_prompt: str, tools: list[dict[str, Any]] | None) -> None:
        from transformers import AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint, model_max_length=CONTEXT)
        self.system: Message = {"role": "system", "content": system_prompt}
        self.tools = tools
        self.prefix: list[int] = self._template([self.system], tools=tools)
        self._head: list[int] = self.tokenizer("<|im_start|>assistant\n")["input_ids"]

    def _template(self, messages: list[Message], **options: Any) -> list[int]:
        ids: list[int] = self.tokenizer.apply_chat_template(messages, return_dict=False, **options)
        return ids

    def conversation(self, messages: list[Message]) -> Tokens:
        """Message by message: the template shows each alone, and <|im_end|> parts their tokens.

        Raises ValueError if an assistant turn does not begin with what the server puts there.
        """
        texts = [self.tokenizer.apply_chat_template([message], tokenize=False) for message in messages]
        ids: list[int] = []
        trained: list[bool] = []
        parts = self.tokenizer(texts)["input_ids"]
        for message, text, part in zip(messages, texts, parts, strict=True):
            ids += part
            if message["role"] != "assistant":
                trained += [False] * len(part)
                continue
            head = len(self._head)
            if part[:head] != self._head:
                raise ValueError(f"The turn {text[:60]!r} merges with its own header.")
            trained += [False] * head + [True] * (len(part) - head - 1) + [False]  # the newline is the server's
        return Tokens(ids, trained)

    def check(self, messages: list[Message]) -> None:
        """That all is as the server has it: every prompt is the one before, its answer, and what came in between.

        Raises ConfigError for a template or tokenizer of which that is not true.
        """
        tokens = self.conversation(messages)
        whole = self.prefix + tokens.ids
        for position, message in enumerate(messages):
            if message["role"] == "assistant":
                served = [self.system, *messages[:position]]
                prompt = self._template(served, tools=self.tools, add_generation_prompt=True)
                if whole[: len(prompt)] != prompt or not tokens.trained[len(prompt) - len(self.prefix)]:
                    raise ConfigError(f"Turn {position} would be trained on another prompt than it is served with.")
        if self._template([self.system, *messages], tools=self.tools) != whole:
            raise ConfigError("The chat template does not show a conversation message by message.")


class Rows:
    """The rows of a seed. length: tokens of a row; longest: of a conversation, longer ones are left out."""

    def __init__(self, domain: Domain, renderer: Renderer, seed: int, length: int, right: dict[str, float]) -> None:
        self.renderer = renderer
        self.longest = min(CONTEXT - ROOM, length) - len(renderer.prefix)
        if self.longest < 1:
            raise ConfigError(
                f"A row of {length} tokens has no room behind the system prompt of {len(renderer.prefix)}; "
                "give longer rows."
            )
        self._seed, self._length = seed, length
        self._source = demonstrations.Source(domain, right)

    def row(self, number: int) -> Row:
        examples = self._source.stream(f"{self._seed}/{number}")
        fitting = (t for t in map(self._tokens, examples) if len(t.ids) <= self.longest)
        return pack(self.renderer.prefix, fitting, self._length)

    def examples(self, count: int) -> list[list[Message]]:
        """The first conversations of row 0, as messages."""
        return [shown.messages for shown in islice(self._source.stream(f"{self._seed}/0"), count)]

    def _tokens(self, demonstration: Demonstration) -> Tokens:
        return self.renderer.conversation(demonstration.messages)


def pack(prefix: list[int], conversations: Iterator[Tokens], length: int) -> Row:
    """Fills a row of `length` tokens with whole conversations until one does not fit; the rest is padding."""
    ids, positions, group, trained = list(prefix), list(range(len(prefix))), [0] * len(prefix), [False] * len(prefix)
    for number, tokens in enumerate(conversations, start=1):
        count = len(tokens.ids)
        if len(ids) + count > length:
            break
        ids += tokens.ids
        positions += range(len(prefix), len(prefix) + count)
        group += [number] * count
        trained += tokens.trained
    free = length - len(ids)
    return Row(
        np.array(ids + [0] * free, dtype=np.int32),
        np.array(positions + [0] * free, dtype=np.int32),
        np.array(group + [PADDING] * free, dtype=np.int32),
        np.array(trained + [False] * free, dtype=np.bool_),
    )
