"""Rollouts that are not what their group takes them for: copies, an earlier step's, or of another task."""

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.logprobs import disagree
from harness.probe.material import Material, Rollout

SURELY = 1e-4  # what happens by chance less often than this is no chance
SURPRISING = math.log(0.01)  # log-probability of a rollout, below which a second one like it is no matter of course
PLACES = 3  # groups in which two places must hold the same, at least
UNCERTAIN, ENOUGH = -1e-4, 8  # a log-prob that other weights would change in its digits; so many of them
TELL_COPIES = "token ids, log-probs and the temperature (1.0) of each reply, in groups of several rollouts"
TELL_AGAIN = "rollouts of two steps with log-probs, and the weights before and after each update"
USUAL, SOME = 0.7, 3  # share of groups that open with one text each, and so many, that make the others odd
DIGITS = re.compile(r"\d+")  # a date or an id in a system prompt
TELL_TASKS = "the task id of each rollout, in groups as they are trained"


def rollouts_copied(material: Material) -> Finding:
    """Some rollouts of a group are copies of others, as if they had one seed."""
    groups = [g for g in material.groups if len(g) > 1]
    told = [paths for g in groups if (paths := [_path(r) for r in g]) and None not in paths]
    parted = [[p for p in paths if p] for paths in told if len({p[0] for p in paths if p}) > 1]
    reading: dict[str, float] = {"groups": len(parted)}
    if disagree(material):
        return cannot_tell("the log-probs are not those of the trainer", "trainer_and_sampler_disagree", **reading)
    if not parted:
        alike = "; where all of a group are alike, rollouts_identical says it" if told else ""
        return cannot_tell(f"{len(told)} groups were sampled at temperature 1 with log-probs{alike}", TELL_COPIES)
    copies, expected = _surprising(parted)
    if copies and _at_least(copies, expected) < SURELY:
        text = f"{copies} rollouts are copies of improbable ones of their group; by chance {expected:.2g} would be"
        return present(text, **reading, copies=copies, expected=expected)
    places, chance = _same_places([[p for p in paths if p] for paths in told])
    if places and chance < math.log(SURELY):
        listed = ", ".join(str(place + 1) for place in places)
        text = f"rollouts {listed} are the same in each of {len(told)} groups, by chance once in "
        return present(f"{text}{math.exp(min(-chance, 50)):.0g} times", **reading, log_chance=chance)
    return absent(f"rollouts are alike in {len(parted)} groups no more often than chance has it", **reading)


def _path(rollout: Rollout) -> tuple[tuple[tuple[int, ...], ...], float] | None:
    """What was sampled, and its log-probability; None where it is not known, or not at temperature 1."""
    if not rollout.turns or any(t.temperature != 1.0 or not t.output_ids or not t.logprobs for t in rollout.turns):
        return None
    found = [p for t in rollout.turns for p in t.logprobs or ()]
    if any(p is None or not math.isfinite(p) for p in found):
        return None
    return tuple(t.output_ids or () for t in rollout.turns), sum(p or 0.0 for p in found)


Paths = Sequence[tuple[tuple[tuple[int, ...], ...], float]]


def _surprising(groups: Sequence[Paths]) -> tuple[int, float]:
    """Copies of rollouts that are improbable, and how many of them chance makes: each pair of rollouts is alike with
    the probability of either. Answers of an environment with luck of its own make it less."""
    copies, expected = 0, 0.0
    for paths in groups:
        rare = [(sampled, chance) for sampled, chance in paths if chance < SURPRISING]
        copies += len(rare) - len({sampled for sampled, _ in rare})
        expected += sum(math.exp(chance) for _, chance in rare) * (len(paths) - 1) / 2
    return copies, expected


def _same_places(groups: Sequence[Paths]) -> tuple[tuple[int, ...], float]:
    """The places of a group that hold the same in all groups, and the log-probability of that in any so many places."""
    size = min(map(len, groups))
    alike: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for place in range(size):
        alike[tuple(paths[place][0] for paths in groups)].append(place)
    found = {}
    for places in alike.values():
        if len(groups) >= PLACES and 1 < len(places) < size:
            chance = (len(places) - 1) * sum(paths[places[0]][1] for paths in groups)
            found[tuple(places)] = chance + math.log(math.comb(size, len(places)))
    if not found:
        return (), 0.0
    least = min(found, key=lambda places: found[places])
    return least, found[least]


def _at_least(count: int, expected: float) -> float:
    """The probability of so many or more, where they are rare and apart (Poisson)."""
    below = sum(math.exp(-expected) * expected**n / math.factorial(n) for n in range(count))
    return max(1.0 - below, math.exp(-expected) * expected**count / math.factorial(count))


def rollouts_trained_again(material: Material) -> Finding:
    """Rollouts of an earlier step are trained again as if they were new: a buffer that is not emptied."""
    seen: dict[object, int] = {}
    told = again = 0
    moved = _moves(material)
    for rollout in sorted((r for r in material.rollouts if r.step is not None), key=lambda r: r.step or 0):
        key = _fingerprint(rollout)
        if key is None or rollout.step is None:
            continue
        first = seen.setdefault(key, rollout.step)
        told += rollout.step > min(seen.values())
        again += first != rollout.step and any(first <= step < rollout.step for step in moved)
    if not told or not moved:
        return cannot_tell("no two steps with moved weights have rollouts that can be compared", TELL_AGAIN)
    text = f"{again} of {told} rollouts have the tokens and log-probs of a rollout of an earlier step"
    reading = {"rollouts": told, "again": again}
    return present(text, **reading) if again else absent(text, **reading)


def _fingerprint(rollout: Rollout) -> object:
    """Tokens and log-probs, where other weights would have given others; None where they say too little."""
    found = [(t.output_ids, t.logprobs) for t in rollout.turns]
    telling = sum(p is not None and p < UNCERTAIN for _, logprobs in found for p in logprobs or ())
    return (rollout.task, _opening(rollout), *found) if telling >= ENOUGH else None


def _moves(material: Material) -> list[int]:
    """Steps of rollouts whose update moved the weights: an update has the number of its rollouts' step or the next."""
    steps = {r.step for r in material.rollouts}
    numbers = [u.step for u in material.updates if u.step is not None]
    shift = 1 if numbers and max(numbers) not in steps else 0
    return [u.step - shift for u in material.updates if u.step is not None and u.moved]


def group_mixes_tasks(material: Material) -> Finding:
    """Rollouts of several tasks are one group, so that a rollout's advantage is measured against another task."""
    of_lists = [{r.task for r in group} for group in material.groups if len(group) > 1]
    told = [tasks for tasks in of_lists if None not in tasks]
    numbered = _numbered(material)
    if not told and not numbered:
        return _by_opening(material)
    mixed = sum(len(tasks) > 1 for tasks in told) or _mixed(numbered)
    groups = max(len(told), len(numbered))
    text = f"{mixed} of {groups} groups hold rollouts of several tasks"
    reading = {"groups": groups, "mixed": mixed}
    return present(text, **reading) if mixed else absent(text, **reading)


def _numbered(material: Material) -> dict[object, set[str]]:
    """Tasks by step and the number of the group that the rollouts name."""
    out: dict[object, set[str]] = defaultdict(set)
    for rollout in material.rollouts:
        if rollout.group is not None and rollout.task is not None:
            out[rollout.step, rollout.group].add(rollout.task)
    return out


def _mixed(numbered: dict[object, set[str]]) -> int:
    """Groups with several tasks, where a task is in several groups as well, and no group has all: a number that counts
    something else, as the epoch, has all tasks under each."""
    tasks = set().union(*numbered.values()) if numbered else set()
    several = [found for found in numbered.values() if len(found) > 1]
    parted = any(sum(task in found for found in numbered.values()) > 1 for found in several for task in found)
    return len(several) if parted and not any(found == tasks for found in several) else 0


def _by_opening(material: Material) -> Finding:
    """Where no task has an id: rollouts with another opening, which is that of another group."""
    of_groups = [set(map(_opening, group)) for group in material.groups if len(group) > 1]
    if len(of_groups) < 2 or not any(r.messages for r in material.rollouts):
        return cannot_tell("no two groups have tasks that can be told apart", TELL_TASKS, groups=len(of_groups))
    foreign = sum(
        any(opening in other for opening in own for n, other in enumerate(of_groups) if n != place)
        for place, own in enumerate(of_groups)
        if len(own) > 1
    )
    text = f"{foreign} of {len(of_groups)} groups have rollouts that open as those of another group"
    reading = {"groups": len(of_groups), "mixed": foreign}
    return present(text, **reading) if foreign else absent(text, **reading)


def group_opens_apart(material: Material) -> Finding:
    """Rollouts of one group have several system prompts or tools, or other first messages than one another."""
    groups = [[r for r in group if r.messages] for group in material.groups]
    told = [group for group in groups if len(group) > 1]
    if not told:
        return cannot_tell("no group has two rollouts with messages", TELL_TASKS)
    systems = sum(len({_system(r) for r in group}) > 1 for group in told)
    openings = sum(len({_opening(r) for r in group}) > 1 for group in told)
    # users may have luck of their own, and then most groups differ
    odd = openings if len(told) >= SOME and openings <= (1 - USUAL) * len(told) else 0
    foreign = _foreign(told)
    text = f"{systems} of {len(told)} groups have several system prompts or tools, {openings} several openings"
    text += f"; {foreign} rollouts open as those of another group do"
    reading = {"groups": len(told), "systems": systems, "openings": openings, "foreign": foreign}
    return present(text, **reading) if systems or odd or foreign else absent(text, **reading)


def _foreign(groups: Sequence[Sequence[Rollout]]) -> int:
    """Rollouts with the usual opening of another group, where each task has a usual opening of its own."""
    openings = [Counter(map(_opening, group)).most_common(1)[0] for group in groups]
    usual = {opening: group[0].task for (opening, _), group in zip(openings, groups, strict=True)}
    tasks = {group[0].task for group in groups}
    clear = all(count > len(group) / 2 for (_, count), group in zip(openings, groups, strict=True))
    if not clear or len(usual) < len(tasks) or len(tasks) < SOME:
        return 0
    pairs = zip(openings, groups, strict=True)
    return sum(_opening(r) != own and _opening(r) in usual for (own, _), group in pairs for r in group)


def _system(rollout: Rollout) -> str:
    """Without numbers: a date may change."""
    said = [m.get("content") for m in rollout.messages if m.get("role") in ("system", "developer")]
    return DIGITS.sub("#", json.dumps([said, rollout.sent_tools], sort_keys=True, default=str))


def _opening(rollout: Rollout) -> str:
    end = rollout.said[0] if rollout.said else len(rollout.messages)
    return json.dumps(rollout.messages[:end], sort_keys=True, default=str)


FINDINGS = (rollouts_copied, rollouts_trained_again, group_mixes_tasks, group_opens_apart)
