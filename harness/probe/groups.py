"""Groups of rollouts: does anything in them tell a good rollout from a bad one?"""

import json
import math
from collections.abc import Sequence

from harness.answering import distinct_outputs
from harness.fixes.exploration import ROUNDED
from harness.fixes.signal import turned_pairs
from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Material, Rollout
from harness.seams import Learned

MANY, LOST = 6, 0.25  # groups; share of the rollouts
TELL_SIZE = "the number of rollouts that a group is asked for (group_size), beside the groups"
TELL_GROUPS = "more groups of several rollouts, on harder tasks if all succeed"
SURPRISING = 6  # rollouts that all have the reward of another one of their group, where not all succeed
SURELY = math.log(1e-4)  # groups that repeat themselves by chance are less probable than this
BARE = (-1.0, 0.0, 1.0)  # rewards that give no partial credit
FEW = 0.25  # share of groups with spread, below which such rewards are too bare for these tasks


def no_group_spreads(material: Material) -> Finding:
    """Within each group all rewards are equal, so that every advantage is zero."""
    groups = material.rewarded
    spread = sum(len(_rewards(group)) > 1 for group in groups)
    text = f"the rewards differ in {spread} of {len(groups)} groups"
    reading = {"groups": len(groups), "with_spread": spread}
    if spread:
        return absent(text, **reading)
    if few := _few(groups):
        return cannot_tell(f"{text}: {few}", TELL_GROUPS, **reading)
    return present(text, **reading)


def groups_of_another_size(material: Material) -> Finding:
    """All groups lack rollouts that were asked for, or many do: who is late is never trained. Or they have more."""
    sizes = [len(group) for group in material.groups]
    asked = material.group_size or (_first_size(material) if len(sizes) >= MANY else 0)
    if not asked or not sizes:
        return cannot_tell("nothing says how many rollouts a group was asked for", TELL_SIZE)
    short = [size for size in sizes if size < asked]
    lost = sum(asked - size for size in short)
    # one that has raised may have been asked for again
    large = sum(sum(r.error is None for r in group) > asked for group in material.groups)
    text = f"{len(short)} of {len(sizes)} groups lack {lost} of the {asked} rollouts each that were asked for"
    text += f", {large} have more"
    reading = {"groups": len(sizes), "short": len(short), "lost": lost, "large": large}
    every = (len(sizes) >= MANY and len(short) == len(sizes)) or lost > LOST * asked * len(sizes)
    return present(text, **reading) if every or large else absent(text, **reading)


def _first_size(material: Material) -> int:
    """The size of the first step's groups, if they all have one."""
    first = min((g[0].step for g in material.groups if g[0].step is not None), default=None)
    sizes = {len(g) for g in material.groups if g[0].step == first}
    return sizes.pop() if len(sizes) == 1 else 0


def rollouts_identical(material: Material) -> Finding:
    """The rollouts of a group are the same, as if they were decoded greedily."""
    distinct = {n: distinct_outputs(map(_spoken, group)) for n, group in enumerate(material.groups) if len(group) > 1}
    told = {n: count for n, count in distinct.items() if count}
    same = [material.groups[n] for n, count in told.items() if count == 1]
    text = f"the policy answers equal prompts alike in {len(same)} of {len(told)} groups"
    reading: dict[str, float] = {"groups": len(told), "identical": len(same)}
    if not told:
        return cannot_tell("no two rollouts of a group had the same prompt", TELL_GROUPS, **reading)
    greedy = {turn.temperature for turn in material.turns} == {0.0}
    rounded = not material.exact and sum(told.values()) <= ROUNDED * len(told)
    if greedy and (len(same) == len(told) or rounded):
        return present(f"{text}, asked at temperature 0", **reading)
    if len(same) < len(told):
        return absent(text, **reading)
    chance = _chance(same)
    if chance is None:
        if all(_solved(rollout) for group in same for rollout in group):
            return cannot_tell(f"{text}, and every rollout succeeds", "log-probs of the sampled tokens", **reading)
        return present(text, **reading) if len(told) > 1 else cannot_tell(text, TELL_GROUPS, **reading)
    reading["log_chance"] = chance
    if chance < SURELY:
        return present(
            f"{text}, which by its log-probs happens once in {math.exp(min(-chance, 50)):.0g} times", **reading
        )
    return cannot_tell(f"{text}: the policy is certain enough for that to be chance", "the temperature", **reading)


def advantages_zero(material: Material) -> Finding:
    """Rewards differ within groups, and no rollout has an advantage."""
    told = [group for group in material.rewarded if len(_rewards(group)) > 1]
    known = [rollout.advantage for group in told for rollout in group if rollout.advantage is not None]
    if not known:
        return cannot_tell("no group with spread has advantages", "the advantages that were trained with")
    nothing = sum(a == 0 or not math.isfinite(a) for a in known)
    text = f"{nothing} of {len(known)} advantages in groups with spread are zero or no number"
    reading = {"advantages": len(known), "zero": nothing}
    broken = nothing == len(known) or any(not math.isfinite(a) for a in known)
    return present(text, **reading) if broken else absent(text, **reading)


def advantages_against_rewards(material: Material) -> Finding:
    """Of two rollouts of a group the one with the higher reward has no higher advantage."""
    learned = [
        Learned(str(number), float(r.reward), float(r.advantage), float(r.advantage))
        for number, group in enumerate(material.rewarded)
        for r in group
        if r.advantage is not None and r.reward is not None
    ]
    wrong, pairs = turned_pairs(learned)
    if not pairs:
        return cannot_tell("no two rollouts of a group have rewards that differ, and advantages", "the advantages")
    if not any(one.given for one in learned):
        return cannot_tell("all advantages are zero", "advantages that are not")
    text = f"in {wrong} of {pairs} pairs of a group the rollout that earned more has no higher advantage"
    return present(text, pairs=pairs, turned=wrong) if wrong else absent(text, pairs=pairs, turned=wrong)


def rewards_cannot_spread(material: Material) -> Finding:
    """Rewards are all or nothing where hardly a group has both, so that most groups teach nothing."""
    groups = material.rewarded
    levels = sorted({r.reward for group in groups for r in group if r.reward is not None})
    spread = sum(len(_rewards(group)) > 1 for group in groups)
    text = f"{len(levels)} levels of reward ({', '.join(f'{v:g}' for v in levels[:4])}{', …' * (len(levels) > 4)}), "
    text += f"and spread in {spread} of {len(groups)} groups"
    reading = {"levels": len(levels), "groups": len(groups), "with_spread": spread}
    if len(levels) > len(BARE) or any(level not in BARE for level in levels):
        return absent(text, **reading) if spread else cannot_tell(text, TELL_GROUPS, **reading)
    if spread > FEW * len(groups):
        return absent(text, **reading)
    if few := _few(groups):
        return cannot_tell(f"{text}: {few}", TELL_GROUPS, **reading)
    return present(text, **reading)


def _rewards(group: Sequence[Rollout]) -> set[float | None]:
    return {rollout.reward for rollout in group}


def _few(groups: Sequence[Sequence[Rollout]]) -> str:
    """Why groups without spread say nothing; '' where they do."""
    alike = [group for group in groups if len(_rewards(group)) == 1 and not all(map(_solved, group))]
    if groups and not alike:
        return "every rollout succeeds"
    few = len(alike) < 2 or sum(len(group) - 1 for group in alike) < SURPRISING
    return "few enough for chance" if few else ""


def _solved(rollout: Rollout) -> bool:
    """By the benchmark's own reward, or by the highest reward that there is."""
    return (rollout.reward if rollout.success is None else rollout.success) in (1.0, True)


def _spoken(rollout: Rollout) -> list[tuple[int, ...] | str]:
    """What was said in order: the policy's replies as token ids, or as the bytes of their text where ids are not
    known."""
    ids = [turn.output_ids for turn in rollout.turns]
    known = len(ids) == len(rollout.said) and None not in ids
    numbers = {at: n for n, at in enumerate(rollout.said)}
    return [
        (ids[numbers[at]] or () if known else tuple(_text(message).encode())) if at in numbers else _text(message)
        for at, message in enumerate(rollout.messages)
    ]


def _text(message: object) -> str:
    return json.dumps(message, sort_keys=True, default=str)


def _chance(groups: Sequence[Sequence[Rollout]]) -> float | None:
    """Log-probability that all rollouts of each group are as its first one; None where log-probs are not known."""
    total = 0.0
    for group in groups:
        found = [p for turn in group[0].turns for p in turn.logprobs or (None,)]
        if not found or any(p is None or not math.isfinite(p) for p in found):
            return None
        total += (len(group) - 1) * sum(p or 0.0 for p in found)
    return total


FINDINGS = (
    no_group_spreads,
    groups_of_another_size,
    rollouts_identical,
    advantages_zero,
    advantages_against_rewards,
    rewards_cannot_spread,
)
