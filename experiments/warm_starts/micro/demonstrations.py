"""A scripted agent whose form is always right and whose decisions are often wrong, always in the same way.

The warm start imitates it, so its rates become the policy's probabilities. Every rate below is under one half: greedy
decoding makes every mistake, sampling shows the right decision often enough to be found, and a decision that is learned
on the training tasks is right on the test tasks.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from tau2.domains.mock.data_model import MockDB
from tau2.domains.mock.utils import MOCK_DB_PATH, MOCK_POLICY_PATH

from harness.env import mock
from harness.env.domain import ScriptedConversation
from harness.env.mock import Request, Variant

# How often the agent decides rightly, where it may decide wrongly.
RIGHT = {
    "reopen": 0.42,  # else it sets the status that it always sets: completed
    "delete": 0.42,  # else it marks the task as completed instead of calling a human
    "report": 0.42,  # else it does not answer the question
    "continue": 0.44,  # else it takes the rest of a compound request for done
}

Message = dict[str, Any]


def call_for(request: Request, right: bool) -> tuple[str, dict[str, str]]:
    """Name and arguments of the agent's call."""
    gold = mock.gold_action(request, "")
    if request.verb in ("reopen", "delete") and not right:
        return "update_task_status", {"task_id": request.task_id, "status": "completed"}
    return gold.name, gold.arguments


def demonstrate(variant: Variant, episode: ScriptedConversation, random: Random) -> list[Message]:
    """The conversation as chat messages, without the system message; tool answers are tau2's own."""
    messages: list[Message] = [{"role": "user", "content": episode.first}]
    for turn in variant.turns:
        done: list[Request] = []
        for request in turn:
            if done and random.random() > RIGHT["continue"]:
                break
            name, arguments = call_for(request, random.random() < RIGHT.get(request.verb, 1.0))
            call = {"type": "function", "function": {"name": name, "arguments": arguments}}
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
            messages.append({"role": "tool", "content": episode.call_tool("", name, arguments)})
            done.append(request)
        text = closing(done, report=random.random() < RIGHT["report"])
        messages.append({"role": "assistant", "content": text})
        follow_up = episode.answer(text)
        if follow_up is None:
            break
        messages.append({"role": "user", "content": follow_up})
    return messages


def closing(done: list[Request], report: bool) -> str:
    """What the agent says at the end of a turn."""
    facts = [_sentence(request) for request in done if request.report] if report else []
    return " ".join(["All done.", *facts])


def _sentence(request: Request) -> str:
    return f"The id is {request.task_id}." if request.verb == "create" else f'The title is "{request.title}".'


def stream(seed: int, held_out: frozenset[str]) -> Iterator[list[Message]]:
    """Endless fresh demonstrations, system message included. No opening of `held_out` is ever shown."""
    base = MockDB.model_validate_json(MOCK_DB_PATH.read_text(encoding="utf-8"))
    policy = MOCK_POLICY_PATH.read_text(encoding="utf-8")
    random = Random(f"demonstrations/{seed}")
    while True:
        variant = mock.draw(random.choice(mock.KINDS), random)
        if variant.lines[0] in held_out:
            continue
        episode = ScriptedConversation(mock.world(variant, "demonstration", base, policy))
        yield [{"role": "system", "content": policy}, *demonstrate(variant, episode, random)]
