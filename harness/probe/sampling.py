"""How replies were sampled and how they ended: names, finish reasons, and how often what is probable comes."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import ENDED, Ids, Material, Rollout, Turn, find

LAG = 2  # steps between the names of one step's answers, from which on a loop is no longer one step behind
MOSTLY, REPLIES = 0.75, 10  # share of replies that end with one token, and so many, that show how a reply ends
ODD = 2  # replies that end otherwise
TELL_LATER = "token ids and finish reason of each reply, the next prompt, and the token that ends a reply"
NODES, ERRORS, EFFECT = 20, 5.0, 0.05  # places where rollouts part; standard errors; share of pairs
CERTAIN = math.log(0.99)
STOPS = 3  # replies that a stop string ends, at least
CLOSING = 8  # tokens of a stop string with the end behind it, at most
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
        if turn.output_ids and turn.finish_reason and not ends_in(turn.output_ids, material.once(stop_strings)):
            of_reason[turn.finish_reason][turn.output_ids[-1]] += 1
    if not of_reason:
        return cannot_tell("no reply has token ids and a finish reason", TELL_ENDS)
    odd = sum(map(_unlike, (of_reason[reason] for reason in ENDED if reason in of_reason)))
    ends = material.eos or {ends.most_common(1)[0][0] for reason, ends in of_reason.items() if _uniform(ends)}
    odd_length = sum(count for end, count in of_reason["length"].items() if end in ends) if ends else 0
    lost, calls = _calls_lost(material)
    text = (
        f"{odd} replies end as if cut and say they were not, {odd_length} the other way round, {lost} lack their calls"
    )
    reading = {"cut": odd, "whole": odd_length, "without_calls": lost, "calls": calls}
    found = odd >= ODD or odd_length >= ODD or 0 < lost < calls
    return present(text, **reading) if found else absent(text, **reading)


def reply_ends_left_out(material: Material) -> Finding:
    """Replies of one kind lack their last words, which the next prompt shows: a stop string that is not returned."""
    ended = [t for t in material.turns if _ended(t)]
    usual = Counter(t.output_ids[-1] for t in ended if t.output_ids).most_common(1)
    eos = material.eos or frozenset({usual[0][0]} if usual and usual[0][1] >= REPLIES else ())
    whole = sum(t.output_ids is not None and t.output_ids[-1] in eos for t in ended)
    closings: dict[str, list[Ids]] = defaultdict(list)
    for rollout in material.rollouts:
        for turn, later in pairwise(rollout.turns):
            if _ended(turn):
                found = _closing(turn, later, eos)
                closings[turn.finish_reason or ""] += [] if found is None else [found]
    if not whole or not closings:
        return cannot_tell(f"{whole} replies end with the token that ends a reply", TELL_LATER)
    own = {i for t in material.turns for i in t.output_ids or ()}
    headers = {i for t in material.turns for i in _behind_last(t.prompt_ids or (), eos)} - own
    lacking = [
        found
        for found in closings.values()
        if len(found) >= REPLIES and len({*found}) == 1 and len(found[0]) > 1 and not headers & {*found[0]}
    ]
    count = sum(map(len, lacking))
    text = f"{count} of {len(ended)} replies lack their last tokens, which the next prompt shows"
    reading = {"replies": len(ended), "lacking": count}
    return present(f"{text}: {len(lacking[0][0])} tokens each", **reading) if lacking else absent(text, **reading)


def stop_strings(material: Material) -> frozenset[Ids]:
    """Token ids with which several replies stop in the place of the token that ends one, and that stand nowhere else:
    a loop may have asked to stop there."""
    replies = [(t.output_ids, t.finish_reason) for t in material.turns if t.output_ids]
    stopped = [ids for ids, reason in replies if reason == "stop" and material.eos and ids[-1] not in material.eos]
    ends = Counter(ids[-length:] for ids in stopped for length in range(1, min(CLOSING, len(ids)) + 1))
    often = [end for end, count in ends.items() if count >= STOPS]
    return frozenset(end for end in often if all(find(ids, end) in (None, len(ids) - len(end)) for ids, _ in replies))


def ends_in(ids: Ids, ends: frozenset[Ids]) -> bool:
    return any(ids[-len(end) :] == end for end in ends)


def _ended(turn: Turn) -> bool:
    """By itself, and with the tokens known."""
    return bool(turn.output_ids) and turn.finish_reason in ENDED


def _closing(turn: Turn, later: Turn, eos: frozenset[int]) -> Ids | None:
    """What the next prompt shows behind a reply up to the token that ends one; () where the reply has that itself, and
    None where the next prompt is not known to hold the reply."""
    ids = (*(turn.prompt_ids or ()), *(turn.output_ids or ()))
    behind = (later.prompt_ids or ())[len(ids) : len(ids) + CLOSING]
    if (later.prompt_ids or ())[: len(ids)] != ids:
        return None
    if ids[-1] in eos:
        return ()
    return next((behind[: n + 1] for n, each in enumerate(behind) if each in eos), ())


def _behind_last(prompt: Ids, eos: frozenset[int]) -> Ids:
    """What opens a reply: all that stands behind the last token that ends a message."""
    return next((prompt[n + 1 :] for n in range(len(prompt) - 1, -1, -1) if prompt[n] in eos), ())


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


FINDINGS = (several_names_answer, finish_reasons_untrue, reply_ends_left_out, frequencies_off_probabilities)
