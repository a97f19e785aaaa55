"""Calls as the parser left them: as text that nothing answers, or with arguments inside a text."""

import json
import re

from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Material, Rollout
from harness.probe.tool_answers import TELL_CALLS

THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
CALL = re.compile(
    r"<tool_call>(.*?)(?:</tool_call>|$)|\[TOOL_CALLS\](.*)|<\|python_tag\|>(.*)|(<function=.*?</function>)", re.DOTALL
)
TELL_TEXT = "messages of a policy with tools: calls as `tool_calls`, the rest as text"


def calls_left_as_text(material: Material) -> Finding:
    """A well-formed tool call stands in a reply's text and nothing answers it: the parser passed over it."""
    names = {
        str((t.get("function") or t).get("name")) for r in material.rollouts for t in r.sent_tools or r.tools or ()
    }
    calls = any(m.get("tool_calls") for r in material.rollouts for m in r.messages)
    replies = [(r, at) for r in material.rollouts for at in r.said]
    if not replies or not (calls or names):
        return cannot_tell(f"{len(replies)} replies, and no tools that are called by `tool_calls`", TELL_TEXT)
    left = [(r, at) for r, at in replies if _is_left(r, at, names)]
    text = f"{len(left)} of {len(replies)} replies hold a whole tool call as text that nothing answers"
    reading = {"replies": len(replies), "left": len(left)}
    if not left:
        return absent(text, **reading)
    rollout, at = left[0]
    return present(text, f"as {str(rollout.messages[at].get('content'))[:100]!r}", **reading)


def arguments_encoded_twice(material: Material) -> Finding:
    """The arguments of a call are JSON text inside JSON text, which a tool takes for a string."""
    told = twice = 0
    for rollout in material.rollouts:
        for message in rollout.messages:
            for call in message.get("tool_calls") or ():
                arguments = (call.get("function") or call).get("arguments")
                told, twice = told + 1, twice + _is_twice(arguments)
    if not told:
        return cannot_tell("no message has a call", TELL_CALLS)
    text = f"the arguments of {twice} of {told} calls are JSON text inside JSON text"
    return present(text, calls=told, twice=twice) if twice else absent(text, calls=told, twice=twice)


def _is_left(rollout: Rollout, at: int, names: set[str]) -> bool:
    """One that the policy itself spelled wrong is its own fault, and one that is answered was understood."""
    message, after = rollout.messages[at], rollout.messages[at + 1 :]
    if message.get("tool_calls") or (after and after[0].get("role") == "tool"):
        return False
    found = CALL.search(THOUGHT.sub("", str(message.get("content") or "")))
    return bool(found) and _is_whole(next((g for g in found.groups() if g), "") if found else "", names)


def _is_whole(text: str, names: set[str]) -> bool:
    if text.startswith("<function="):
        return not names or text.removeprefix("<function=").partition(">")[0] in names
    try:
        call = json.loads(text)
    except ValueError:
        return False
    call = call[0] if isinstance(call, list) and call else call
    return isinstance(call, dict) and "arguments" in call and (not names or call.get("name") in names)


def _is_twice(arguments: object) -> bool:
    try:
        inner = json.loads(arguments) if isinstance(arguments, str) else None
        return isinstance(inner, str) and isinstance(json.loads(inner), dict)
    except ValueError:
        return False


FINDINGS = (
    calls_left_as_text,
    arguments_encoded_twice,
)
