"""Rollouts from what a trainer has in its hands: ART's objects, or plain lists and dictionaries.

ART's classes are never imported: what has `trajectories` is a group, what has `messages_and_choices` a trajectory. A
dictionary has the names of the fields of `Rollout` and `Turn`, or those that ART, verifiers and TRL give them.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from harness.probe.material import Ids, Logprobs, Message, Rollout, Tools, Turn, Update

TASK = ("task_id", "example_id", "scenario_id", "task_index", "task", "id")  # names of a task's id, the first counts
SUCCESS = ("success", "raw_reward", "correct", "solved")
STEP = ("step", "training_step", "global_step", "initial_policy_version")
GROUP = ("group", "group_index", "group_id")
ERROR = ("error", "exception", "errors")
SAMPLED = ("output_ids", "completion_ids", "token_ids")
PREFIX = "token_id:"


def groups_of(given: Any) -> tuple[tuple[Rollout, ...], ...]:
    """The groups of what was given: groups as they are, single rollouts by step, task and number of their group, or
    where they have none of these by their first prompt."""
    groups: list[tuple[Rollout, ...]] = []
    alone: dict[str, list[Rollout]] = {}
    for each in given:
        if (trajectories := _get(each, "trajectories")) is not None:
            groups.append(tuple(rollout_of(t, each) for t in trajectories))
        elif isinstance(each, Sequence) and not isinstance(each, str | bytes):
            groups.append(tuple(rollout_of(t) for t in each))
        else:
            rollout = rollout_of(each)
            alone.setdefault(_group_of(each, rollout), []).append(rollout)
    return tuple(groups) + tuple(map(tuple, alone.values()))


def rollout_of(given: Any, group: Any = None) -> Rollout:
    """One rollout. given: may hold ART's trajectory under `trajectory`, beside what the trainer made of it."""
    inner = _get(given, "trajectory")
    source = inner if inner is not None and not isinstance(inner, Sequence) else given
    metadata = {**_plain(_get(group, "metadata")), **_plain(_get(source, "metadata"))}
    metrics = _plain(_get(source, "metrics"))

    def known(*names: str) -> Any:
        """The first of these fields that is there, whoever holds it."""
        for holder in (given, source, metadata, metrics):
            for name in names:
                if (found := _get(holder, name)) is not None:
                    return found
        return None

    spoken = list(_messages(given if source is given else source))
    messages = tuple(_message(one) for one in spoken)
    said = tuple(n for n, one in enumerate(spoken) if _is_reply(one, messages[n]))
    steps = inner if isinstance(inner, Sequence) else None  # of verifiers: one for each reply
    turns = _turns(known("turns") or steps, [spoken[n] for n in said], known("model", "model_name"))
    error = known(*ERROR)
    mask = known("trained_mask", "mask")
    ids = known("trained_ids", "input_ids")
    return Rollout(
        messages=messages,
        turns=turns,
        said=said,
        keeps=frozenset(_keeps(given, source, spoken)),
        tools=_tools(known("tools", "tool_defs")),
        sent_tools=_tools(known("sent_tools")),
        trained_ids=None if ids is None else tuple(map(int, ids)),
        trained_mask=None if mask is None else tuple(map(bool, mask)),
        reward=_number(known("reward")),
        success=_number(known(*SUCCESS)),
        advantage=_number(known("advantage")),
        end=_end(known),
        step=_whole(known(*STEP)),
        task=_task(known(*TASK)),
        split=str(known("split") or "train"),
        error=str(error)[:200] if error else None,
        group=None if (number := _first(given, *GROUP)) is None else str(number),
    )


def update_of(given: Any) -> Update:
    """A training call, from its metrics: ours, or ART's."""
    before, after = _get(given, "weights_before"), _get(given, "weights_after")
    moved = _get(given, "moved")

    def first(*names: str) -> float | None:
        return next((n for name in names if (n := _number(_get(given, name))) is not None), None)

    return Update(
        step=_whole(first("step", "training_step")),
        gradient_steps=first("gradient_steps", "data/step_num_gradient_steps", "num_gradient_steps"),
        trained_tokens=first("trained_tokens", "trainable_tokens", "data/step_trainer_tokens"),
        learning_rate=first("learning_rate"),
        grad_norm=first("grad_norm", "loss/grad_norm", "train/grad_norm"),
        moved=moved if moved is not None else None if None in (before, after) else before != after,
        before=None if before is None else str(before),
        after=None if after is None else str(after),
    )


def _messages(source: Any) -> Iterator[Any]:
    for name in ("messages_and_choices", "messages"):
        found = _get(source, name)
        if found is not None and not callable(found):
            yield from json.loads(found) if isinstance(found, str) else found
            return
    prompt, completion = _get(source, "prompt"), _get(source, "completion")
    yield from [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt or ()
    yield from [{"role": "assistant", "content": completion}] if isinstance(completion, str) else completion or ()


def _is_reply(given: Any, message: Message) -> bool:
    """Whether the policy said it: of ART's messages, those that are trained; else every one of an assistant."""
    if _get(given, "message") is not None:
        return True
    return message.get("role") == "assistant" and _get(given, "trainable") is not False


def _message(given: Any) -> dict[str, Any]:
    inner = _get(given, "message")
    message = _plain(inner if inner is not None else given)
    calls = message.get("tool_calls")
    if isinstance(calls, str):
        calls = json.loads(calls)
    out = {k: v for k, v in message.items() if v is not None and k not in ("tool_calls", "trainable", "logprobs")}
    return out | ({"tool_calls": [_plain(call) for call in calls]} if calls else {})


def _turns(given: Any, replies: Sequence[Any], model: Any) -> tuple[Turn, ...]:
    if given is not None:
        return tuple(_turn(each, model) for each in given)
    return tuple(_turn(each, model) for each in replies)


def _turn(given: Any, model: Any) -> Turn:
    """From a turn of ours, from a choice or message as a server sent it, or from a step of verifiers."""
    if (tokens := _get(given, "tokens")) is not None and not isinstance(tokens, Sequence):
        given = {"finish_reason": _get(given, "finish_reason"), "logprobs": _get(tokens, "completion_logprobs")} | {
            name: _get(tokens, name) for name in ("prompt_ids", "completion_ids")
        }
    content = _get(_get(given, "logprobs"), "content")
    ids, logprobs = _first(given, *SAMPLED), _get(given, "logprobs")
    if content is not None:
        logprobs = [_get(token, "logprob") for token in content]
        named = [str(_get(token, "token")) for token in content]
        if ids is None and all(name.startswith(PREFIX) for name in named):
            ids = [int(name.removeprefix(PREFIX)) for name in named]
    elif logprobs is not None and not isinstance(logprobs, Sequence):
        logprobs = None
    answered = _first(given, "model", "answered_by") or model
    return Turn(
        prompt_ids=_ids(_first(given, "prompt_ids", "prompt_token_ids")),
        output_ids=_ids(ids),
        logprobs=_logprobs(logprobs),
        adapter_logprobs=_logprobs(_get(given, "adapter_logprobs")),
        base_logprobs=_logprobs(_get(given, "base_logprobs")),
        finish_reason=_get(given, "finish_reason"),
        model=None if answered is None else str(answered),
        temperature=_number(_get(given, "temperature")),
    )


def _keeps(given: Any, source: Any, spoken: Sequence[Any]) -> Iterable[str]:
    if any(_has(each, "tools") for each in (given, source)):
        yield "tools"
    if any(_has(each, "logprobs") for each in spoken) or any(
        _has(turn, "logprobs") for turn in _get(given, "turns") or ()
    ):
        yield "logprobs"


def _end(known: Any) -> str | None:
    end = known("end", "stop_condition", "finish_reason")
    if known("is_truncated") or known("truncated"):
        return "truncated"
    return None if end is None else str(end)


def _group_of(given: Any, rollout: Rollout) -> str:
    number = _first(given, *GROUP)
    if number is not None or rollout.task is not None:
        return json.dumps([rollout.split, rollout.step, rollout.task, number], default=str)
    opening = rollout.messages[: rollout.said[0]] if rollout.said else rollout.messages
    return json.dumps([rollout.split, rollout.step, *opening], default=str)


def _tools(given: Any) -> Tools | None:
    if isinstance(given, str):
        given = json.loads(given)
    return tuple(_plain(tool) for tool in given) if given else None


def _task(given: Any) -> str | None:
    return str(given) if isinstance(given, str | int) else None


def _ids(given: Any) -> Ids | None:
    return None if given is None else tuple(map(int, given))


def _logprobs(given: Any) -> Logprobs | None:
    return None if given is None else tuple(None if p is None else float(p) for p in given)


def _number(given: Any) -> float | None:
    return float(given) if isinstance(given, int | float) else None


def _whole(given: Any) -> int | None:
    number = _number(given)
    return int(number) if number is not None and math.isfinite(number) and number == int(number) else None


def _first(given: Any, *names: str) -> Any:
    return next((found for name in names if (found := _get(given, name)) is not None), None)


def _has(given: Any, name: str) -> bool:
    return name in given if isinstance(given, Mapping) else hasattr(given, name)


def _get(given: Any, name: str) -> Any:
    return given.get(name) if isinstance(given, Mapping) else getattr(given, name, None)


def _plain(given: Any) -> dict[str, Any]:
    """A mapping, or an object of pydantic's, as a dictionary."""
    if isinstance(given, str):
        given = json.loads(given)
    if given is None:
        return {}
    dump = getattr(given, "model_dump", None)
    return dict(dump(exclude_none=True) if dump else given)
