"""What tools answer: do they fail, are their answers whole, and do they depend on who asked before?"""

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
TELL_CALLS = "messages with tool calls and what the tools answered, in groups of several rollouts"

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


def _parses(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


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


FINDINGS = (
    tool_failures_scored,
    tool_answers_cut,
    environment_keeps_state,
)
