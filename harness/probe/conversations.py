"""Conversations as they are put together: does a message stand twice, is one lost, or empty?"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from harness.probe.calls import TELL_TEXT
from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Material, Message
from harness.probe.tool_answers import TELL_CALLS

ODD = 2  # messages that are odd beside others of their kind
EMPTY = ("", "None", "null", "undefined", "nan")


def messages_doubled(material: Material) -> Finding:
    """A message stands twice in a row, or the system prompt twice: a history is put together wrongly."""
    told = [r for r in material.rollouts if len(r.messages) > 1]
    if not told:
        return cannot_tell("no rollout has several messages", TELL_TEXT)
    doubled = sum(_has_double(r.messages) for r in told)
    text = f"{doubled} of {len(told)} conversations hold a message twice in a row, or the system prompt twice"
    reading = {"rollouts": len(told), "doubled": doubled}
    return present(text, **reading) if doubled else absent(text, **reading)


def messages_lost(material: Material) -> Finding:
    """In some rollouts a call has no answer, a reply follows upon a reply, or turns and replies are not as many."""
    told = [r for r in material.rollouts if len(r.said) > 1]
    if not told:
        return cannot_tell("no rollout has several replies", TELL_TEXT)
    lost = sum(_has_hole(r.messages) or (bool(r.turns) and len(r.turns) != len(r.said)) for r in told)
    text = f"in {lost} of {len(told)} rollouts nothing stands between two replies, or a call or a turn has no message"
    reading = {"rollouts": len(told), "lost": lost}
    return present(text, **reading) if 0 < lost <= len(told) / 2 else absent(text, **reading)


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


def _has_double(messages: Sequence[Message]) -> bool:
    """Empty messages say nothing; several calls at once may have the same answer."""
    plain = [(m.get("role"), m.get("content"), str(m.get("tool_calls"))) for m in messages if m.get("content")]
    systems = [each for each in plain if each[0] == "system"]
    in_a_row = any(one == other and one[0] != "tool" for one, other in pairwise(plain))
    return in_a_row or len(set(systems)) < len(systems)


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


FINDINGS = (
    messages_doubled,
    messages_lost,
    messages_empty,
)
