"""The context that a trainer renders again, where nobody has kept it: from its chat template and tokenizer.

As ART 0.5.18 does it: each reply's own token ids stand in the place of its text, and its tool calls stay beside it.
Where a reply's token ids are not known, the conversation is rendered as it is.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from harness.errors import ConfigError
from harness.policy.template import STAND_IN, read, renderer
from harness.probe.material import Ids, Material, Message, Render, Rollout, Tools, Turn

MARK = STAND_IN + "{}" + STAND_IN


@dataclass(frozen=True)
class Words:
    """A tokenizer.json, by what a probe asks of it."""

    tokenizer: Any
    bos_token_id: int | None
    eos_token_id: int | None

    def encode(self, text: str, add_special_tokens: bool = False) -> Ids:
        return tuple(self.tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))


def words_of(path: Path) -> Words:
    """The tokenizer of a folder or a tokenizer.json. Raises ConfigError."""
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exception for all that a file can be
        raise ConfigError(f"{file} is no tokenizer.json: {error}.") from None
    config = file.with_name("tokenizer_config.json")
    named = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}

    def special(name: str) -> int | None:
        token = named.get(name)
        text = token.get("content") if isinstance(token, dict) else token
        return None if text is None else tokenizer.token_to_id(str(text))

    return Words(tokenizer, special("bos_token"), special("eos_token"))


def template_of(path: Path) -> str:
    """A template's text: of a file, or of a model's folder. Raises ConfigError."""
    try:
        text = read(path) if path.is_dir() else path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{error.filename or path} cannot be read: {error.strerror or error}.") from None
    if text is None:
        raise ConfigError(f"{path} has no chat template: name its file with --template.")
    return text


def rendered(material: Material, template: str, words: Words, name: str) -> Material:
    """With the trained contexts, if no rollout has its own. name: of the template. Raises ConfigError."""
    if any(rollout.trained_ids is not None for rollout in material.rollouts):
        return material  # those without were not trained
    render = renderer(name, template)
    parses = "tool_call.arguments|items" in template  # as ART does: it parses the arguments for such templates alone

    def ids(messages: Sequence[Message], tools: Tools | None, opens: bool) -> Ids:
        plain = [_shown(message, parses) for message in messages]
        return words.encode(render(plain, tools or (), opens=opens))

    def with_context(rollout: Rollout) -> Rollout:
        if rollout.trained_ids is not None or not rollout.said:
            return rollout
        sampled = [turn.output_ids for turn in rollout.turns]
        if len(sampled) == len(rollout.said) and None not in sampled:
            return replace(rollout, trained_ids=_as_art(rollout, render, parses, words))
        before = rollout.messages[: rollout.said[0]]
        opening, whole = ids(before, rollout.tools, True), ids(rollout.messages, rollout.tools, False)
        found = replace(rollout, trained_ids=whole, opening=len(opening) if whole[: len(opening)] == opening else None)
        if rollout.sent_tools and all(turn.prompt_ids is None for turn in rollout.turns[:1]):
            first = rollout.turns[0] if rollout.turns else Turn()
            served = replace(first, prompt_ids=ids(before, rollout.sent_tools, True))
            found = replace(found, turns=(served, *rollout.turns[1:]))
        return found

    return replace(material, groups=tuple(tuple(map(with_context, group)) for group in material.groups))


def render_of(template: str, words: Any, name: str = "the loop") -> Render:
    """Prompts as a server makes them of messages and tools. words: a tokenizer with `encode`

    What it returns raises ConfigError where the template refuses a conversation.
    """
    render = renderer(name, template)
    kept: dict[str, Ids] = {}

    def prompt(messages: Sequence[Message], tools: Tools | None, parses: bool) -> Ids:
        key = json.dumps([messages, tools, parses], default=str)
        if key not in kept:
            text = render([_shown(message, parses) for message in messages], tools or (), opens=True)
            kept[key] = tuple(words.encode(text, add_special_tokens=False))
        return kept[key]

    return prompt


def _as_art(rollout: Rollout, render: Any, parses: bool, words: Words) -> Ids:
    numbers = {at: n for n, at in enumerate(rollout.said)}
    messages = [
        _shown(message, parses) | ({"content": MARK.format(numbers[at])} if at in numbers else {})
        for at, message in enumerate(rollout.messages[: rollout.said[-1] + 1])
    ]
    # the last reply's calls stand where nothing is trained any more
    messages[-1] = {key: value for key, value in messages[-1].items() if key != "tool_calls"}
    text = render(messages, rollout.tools or ())
    parts: list[Ids] = []
    for number, turn in enumerate(rollout.turns):
        before, mark, text = text.partition(MARK.format(number))
        if not mark:
            raise ConfigError(f"The chat template does not show the text of reply {number + 1} of a rollout.")
        parts += [words.encode(before), turn.output_ids or ()]
        if turn.output_ids and (end := words.decode(turn.output_ids[-1:])) and text.startswith(end):
            text = text[len(end) :]  # the token that ends a reply was sampled
    return tuple(chain(*parts))


def _shown(message: Message, parses: bool) -> dict[str, Any]:
    """A message as templates take it: content is a text, a call is a function of its own."""
    out = {"content": "", **message}
    if message.get("tool_calls"):
        out["tool_calls"] = [_call(call, parses) for call in message["tool_calls"]]
    return out


def _call(call: Any, parses: bool) -> dict[str, Any]:
    function = dict(call.get("function") or {"name": call.get("name"), "arguments": call.get("arguments")})
    if parses and isinstance(function["arguments"], str):
        with suppress(ValueError):
            function["arguments"] = json.loads(function["arguments"])
    return {"id": call.get("id"), "type": "function", "function": function}
