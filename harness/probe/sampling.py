"""How replies were sampled and how they ended: names, finish reasons, and how often what is probable comes."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Material, Rollout, Turn

LAG = 2  # steps between the names of one step's answers, from which on a loop is no longer one step behind
MOSTLY, REPLIES = 0.75, 10  # share of replies that end with one token, and so many, that show how a reply ends
ODD = 2  # replies that end otherwise
NODES, ERRORS, EFFECT = 20, 5.0, 0.05  # places where rollouts part; standard errors; share of pairs
CERTAIN = math.log(0.99)
TELL_NAMES = "the name that answered each reply, as name@step, and the step"
TELL_ENDS = "token ids and finish reason of each reply, and messages"
TELL_PAIRS = "token ids and log-probs of groups of several rollouts that begin with equal prompts"


def several_names_answer(material: Material) -> Finding:
    """Replies of one step were answered under names of several models, or of adapters two steps apart."""
    names: dict[int, set[str]] = defaultdict(set)
    for rollout in material.rollouts:
        if rollout.step is not None:
            names[rollout.step] |= {turn.model for turn in rollout.turns if turn.model}
    told = {step: found for step, found in names.items() if found}
    if not told:
        return cannot_tell("no reply says who answered", TELL_NAMES)
    odd = {step: found for step, found in told.items() if _apart(found)}
    every = {name for found in told.values() for name in found}
    if not odd and all("@" in name for name in every) and len({name.rpartition("@")[0] for name in every}) > 1:
        odd = {step: every for step in list(told)[1:]}
    text = f"at {len(odd)} of {len(told)} steps names answered that do not belong together"
    reading = {"steps": len(told), "odd": len(odd)}
    if not odd:
        return absent(text, **reading)
    return present(text, f"as {', '.join(sorted(next(iter(odd.values())))[:4])}", **reading)


def _apart(names: set[str]) -> bool:
    """Two models, or adapters of one model that are further apart than a loop that is one step behind has them."""
    parts = [name.rpartition("@") for name in names]
    if not all(number.isdecimal() for _, _, number in parts):
        return len(names) > 1
    steps = [int(number) for _, _, number in parts]
    return len({model for model, _, _ in parts}) > 1 or max(steps) - min(steps) >= LAG


def finish_reasons_untrue(material: Material) -> Finding:
    """A reply's finish reason is not how it ended: cut without a word, or a call that the message does not have."""
    of_reason: dict[str, Counter[int]] = defaultdict(Counter)
    for turn in material.turns:
        if turn.output_ids and turn.finish_reason:
            of_reason[turn.finish_reason][turn.output_ids[-1]] += 1
    if not of_reason:
        return cannot_tell("no reply has token ids and a finish reason", TELL_ENDS)
    odd = sum(map(_unlike, (of_reason[reason] for reason in ("stop", "tool_calls") if reason in of_reason)))
    ends = material.eos or {ends.most_common(1)[0][0] for reason, ends in of_reason.items() if _uniform(ends)}
    odd_length = sum(count for end, count in of_reason["length"].items() if end in ends) if ends else 0
    lost, calls = _calls_lost(material)
    text = (
        f"{odd} replies end as if cut and say they were not, {odd_length} the other way round, {lost} lack their calls"
    )
    reading = {"cut": odd, "whole": odd_length, "without_calls": lost, "calls": calls}
    found = odd >= ODD or odd_length >= ODD or 0 < lost < calls
    return present(text, **reading) if found else absent(text, **reading)


def _uniform(ends: Counter[int]) -> bool:
    return ends.total() >= REPLIES and ends.most_common(1)[0][1] >= MOSTLY * ends.total()


def _unlike(ends: Counter[int]) -> int:
    """Replies that do not end with the token with which nearly all others of this finish reason do."""
    return ends.total() - ends.most_common(1)[0][1] if _uniform(ends) else 0


def _calls_lost(material: Material) -> tuple[int, int]:
    """Of the replies that finish with calls, how many have none in their message; and how many there are."""
    lost = calls = 0
    for rollout in material.rollouts:
        if len(rollout.said) == len(rollout.turns):
            for at, turn in zip(rollout.said, rollout.turns, strict=True):
                if turn.finish_reason == "tool_calls":
                    calls, lost = calls + 1, lost + (not rollout.messages[at].get("tool_calls"))
    return lost, calls


def frequencies_off_probabilities(material: Material) -> Finding:
    """Rollouts go on alike more often, or more seldom, than their log-probs say: sampled from something else."""
    # Of two rollouts with one beginning, the one takes the token of the other with that token's probability.
    sums = [each for group in material.groups for each in _nodes(group)]
    if len(sums) < NODES:
        return cannot_tell(f"rollouts of a group part at {len(sums)} places that have log-probs", TELL_PAIRS)
    mean = sum(sums) / len(sums)
    error = math.sqrt(sum((each - mean) ** 2 for each in sums)) / len(sums)
    text = f"at {len(sums)} places rollouts go on alike in {mean:+.1%} of pairs more than their log-probs say"
    reading = {"places": len(sums), "excess": mean, "error": error}
    found = abs(mean) > EFFECT and abs(mean) > ERRORS * error
    return present(f"{text} (± {error:.1%})", **reading) if found else absent(f"{text} (± {error:.1%})", **reading)


def _nodes(group: Sequence[Rollout]) -> Iterator[float]:
    """For each place that several rollouts of the group reach, and where not all are certain: the share of pairs that
    go on alike, less what the log-probs expect."""
    if {turn.temperature for rollout in group for turn in rollout.turns} != {1.0}:
        return  # log-probs may be those at temperature 1
    nodes: dict[object, list[tuple[int, float]]] = defaultdict(list)
    for rollout in group:
        for turn in rollout.turns:
            if turn.prompt_ids and turn.output_ids and len(turn.logprobs or ()) == len(turn.output_ids):
                for place, token, p in _steps(turn):
                    nodes[place].append((token, p))
    for found in nodes.values():
        if len(found) > 1 and min(p for _, p in found) < CERTAIN:
            seen = Counter(token for token, _ in found)
            others = len(found) - 1
            yield sum((seen[token] - 1) / others - math.exp(min(p, 0.0)) for token, p in found) / len(found)


def _steps(turn: Turn) -> Iterator[tuple[int, int, float]]:
    """A number for all that stands before a token, the token, its log-prob."""
    place = hash(turn.prompt_ids)
    for token, p in zip(turn.output_ids or (), turn.logprobs or (), strict=True):
        if p is None or not math.isfinite(p):
            return
        yield place, token, p
        place = hash((place, token))


FINDINGS = (several_names_answer, finish_reasons_untrue, frequencies_off_probabilities)
