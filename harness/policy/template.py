"""What a chat template does with tools and tool calls, found by rendering a short conversation.

The template renders twice: in vLLM, to serve, and in ART, to train. ART puts one token in the place of each trained
turn's text, leaves the turn's tool calls beside it, and replaces the token by what was sampled. A template that shows
text and calls then shows each call twice, and the policy is trained on a context that it never saw. Our own templates
know ART's token and hide the calls beside it. `harness.backend.tokenizer` leaves the calls out for any template, and
shows them beside STAND_IN where a run is to be trained as stock ART trains.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.errors import ConfigError

Render = Callable[..., str]  # (messages, tools, opens=False); opens: up to where the next turn of the policy begins
STAND_IN = "\ue000a trained turn\ue000"  # in the place of ART's token: no template knows it, and no chat contains it

TODAY = "1 January 2026"  # the date of every rendering: it must not change from day to day


def read(folder: Path) -> str | None:
    """A folder's template as transformers finds it for a conversation with tools; None: there is none."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template")
    if isinstance(found, list):  # several by name
        named = {each["name"]: each["template"] for each in found}
        found = named.get("tool_use") or named.get("default")
    return None if found is None else str(found)


def check(policy: str, text: str, tokenizer: Path, tools: Sequence[dict[str, Any]]) -> list[str]:
    """Sentences about what will disturb training; empty for a template that fits.

    tokenizer: tokenizer.json
    Raises ConfigError for a template that cannot be rendered, shows no tools, or hides what ART looks for.
    """
    from tokenizers import Tokenizer

    words = Tokenizer.from_file(str(tokenizer))
    top = words.get_vocab_size(with_added_tokens=False) - 1
    sentinel = words.decode([top], skip_special_tokens=False)  # as ART chooses it: the highest id that is free
    render = renderer(f"policy={policy}", text)
    system, user = {"role": "system", "content": "Help."}, {"role": "user", "content": "Begin."}
    if tools and any(str(tool["function"]["name"]) not in render([system, user], tools) for tool in tools):
        raise ConfigError(
            f"The chat template of policy={policy} does not show the tools that it is given, so the policy would never "
            "learn of them. Give one that does: policy.chat_template=FILE."
        )
    turn, end = {"role": "assistant", "content": sentinel}, {"role": "user", "content": "Go on."}
    trained = render([system, user, turn, end], tools)
    if list(words.encode(trained, add_special_tokens=False).ids).count(top) != 1:
        raise ConfigError(
            f"ART marks a trained turn by the highest token of the vocabulary, {sentinel!r} ({top}), and with the chat "
            f"template of policy={policy} it does not stay one token. Put a line break before the turn's text, or "
            "reserve a token of its own at the top of the vocabulary."
        )
    if not tools or not _shows_calls(render, text, tools, beside=sentinel):
        return []
    return [
        f"The chat template of policy={policy} shows the tool calls of a turn beside its text. Stock ART 0.5.18 shows "
        "every such call but the last twice, the second time untrained: a context that was never served. Here "
        "fix/toolcalls=on, the default, shows each once."
    ]


def doubles_calls(policy: str, text: str, tools: Sequence[dict[str, Any]]) -> bool:
    """Whether stock ART would show a trained call twice, were it not for a template that knows ART's token.

    Raises ConfigError for a template that cannot be rendered.
    """
    return bool(tools) and _shows_calls(renderer(f"policy={policy}", text), text, tools, beside=STAND_IN)


def _shows_calls(render: Render, template: str, tools: Sequence[dict[str, Any]], beside: str) -> bool:
    """Whether a turn with this text shows its calls as well."""
    turn = {"role": "assistant", "content": beside}
    arguments = {"id": "1"}
    call = {"name": tools[0]["function"]["name"], "arguments": json.dumps(arguments)}
    if "tool_call.arguments|items" in template:  # as ART does: it parses the arguments for such templates alone
        call |= {"arguments": arguments}
    called = turn | {"tool_calls": [{"id": "call_1", "type": "function", "function": call}]}
    before = [{"role": "system", "content": "Help."}, {"role": "user", "content": "Begin."}]
    answer = {"role": "tool", "tool_call_id": "call_1", "content": "1"}
    return render([*before, called, answer], tools) != render([*before, turn, answer], tools)


def renderer(whose: str, text: str) -> Render:
    """Renders messages and tools as transformers does, and raises ConfigError where that fails.

    whose: template it is, for the error
    """
    import jinja2
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    made.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    made.globals |= {"raise_exception": refuse, "strftime_now": lambda _: TODAY}

    def render(messages: list[dict[str, Any]], tools: Sequence[dict[str, Any]], opens: bool = False) -> str:
        try:
            return made.from_string(text).render(
                messages=messages, tools=list(tools) or None, add_generation_prompt=opens
            )
        except Exception as error:  # whatever the expressions of a template raise
            raise ConfigError(
                f"The chat template of {whose} cannot be rendered for a conversation with "
                f"{', '.join(m['role'] for m in messages)}: {error}"
            ) from None

    return render
