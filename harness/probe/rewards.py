"""Rewards beside what was done: the benchmark's own verdict, and equal conversations."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Material, Rollout

GROUPS, PAIRS = 3, 10  # groups with both successes and failures, and pairs of these, from which on order can be judged
FOLLOWS = 0.75  # share of pairs in which the success must earn more; 0.5: rewards have nothing to do with success
SETS, OFTEN, APART = 3, 0.25, 0.1  # sets of equal conversations; share of them; of the range of rewards
FEW, USUAL = 6, 0.95  # successes of a step; share of them that earn its usual reward
MOSTLY, PAID, ODD = 0.8, 20, 2  # share of successes that earn one reward; successes; rollouts that earn another
TURNS, ALIKE = 3, 2  # successes of a number of turns; sets of failures of several numbers, with one reward a turn
TELL_SUCCESS = "`success`, the benchmark's own 0 or 1, beside the rewards of groups that have both"
TELL_EQUAL = "groups in which several rollouts are the same conversation"


def rewards_not_finite(material: Material) -> Finding:
    """A reward is no finite number, and so is every advantage of its group."""
    known = [r.reward for r in (*material.rollouts, *material.validation) if r.reward is not None]
    if not known:
        return cannot_tell("no rollout has a reward", "rollouts with their rewards")
    odd = sum(not math.isfinite(reward) for reward in known)
    text = f"{odd} of {len(known)} rewards are no finite numbers"
    return present(text, rewards=len(known), odd=odd) if odd else absent(text, rewards=len(known), odd=odd)


def rewards_against_success(material: Material) -> Finding:
    """Within a group those that succeed do not earn more than those that fail."""
    sums, pairs = 0.0, 0
    groups = [g for g in material.rewarded if len({r.reward for r in g}) > 1 and {0.0, 1.0} <= {r.success for r in g}]
    for group in groups:
        for good in (r.reward or 0.0 for r in group if r.success == 1.0):
            for bad in (r.reward or 0.0 for r in group if r.success == 0.0):
                sums, pairs = sums + (good > bad) + 0.5 * (good == bad), pairs + 1
    reading: dict[str, float] = {"groups": len(groups), "pairs": pairs}
    if len(groups) < GROUPS or pairs < PAIRS:
        return cannot_tell(f"{len(groups)} groups have successes, failures and rewards that differ", TELL_SUCCESS)
    share = sums / pairs
    text = f"in {share:.0%} of {pairs} pairs of a success and a failure of one group the success earns more"
    return present(text, **reading, share=share) if share < FOLLOWS else absent(text, **reading, share=share)


def success_paid_apart(material: Material) -> Finding:
    """Nearly all successes earn one reward, and some earn another, or some failures earn as much."""
    known = [r for r in material.rollouts if r.reward is not None and not r.cut and r.error is None]
    paid = Counter(r.reward for r in known if r.success == 1.0)
    if paid.total() < PAID or paid.most_common(1)[0][1] < MOSTLY * paid.total():
        return cannot_tell(f"{paid.total()} successes earn {len(paid)} rewards", TELL_SUCCESS, successes=paid.total())
    usual, count = paid.most_common(1)[0]
    failed = [r.reward or 0.0 for r in known if r.success == 0.0]
    as_much = sum(reward >= (usual or 0.0) for reward in failed)
    text = f"{count} of {paid.total()} successes earn {usual:g}, and {as_much} of {len(failed)} failures as much"
    reading = {"successes": paid.total(), "otherwise": paid.total() - count, "failures": as_much}
    odd = paid.total() - count >= ODD or ODD <= as_much <= len(failed) / 2
    return present(text, **reading) if odd else absent(text, **reading)


def rewards_times_turns(material: Material) -> Finding:
    """A success earns as many times a reward as it has turns: an episode's reward is summed over them."""
    known = [r for r in material.rollouts if r.reward is not None and r.said and not r.cut and r.error is None]
    successes = [(len(r.said), r.reward or 0.0) for r in known if r.success == 1.0]
    lengths = Counter(length for length, _ in successes)
    if len(successes) < PAIRS or sum(count >= TURNS for count in lengths.values()) < 2:
        text = f"{len(successes)} successes have {len(lengths)} numbers of turns"
        return cannot_tell(text, f"{TELL_SUCCESS}, with several numbers of turns")
    rate = successes[0][1] / successes[0][0]
    times = all(_same(reward, rate * length) for length, reward in successes) and rate != 0
    sets = sum(_alike_by_turn(group, rate) for group in material.groups) if times else 0
    reading: dict[str, float] = {"successes": len(successes), "sets": sets}
    if not times:
        return absent(f"{len(successes)} successes do not earn by the number of their turns", **reading)
    text = f"{len(successes)} successes earn {rate:g} for each of their turns"
    if sets < ALIKE:  # tasks may have as many parts as turns, each of which earns
        return cannot_tell(f"{text}, as parts of a task would", "more failures with partial credit", **reading)
    return present(f"{text}, and so do {sets} sets of failures of one task, at less", **reading)


def _alike_by_turn(group: Sequence[Rollout], rate: float) -> int:
    """Failures of one group that have several numbers of turns and earned the same for each, but not all there is."""
    lengths: dict[float, set[int]] = defaultdict(set)
    for r in group:
        if r.reward and r.success == 0.0 and r.said and not r.cut and not _same(r.reward, rate * len(r.said)):
            lengths[round(r.reward / len(r.said), 6)].add(len(r.said))
    return sum(len(found) > 1 for found in lengths.values())


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-6)


def rewards_change_between_steps(material: Material) -> Finding:
    """Successes of one step earn other rewards than those of the step before: another scale, or other parts."""
    # failures are not asked: what they earn depends on the tasks
    paid: dict[int, list[float]] = defaultdict(list)
    for r in material.rollouts:
        if r.reward is not None and r.step is not None and r.success == 1.0 and not r.cut and r.error is None:
            paid[r.step].append(r.reward)
    pairs = list(pairwise(paid[step] for step in sorted(paid) if len(paid[step]) >= FEW))
    if not pairs:
        return cannot_tell("no two steps have successes enough", f"{TELL_SUCCESS}, over several steps")
    changed = sum(_changed(before, now) for before, now in pairs)
    text = f"{changed} of {len(pairs)} times the successes of a step earn other rewards than those before"
    reading = {"pairs": len(pairs), "changed": changed}
    return present(text, **reading) if changed else absent(text, **reading)


def _changed(before: Sequence[float], now: Sequence[float]) -> bool:
    """One usual reward became another, or many levels one, or one many: in nearly all rollouts."""
    (one, count), (other, later) = (Counter(each).most_common(1)[0] for each in (before, now))
    usual, still = count >= USUAL * len(before), later >= USUAL * len(now)
    if usual and still:
        return not math.isclose(one, other, rel_tol=1e-6)
    if usual or still:
        level, rest = (one, now) if usual else (other, before)
        return rest.count(level) <= (1 - MOSTLY) * len(rest)
    return not set(before) & set(now) and len(set(before)) * 2 < len(before) and len(set(now)) * 2 < len(now)


def same_conversation_other_reward(material: Material) -> Finding:
    """Rollouts of a group that are the same conversation earn other rewards, as if each had another's."""
    sets = [each for group in material.rewarded for each in _alike(group)]
    levels = [r.reward for group in material.rewarded for r in group if r.reward is not None]
    reading: dict[str, float] = {"sets": len(sets)}
    if len(sets) < SETS:
        return cannot_tell(f"{len(sets)} times are rollouts of a group the same conversation", TELL_EQUAL, **reading)
    apart = APART * (max(levels) - min(levels))
    other = sum(_range(each) > apart or _successes(each) > 1 for each in sets)
    text = f"{other} of {len(sets)} sets of equal conversations have other rewards"
    found = present if other >= OFTEN * len(sets) else absent  # a judge that is a model is unsure now and then
    return found(text, **reading, other=other)


def _alike(group: Sequence[Rollout]) -> list[list[Rollout]]:
    sets: dict[str, list[Rollout]] = defaultdict(list)
    for rollout in group:
        if rollout.said and not rollout.cut and rollout.error is None:
            sampled = [turn.output_ids for turn in rollout.turns]
            sets[json.dumps([rollout.messages, sampled], sort_keys=True, default=str)].append(rollout)
    return [each for each in sets.values() if len(each) > 1]


def _range(rollouts: Sequence[Rollout]) -> float:
    found = [r.reward for r in rollouts if r.reward is not None]
    return max(found) - min(found)


def _successes(rollouts: Sequence[Rollout]) -> int:
    return len({r.success for r in rollouts if r.success is not None})


FINDINGS = (
    rewards_not_finite,
    rewards_against_success,
    same_conversation_other_reward,
    success_paid_apart,
    rewards_times_turns,
    rewards_change_between_steps,
)
