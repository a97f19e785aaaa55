"""What the rollouts of a group are asked about: one instance of a task, or each another one."""

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Material, Rollout

NAMES, GROUPS, MOSTLY = 2, 3, 0.8  # arguments that two rollouts both have; groups; share of pairs of rollouts
SHORT = 2  # characters of a value that stands in a text by chance
DIGITS = re.compile(r"\d+")
TELL_CALLS = "groups of several rollouts whose users name what calls have as arguments"


def group_asks_apart(material: Material) -> Finding:
    """Rollouts of one group are asked about other things: nothing that users name and calls use is the same."""
    told = apart = groups = 0
    every = [[_named(r) for r in group] for group in material.groups]
    values, of_groups = defaultdict[str, set[str]](set), defaultdict[str, set[int]](set)
    for number, name, found in ((n, name, each[name]) for n, g in enumerate(every) for each in g for name in each):
        values[name] |= found
        of_groups[name].add(number)
    few = {name for name, known in values.items() if 2 * len(known) <= len(of_groups[name])}  # as a state
    for group in every:
        named = [{name: found[name] for name in found.keys() - few} for found in group]
        pairs = [(one, other) for one, other in combinations(named, 2) if len(one.keys() & other.keys()) >= NAMES]
        told, groups = told + len(pairs), groups + bool(pairs)
        apart += sum(not any(one[name] & other[name] for name in one.keys() & other.keys()) for one, other in pairs)
    text = f"{apart} of {told} pairs of rollouts of a group share nothing that users name and calls use"
    reading = {"groups": groups, "pairs": told, "apart": apart}
    if groups < GROUPS:
        return cannot_tell(f"{text}, in {groups} groups", TELL_CALLS, **reading)
    return present(text, **reading) if apart >= MOSTLY * told else absent(text, **reading)


def _named(rollout: Rollout) -> dict[str, set[str]]:
    """Arguments of calls that stand in what the user said, by their name.

    Of arguments whose values hold the same number only one counts: a rollout may have a folder or an id of its own.
    """
    said = " ".join(str(m.get("content")) for m in rollout.messages if m.get("role") == "user")
    words = {*re.findall(r"[\w#@.-]+", said), *re.findall(r"\w+", said)}
    out: dict[str, set[str]] = defaultdict(set)
    seen: dict[str, str] = {}
    for name, value in _arguments(rollout):
        own = DIGITS.findall(value)
        if len(value) > SHORT and value in words and all(seen.setdefault(each, name) == name for each in own):
            out[name].add(value)
    return out


def _arguments(rollout: Rollout) -> Sequence[tuple[str, str]]:
    out = []
    for message in rollout.messages:
        for call in message.get("tool_calls") or ():
            inner = call.get("function") or call
            try:
                given = inner.get("arguments")
                arguments = json.loads(given) if isinstance(given, str) else given
            except ValueError:
                continue
            if isinstance(arguments, dict):
                out += [(f"{inner.get('name')}.{name}", str(value)) for name, value in arguments.items()]
    return out


FINDINGS = (group_asks_apart,)
