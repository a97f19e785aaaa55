"""Three agents without a model, for any environment: what rewards lie between, and that its tasks can be solved at all.

    oracle  does what the environment's own `solution` says, then says "Done."
    floor   says "Done." until the conversation ends
    random  calls tools with arguments that fit their schemas, then says "Done."; seeded by the task

They play through the same `Conversation` as a policy does, with the users that the environment brings.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from random import Random
from typing import Any, TypeVar

from harness.env.environment import Call, Environment, Step
from harness.seams import Outcome

DONE = "Done."
REPLIES = 60  # of an agent, at most: a gold solution of tau2 has up to 20 calls
CALLS = 8  # of the random agent, before it says that it is done

T = TypeVar("T")
Agent = Callable[[Environment, str, "list[str]"], Iterable[Step]]


class Awaits(Exception):
    """The user is awaited: it is a model, which is not asked here."""


@dataclass(frozen=True)
class Played:
    """stopped: whether the user or a tool ended the conversation; replies: what the agent did, one by one"""

    outcome: Outcome
    stopped: bool
    replies: int


def oracle(environment: Environment, task_id: str, _heard: list[str]) -> Iterator[Step]:
    solution: Callable[[str], Iterable[Step]] = environment.solution  # type: ignore[attr-defined]  # see has_solutions
    yield from solution(task_id)
    yield from repeat(DONE)


def floor(_environment: Environment, _task_id: str, _heard: list[str]) -> Iterator[Step]:
    return repeat(DONE)


def random(environment: Environment, task_id: str, heard: list[str]) -> Iterator[Step]:
    """heard: all texts so far, the newest last; words of them stand where a schema asks for any text."""
    luck = Random(f"random agent/{task_id}")
    while True:
        for _ in range(CALLS):
            function = luck.choice(environment.tools)["function"]
            schema = function.get("parameters") or {}
            words = " ".join(heard).replace('"', " ").replace(",", " ").split() or [DONE]
            arguments = fitting(schema, luck, words, schema.get("$defs") or {})
            yield Call(function["name"], arguments if isinstance(arguments, dict) else {})
        yield DONE


def fitting(schema: Mapping[str, Any], luck: Random, words: Sequence[str], defs: Mapping[str, Any]) -> Any:
    """A value of the kind that a JSON schema asks for. words: that a text is drawn from; defs: what `$ref` refers to"""
    if reference := schema.get("$ref"):
        return fitting(defs.get(reference.rpartition("/")[2], {}), luck, words, defs)
    if "const" in schema:
        return schema["const"]
    if options := schema.get("enum"):
        return luck.choice(options)
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return fitting(luck.choice(options), luck, words, defs)
    match schema.get("type", "object" if "properties" in schema else "string"):
        case "object":
            return {name: fitting(inner, luck, words, defs) for name, inner in schema.get("properties", {}).items()}
        case "array":
            return [fitting(schema.get("items", {}), luck, words, defs) for _ in range(luck.randint(1, 2))]
        case "integer":
            return luck.randint(0, 5)
        case "number":
            return luck.randint(0, 500) / 10
        case "boolean":
            return luck.random() < 0.5
        case "null":
            return None
        case _:
            return luck.choice(words)


def play(environment: Environment, task_id: str, agent: Agent, seed: int = 0) -> Played:
    """An episode, up to its end or to REPLIES. Raises Awaits."""
    conversation = environment.start(task_id, seed)
    heard = [_now(conversation.opening())]
    stopped, replies = False, 0
    for step in islice(agent(environment, task_id, heard), REPLIES):
        replies += 1
        if isinstance(step, Call):
            heard.append(conversation.call_tool(f"call_{replies}", step.name, step.arguments))
            stopped = conversation.done
        else:
            said = _now(conversation.reply(step))
            stopped = said is None
            heard.append(said or "")
        if stopped:
            break
    return Played(conversation.outcome(stopped), stopped, replies)


def opening(environment: Environment, task_id: str) -> str:
    """The user's first message. Raises Awaits."""
    return _now(environment.start(task_id, 0).opening())


def _now(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    coroutine.close()
    raise Awaits


def has_solutions(environment: Environment) -> bool:
    """Whether the oracle can play: the environment is `Solved`."""
    return callable(getattr(environment, "solution", None))


_measured: dict[tuple[str, tuple[str, ...]], tuple[float, float] | None] = {}


def bounds(environment: Environment, task_ids: Sequence[str]) -> tuple[float, float] | None:
    """Mean rewards on these tasks of the floor and the oracle, played once in a process; what the environment itself
    says comes first. None where it neither says nor knows solutions, or where its user is a model."""
    known = getattr(environment, "bounds", None)
    if known is not None:
        return known(task_ids)  # type: ignore[no-any-return]
    if not has_solutions(environment) or not task_ids:
        return None
    key = environment.digest, tuple(task_ids)
    if key not in _measured:
        _measured[key] = _between(environment, task_ids)
    return _measured[key]


def _between(environment: Environment, task_ids: Sequence[str]) -> tuple[float, float] | None:
    try:
        least, most = (mean_reward(environment, task_ids, agent) for agent in (floor, oracle))
    except Awaits:
        return None
    return least, most


def mean_reward(environment: Environment, task_ids: Sequence[str], agent: Agent) -> float:
    return sum(play(environment, task_id, agent).outcome.reward for task_id in task_ids) / len(task_ids)
