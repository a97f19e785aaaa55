"""Answers of tools beside the calls: is each an answer to its own?"""

import contextlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Material, Message
from harness.probe.tool_answers import ERROR, FAILED, START, TELL_CALLS

DIGITS = re.compile(r"\d+")
ALIKE, SETS, ODD = 0.8, 20, 2  # share of answers that equal calls share; answers; others, that are odd beside them
ECHO, CALLS, VALUES, SHORT = 0.7, 8, 3, 3  # share of answers that show an argument; calls; values; characters
Call = tuple[str, dict[str, object], str]  # a tool's name, its arguments, its answer


def tool_answers_unmatched(material: Material) -> Finding:
    """A tool's answer names a call that the reply before it did not make: answers are lost or in another order."""
    told = wrong = 0
    for rollout in material.rollouts:
        asked: set[str] = set()
        for message in rollout.messages:
            if calls := message.get("tool_calls"):
                asked = {str(call.get("id")) for call in calls if call.get("id")}
            named = message.get("tool_call_id")
            if message.get("role") == "tool" and named and asked:
                told, wrong = told + 1, wrong + (str(named) not in asked)
    text = f"{wrong} of {told} tool answers name a call that the reply before them did not make"
    reading = {"answers": told, "wrong": wrong}
    if not told:
        return cannot_tell("no tool answer names its call", TELL_CALLS)
    if wrong == told:  # two ways to write an id
        return cannot_tell(text, "ids that calls and answers share", **reading)
    return present(text, **reading) if wrong else absent(text, **reading)


def equal_calls_answered_apart(material: Material) -> Finding:
    """Equal calls after an equal conversation have other answers, where nearly all have one: some are not their own."""
    sets: dict[object, Counter[str]] = defaultdict(Counter)
    for number, group in enumerate(material.groups):
        for rollout in group:
            for key, text in _at_conversations(rollout.messages):
                if not FAILED.search(text[:START]):
                    sets[number, key][DIGITS.sub("#", text)] += 1
    told = [found for found in sets.values() if found.total() > 1]
    answers = sum(found.total() for found in told)
    apart = sum(found.total() - found.most_common(1)[0][1] for found in told)
    text = f"{apart} of {answers} answers are not what most equal calls after an equal conversation had"
    reading = {"sets": len(told), "answers": answers, "apart": apart}
    if not told:
        return cannot_tell("no two rollouts of a group make the same calls", TELL_CALLS)
    odd = answers >= SETS and ODD <= apart <= (1 - ALIKE) * answers
    return present(text, **reading) if odd else absent(text, **reading)


def answers_of_other_calls(material: Material) -> Finding:
    """A tool's answer is one to another call: it has the form of another tool's, or shows another call's arguments."""
    calls = [each for r in material.rollouts for each in _with_answers(r.messages) if not ERROR.search(each[2][:START])]
    if not calls:
        return cannot_tell("no tool has answered", TELL_CALLS)
    foreign = _of_other_form(calls) | _of_other_arguments(calls)
    text = (
        f"{len(foreign)} of {len(calls)} tool answers have the form of another tool's or show another call's arguments"
    )
    reading = {"answers": len(calls), "foreign": len(foreign)}
    if len(foreign) < ODD:
        return absent(text, **reading)
    name, arguments, answer = calls[min(foreign)]
    return present(text, f"as {name}({str(arguments)[:80]}): {answer[:80]!r}", **reading)


def _at_conversations(messages: Sequence[Message]) -> Iterator[tuple[object, str]]:
    """Each answer, and all that was said before the calls with the place of the answer behind them."""
    key, place = "", 0
    for message in messages:
        if message.get("role") == "tool":
            place += 1
            yield hash((key, place)), str(message.get("content"))
        else:
            place = 0
        plain = {k: v for k, v in message.items() if k not in ("tool_call_id", "tool_calls", "id")}
        calls = [_inner(call) for call in message.get("tool_calls") or ()]
        key = str(hash((key, json.dumps([plain, calls], sort_keys=True, default=str))))


def _with_answers(messages: Sequence[Message]) -> Iterator[Call]:
    waiting: list[tuple[str | None, str, dict[str, object]]] = []
    for message in messages:
        if calls := message.get("tool_calls"):
            waiting = [(call.get("id"), *_inner(call)) for call in calls]
        elif message.get("role") == "tool" and waiting:
            named = message.get("tool_call_id")
            place = next((n for n, (call, _, _) in enumerate(waiting) if named is not None and call == named), 0)
            _, name, arguments = waiting.pop(place)
            yield name, arguments, str(message.get("content"))


def _inner(call: Mapping[str, Any]) -> tuple[str, dict[str, object]]:
    inner = call.get("function") or call
    arguments = inner.get("arguments")
    with contextlib.suppress(ValueError):
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    return str(inner.get("name")), arguments if isinstance(arguments, dict) else {"": arguments}


def _of_other_form(calls: Sequence[Call]) -> set[int]:
    """Answers whose form is that of nearly all answers of another tool, and of hardly one of this tool."""
    forms: dict[str, Counter[str]] = defaultdict(Counter)
    for name, _, answer in calls:
        forms[name][_form(answer)] += 1
    usual = {n: f.most_common(1)[0][0] for n, f in forms.items() if f.most_common(1)[0][1] >= ECHO * f.total()}
    return {
        number
        for number, (name, _, answer) in enumerate(calls)
        if forms[name].total() >= CALLS and name in usual and (form := _form(answer)) != usual[name]
        if any(form == other and n != name and forms[n][form] >= CALLS for n, other in usual.items())
    }


def _form(answer: str) -> str:
    """The keys of an answer in JSON, else its first words without numbers."""
    try:
        found = json.loads(answer)
    except ValueError:
        return DIGITS.sub("#", " ".join(answer.split()[:3]))
    found = found[0] if isinstance(found, list) and found else found
    return " ".join(sorted(found)) if isinstance(found, dict) else type(found).__name__


def _of_other_arguments(calls: Sequence[Call]) -> set[int]:
    """Answers that do not show an argument that nearly all answers of this tool show, but that of another call."""
    shown: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for number, (name, arguments, _) in enumerate(calls):
        for key, value in arguments.items():
            if isinstance(value, str) and len(value) >= SHORT:
                shown[name, key].append((number, value))
    out = set()
    for cases in shown.values():
        values = {value for _, value in cases}
        without = [(number, value) for number, value in cases if value not in calls[number][2]]
        if len(cases) >= CALLS and len(values) >= VALUES and len(without) <= (1 - ECHO) * len(cases):
            out |= {n for n, value in without if any(v in calls[n][2] for v in values if v not in value)}
    return out


FINDINGS = (
    tool_answers_unmatched,
    equal_calls_answered_apart,
    answers_of_other_calls,
)
