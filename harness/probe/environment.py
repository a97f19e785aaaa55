"""What tools answered and parsers left: faults of the environment that a rollout pays for."""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

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
THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
CALL = re.compile(
    r"<tool_call>(.*?)(?:</tool_call>|$)|\[TOOL_CALLS\](.*)|<\|python_tag\|>(.*)|(<function=.*?</function>)", re.DOTALL
)
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
    """Answers of tools end in the middle of their JSON, all at one length: something cuts them."""
    texts = [str(m.get("content")) for r in material.rollouts for m in r.messages if m.get("role") == "tool"]
    json_like = [text for text in texts if text[:1] in ("{", "[")]
    if not texts:
        return cannot_tell("no tool has answered", TELL_CALLS)
    broken = [text for text in json_like if not _parses(text)]
    longest = max(map(len, json_like), default=0)
    cut = broken if len(set(broken)) >= CUT_ANSWERS and {len(text) for text in broken} == {longest} else []
    text = f"{len(broken)} of {len(json_like)} tool answers in JSON are broken"
    reading = {"answers": len(texts), "broken": len(broken)}
    return present(f"{text}, each at {longest} characters", **reading) if cut else absent(text, **reading)


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
)
