"""Token for token: prompts beside the chat template's rendering of the messages, messages beside what the parser makes
of the sampled tokens, log-probs beside those of the same tokens after the same conversation."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.probe.differences import side_by_side
from harness.probe.finding import Finding, cannot_tell, compared
from harness.probe.material import ENDED, Ids, Material, Message, Rollout, text_of

CALL = "<tool_call>"
CALLS = re.compile(r"<tool_call>(.*?)</tool_call>|<tool_call>(.*)", re.DOTALL)
DATE = r"[\w ,./:-]{4,40}"
SAME = 1e-3  # nats between log-probs of float32
TELL_TEMPLATE = "the chat template (--template) and the tokenizer (--tokenizer), and the token ids of served prompts"
TELL_PARSER = "the parser (declared: parser), the tokenizer, and the token ids of replies beside their messages"
TELL_SAME = "log-probs of float32 (--exact) of rollouts that begin with the same messages at the same step"


def prompts_not_rendered(material: Material) -> Finding:
    """A served prompt is not, token for token, what the chat template makes of the messages and tools before it."""
    told, odd = 0, []
    shown: tuple[str, ...] = ()
    for rollout, at, prompt in _prompts(material):
        if material.render is None:
            break
        messages = [_cut(message, material.declared.calls) for message in rollout.messages[:at]]
        if any(map(_has_more_than_text, messages)):
            continue
        tools = rollout.sent_tools or rollout.tools
        told, near = told + 1, material.render(messages, tools, False)
        # servers show a call's arguments as text or as an object
        if prompt == near or prompt == material.render(messages, tools, True) or _is_alike(near, prompt, material):
            continue
        odd.append(f"a prompt of {len(prompt)} tokens, rendered it has {len(near)}")
        shown = shown or side_by_side(prompt, near, material.decode)
    found = compared(told, odd, "served prompts are not the chat template's rendering", TELL_TEMPLATE)
    lines = tuple(line.replace("trained", "rendered") for line in shown)
    return Finding(found.verdict, found.text, found.reading, found.tell, (*found.shown, *lines))


def replies_not_as_parsed(material: Material) -> Finding:
    """A reply's text, calls or finish reason are not exactly what the declared parser makes of its sampled tokens."""
    told, odd = 0, []
    if material.declared.parser is None or material.decode is None:
        return cannot_tell(
            f"no {'tokenizer is given' if material.declared.parser else 'parser is declared'}", TELL_PARSER
        )
    for rollout in material.rollouts:
        for at, turn in rollout.replies:
            body = turn.output_ids or ()
            body = body[:-1] if turn.finish_reason in ENDED and body[-1:] and body[-1] in material.eos else body
            if not turn.output_ids or "<think>" in (text := material.decode(body)):
                continue
            told += 1
            wanted, message = parsed(text), rollout.messages[at]
            said = (text_of(message), [*map(_call, message.get("tool_calls") or ())])
            most = (wanted[0], wanted[1][: material.declared.calls])  # a message may show those that are executed
            if said not in (wanted, most):
                odd.append(f"says {json.dumps(said)[:150]}, and its tokens {json.dumps(wanted)[:150]}")
            elif turn.finish_reason in ENDED and (turn.finish_reason == "tool_calls") != bool(wanted[1]):
                odd.append(f"finished as {turn.finish_reason}, with {len(wanted[1])} calls")
    return compared(told, odd, "replies are not what the parser makes of their tokens", TELL_PARSER)


def equal_contexts_other_logprobs(material: Material) -> Finding:
    """The same token after the same conversation has another log-prob in another rollout of its step."""
    seen: dict[object, float] = {}
    told, odd = 0, []
    for rollout in material.rollouts if material.exact else ():
        for at, turn in rollout.replies:
            pairs = zip(turn.output_ids or (), turn.logprobs or (), strict=False)
            before = json.dumps([rollout.messages[:at], rollout.sent_tools], sort_keys=True, default=str)
            place = hash((rollout.step, turn.model, before))
            for token, logprob in pairs:
                place = hash((place, token))
                if logprob is None or not math.isfinite(logprob):
                    break
                if place in seen:
                    told += 1
                    far = abs(seen[place] - logprob) > SAME
                    odd += [f"{logprob:g} and {seen[place]:g} of one token at step {rollout.step}"] if far else []
                seen.setdefault(place, logprob)
    return compared(told, odd, "log-probs are not those of the same token after the same conversation", TELL_SAME)


def parsed(text: str) -> tuple[str, list[tuple[str, Any]]]:
    """What vLLM's parser `hermes` makes of a reply: its text, and its calls as (name, arguments)."""
    if CALL not in text:
        return text, []
    try:
        found = [json.loads(one or other, object_pairs_hook=_ordered) for one, other in CALLS.findall(text)]
        calls = [(str(dict(each)["name"]), dict(each)["arguments"]) for each in found]
    except (ValueError, KeyError, TypeError, RecursionError):
        return text, []
    return text.partition(CALL)[0], calls


def _ordered(pairs: list[tuple[str, Any]]) -> tuple[tuple[str, Any], ...]:
    return tuple(pairs)


def _call(call: Any) -> tuple[str, Any]:
    function = call.get("function") or call
    try:
        return str(function["name"]), json.loads(function["arguments"], object_pairs_hook=_ordered)
    except (ValueError, TypeError, RecursionError):
        return str(function["name"]), function["arguments"]


def _prompts(material: Material) -> Iterator[tuple[Rollout, int, Ids]]:
    for rollout in material.rollouts:
        for at, turn in rollout.replies:
            if turn.prompt_ids and at:
                yield rollout, at, turn.prompt_ids


def _is_alike(near: Ids, prompt: Ids, material: Material) -> bool:
    """Whether they differ in what a server may do otherwise: in a date, or the order of keys (tool_keys_reordered)."""
    if material.decode is None:
        return False
    from harness.policy.template import TODAY  # what renders is not loaded where nothing is rendered

    rendered, served = material.decode(near), material.decode(prompt)
    dated = re.escape(rendered).replace(re.escape(TODAY), DATE)
    lines = [*zip(rendered.split("\n"), served.split("\n"), strict=False)]
    if rendered.count("\n") == served.count("\n") and all(
        one == other or _same_json(one, other) for one, other in lines
    ):
        return True
    return TODAY in rendered and re.fullmatch(dated, served) is not None


def _same_json(one: str, other: str) -> bool:
    """Whether two lines end in one JSON value, with its keys in whatever order, behind the same words."""
    begin = min((at for sign in "{[" if (at := one.find(sign)) >= 0), default=len(one))
    try:
        return one[:begin] == other[:begin] and bool(json.loads(one[begin:]) == json.loads(other[begin:]))
    except (ValueError, RecursionError):
        return False


def _has_more_than_text(message: Message) -> bool:
    """Images and sounds have tokens that no template makes."""
    content = message.get("content")
    parts = content if isinstance(content, Sequence) and not isinstance(content, str) else ()
    return any(isinstance(part, Mapping) and part.get("type", "text") != "text" for part in parts)


def _cut(message: Message, calls: int | None) -> Message:
    """With those of its calls that are executed, which are all that later prompts show."""
    made = message.get("tool_calls")
    return message if not made or calls is None else {**message, "tool_calls": made[:calls]}


FINDINGS = (prompts_not_rendered, replies_not_as_parsed, equal_contexts_other_logprobs)
