"""What tools answered and parsers left: faults of the environment that a rollout pays for."""

import contextlib
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Material, Message, Rollout

SURELY = math.log(1e-4)  # an order that chance gives less often is no chance
COUNTER = 10**6  # a larger number is a time or an id, no count of what others did
CUT_ANSWERS = 3  # different answers that end in the middle
START = 200  # characters of an answer in which a failure says so
FAILED = re.compile(
    r"time[d-]?[ -]?out|connection (refused|reset|error|closed|aborted)|(service|server|temporarily) unavailable"
    r"|rate.?limit|too many requests|bad gateway|internal server error|\b(429|502|503|504)\b",
    re.IGNORECASE,
)
ERROR = re.compile(r"\berror\b|\bexception\b|not found|already exists|does not exist|denied|invalid", re.IGNORECASE)
NUMBER = re.compile(r"(?<![\d.:/-])\d+(?![\d.:/-])")  # no part of a date, a time or a fraction
DIGITS = re.compile(r"\d+")
THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
CALL = re.compile(
    r"<tool_call>(.*?)(?:</tool_call>|$)|\[TOOL_CALLS\](.*)|<\|python_tag\|>(.*)|(<function=.*?</function>)", re.DOTALL
)
ALIKE, SETS, ODD = 0.8, 20, 2  # share of answers that equal calls share; answers; others, that are odd beside them
ECHO, CALLS, VALUES, SHORT = 0.7, 8, 3, 3  # share of answers that show an argument; calls; values; characters
EMPTY = ("", "None", "null", "undefined", "nan")
TELL_CALLS = "messages with tool calls and what the tools answered, in groups of several rollouts"
TELL_TEXT = "messages of a policy with tools: calls as `tool_calls`, the rest as text"

Calls = tuple[tuple[str, str], ...]


def tool_failures_scored(material: Material) -> Finding:
    """A tool fails at a call that it answers in another rollout, and the rollout has a reward all the same."""
    told, failing, paid, unsure = 0, 0, 0, 0
    for group in material.groups:
        for at_call in _answers(group).values():
            failed = [r for r, text in at_call if FAILED.search(text[:START])]
            answered = len(at_call) - len(failed)
            told, failing = told + len(at_call), failing + len(failed)
            scored = sum(r.reward is not None and r.error is None for r in failed)
            paid, unsure = paid + scored * bool(answered), unsure + scored * (not answered)
    text = f"{failing} of {told} tool answers say that something timed out or was not there"
    reading = {"answers": told, "failing": failing, "paid": paid}
    if not told:
        return cannot_tell("no tool has answered", TELL_CALLS)
    if paid:
        return present(f"{text}; {paid} in scored rollouts, at calls that are answered in others", **reading)
    return (
        cannot_tell(f"{text}, in each rollout that asks", TELL_CALLS, **reading) if unsure else absent(text, **reading)
    )


def environment_keeps_state(material: Material) -> Finding:
    """What a tool answers at equal calls depends on how many rollouts came before: the environment is not reset."""
    told, counted, chance = 0, 0, 0.0
    for group in material.groups:
        likely = []
        for at_call in _answers(group).values():
            texts = [text for _, text in at_call if not FAILED.search(text[:START])]
            if len(texts) > 1:
                told += 1
                likely.append(_order(texts))
        if likely and (least := min(likely) + math.log(len(likely))) < 0:
            counted, chance = counted + 1, chance + least
    text = f"in {counted} of {len(material.groups)} groups answers to equal calls change in the order of the rollouts"
    reading = {"calls": told, "groups": counted, "log_chance": chance}
    if not told:
        return cannot_tell("no two rollouts of a group make the same calls", TELL_CALLS)
    return present(text, **reading) if chance < SURELY else absent(text, **reading)


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


def tool_answers_cut(material: Material) -> Finding:
    """Answers of tools end in the middle of their JSON, all at one length or where others are whole: they are cut."""
    answers = [m for r in material.rollouts for m in r.messages if m.get("role") == "tool"]
    texts = [str(m.get("content")) for m in answers]
    json_like = [text for text in texts if text[:1] in ("{", "[")]
    if not texts:
        return cannot_tell("no tool has answered", TELL_CALLS)
    broken = [text for text in json_like if not _parses(text)]
    longest = max(map(len, json_like), default=0)
    cut = (
        broken
        if len(set(broken)) >= CUT_ANSWERS and {len(text) for text in broken} == {longest}
        else _cut_now_and_then(answers)
    )
    text = f"{len(broken)} of {len(json_like)} tool answers in JSON are broken"
    reading = {"answers": len(texts), "broken": len(broken)}
    return present(f"{text}, at up to {max(map(len, cut))} characters", **reading) if cut else absent(text, **reading)


def _cut_now_and_then(answers: Sequence[Message]) -> list[str]:
    """Answers that begin as JSON and do not parse, of tools most of whose answers do."""
    tools: dict[str, list[str]] = defaultdict(list)
    for message in answers:
        tools[str(message.get("name"))].append(str(message.get("content")))
    out = []
    for texts in tools.values():
        broken = {text for text in texts if text.startswith(('{"', '[{"')) and not _parses(text)}
        if len(broken) >= CUT_ANSWERS and sum(map(_parses, texts)) > len(texts) / 2:
            out += sorted(broken)
    return out


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


def messages_doubled(material: Material) -> Finding:
    """A message stands twice in a row, or the system prompt twice: a history is put together wrongly."""
    told = [r for r in material.rollouts if len(r.messages) > 1]
    if not told:
        return cannot_tell("no rollout has several messages", TELL_TEXT)
    doubled = sum(_has_double(r.messages) for r in told)
    text = f"{doubled} of {len(told)} conversations hold a message twice in a row, or the system prompt twice"
    reading = {"rollouts": len(told), "doubled": doubled}
    return present(text, **reading) if doubled else absent(text, **reading)


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


Call = tuple[str, dict[str, object], str]  # a tool's name, its arguments, its answer


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


def messages_empty(material: Material) -> Finding:
    """Some messages of the user or of tools are empty or say None, where most of their kind say something."""
    kinds: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for rollout in material.rollouts:
        for message in rollout.messages:
            if (role := str(message.get("role"))) in ("user", "tool", "system"):
                kinds[role, str(message.get("name"))].append(str(message.get("content") or "").strip() in EMPTY)
    if not kinds:
        return cannot_tell("no rollout has messages of a user or a tool", TELL_CALLS)
    empty = sum(sum(each) for each in kinds.values() if ODD <= sum(each) <= len(each) / 2)
    text = f"{empty} of {sum(map(len, kinds.values()))} messages are empty where most of their kind are not"
    reading = {"messages": sum(map(len, kinds.values())), "empty": empty}
    return present(text, **reading) if empty else absent(text, **reading)


def messages_lost(material: Material) -> Finding:
    """In some rollouts a call has no answer, a reply follows upon a reply, or turns and replies are not as many."""
    told = [r for r in material.rollouts if len(r.said) > 1]
    if not told:
        return cannot_tell("no rollout has several replies", TELL_TEXT)
    lost = sum(_has_hole(r.messages) or (bool(r.turns) and len(r.turns) != len(r.said)) for r in told)
    text = f"in {lost} of {len(told)} rollouts nothing stands between two replies, or a call or a turn has no message"
    reading = {"rollouts": len(told), "lost": lost}
    return present(text, **reading) if 0 < lost <= len(told) / 2 else absent(text, **reading)


def _has_hole(messages: Sequence[Message]) -> bool:
    """Before the last reply; what is called at the end may need no answer."""
    waiting, before = 0, ""
    for message in messages:
        role = str(message.get("role"))
        if role == "assistant":
            if waiting > 0 or before == "assistant":
                return True
            waiting = len(message.get("tool_calls") or ())
        waiting -= role == "tool"
        before = role
    return False


def _parses(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _is_twice(arguments: object) -> bool:
    try:
        inner = json.loads(arguments) if isinstance(arguments, str) else None
        return isinstance(inner, str) and isinstance(json.loads(inner), dict)
    except ValueError:
        return False


def _has_double(messages: Sequence[Message]) -> bool:
    """Empty messages say nothing; several calls at once may have the same answer."""
    plain = [(m.get("role"), m.get("content"), str(m.get("tool_calls"))) for m in messages if m.get("content")]
    systems = [each for each in plain if each[0] == "system"]
    in_a_row = any(one == other and one[0] != "tool" for one, other in pairwise(plain))
    return in_a_row or len(set(systems)) < len(systems)


def _answers(group: Sequence[Rollout]) -> dict[Calls, list[tuple[Rollout, str]]]:
    """What was answered in the group's rollouts, in their order, by all calls of the rollout up to this one."""
    out: dict[Calls, list[tuple[Rollout, str]]] = defaultdict(list)
    for rollout in group:
        for calls, text in _answered(rollout.messages):
            out[calls].append((rollout, text))
    return out


def _answered(messages: Sequence[Message]) -> Iterator[tuple[Calls, str]]:
    made: list[tuple[str, str]] = []
    waiting: list[tuple[str | None, Calls]] = []
    for message in messages:
        if calls := message.get("tool_calls"):
            waiting = []
            for call in calls:
                inner = call.get("function") or call
                made.append((str(inner.get("name")), _spelled(inner.get("arguments"))))
                waiting.append((call.get("id"), tuple(made)))
        elif message.get("role") == "tool" and waiting:
            named = message.get("tool_call_id")
            place = next((n for n, (call, _) in enumerate(waiting) if named is not None and call == named), 0)
            yield waiting.pop(place)[1], str(message.get("content"))


def _spelled(arguments: object) -> str:
    try:
        return json.dumps(json.loads(str(arguments)), sort_keys=True)
    except ValueError:
        return str(arguments)


def _order(texts: Sequence[str]) -> float:
    """Log-probability that answers in a random order would stand as these do: a number in them that counts up, or
    answers first and errors behind. 0.0 for any other order, and for answers that are alike."""
    failed = [bool(ERROR.search(text[:START])) for text in texts]
    if any(failed) and not all(failed):
        return -math.log(math.comb(len(texts), sum(failed))) if failed == sorted(failed) else 0.0
    numbers = [tuple(map(int, NUMBER.findall(text))) for text in texts]
    if len({NUMBER.sub("#", text) for text in texts}) > 1 or len(set(numbers)) == 1:
        return 0.0
    columns = [column for column in zip(*numbers, strict=True) if len(set(column)) > 1]
    counts = all(max(c) < COUNTER and all(a < b for a, b in pairwise(c)) for c in columns)
    return -math.lgamma(len(texts) + 1) if counts else 0.0


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


FINDINGS = (
    tool_failures_scored,
    tool_answers_cut,
    environment_keeps_state,
    calls_left_as_text,
    arguments_encoded_twice,
    tool_answers_unmatched,
    messages_doubled,
    messages_lost,
    messages_empty,
    equal_calls_answered_apart,
    answers_of_other_calls,
)
