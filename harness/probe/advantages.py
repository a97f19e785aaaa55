"""Advantages beside the rewards of their group: whose mean was taken away, and is there something else in them?"""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Material, Rollout

GROUPS = 3  # with advantages, from which on their means can be compared
ON_A_LINE = 0.01  # of the largest advantage: how far all may lie from one line of reward
APART = 0.1  # of the range of rewards: by how much the means of groups must differ, or nothing tells whose they are
OTHER = 0.01  # relative difference of two advantages that is no rounding
AS_LENGTH, MOSTLY, PAIRS = 0.05, 0.8, 5  # relative; share of the pairs that differ; pairs
TELL = "rewards and advantages of all rollouts of some groups whose mean rewards differ"
CENTRED, MOST = 0.02, 0.5  # of the range of a group's advantages; share of the groups that are whole
SCALED, SAME = 0.05, 0.6  # relative difference of two scales that is no rounding; share of groups that have one scale
LEFT_OUT = 0.05  # share of rollouts
TELL_LEFT = "which rollouts of a group were trained: their advantage, or their trained ids"
TELL_EQUAL = "advantages of rollouts of a group that have equal rewards, and other lengths"


def advantages_without_group_mean(material: Material) -> Finding:
    """Advantages follow the rewards on one line over all groups: no group's own mean was taken away."""
    told = on_a_line = 0
    for groups in _by_step(material):
        means = [_mean(r.reward for r in group) for group in groups]
        points = [(r.reward or 0.0, r.advantage or 0.0) for group in groups for r in group]
        rewards = [reward for reward, _ in points]
        if len(groups) < GROUPS or max(means) - min(means) <= APART * (max(rewards) - min(rewards)):
            continue
        told += 1
        on_a_line += _off_line(points) <= ON_A_LINE * max(abs(a) for _, a in points)
    text = f"at {on_a_line} of {told} steps the advantages of all groups lie on one line of the reward"
    reading = {"steps": told, "on_a_line": on_a_line}
    if not told:
        return cannot_tell("no step has advantages of three groups whose mean rewards differ", TELL)
    return present(f"{text} (on purpose in REINFORCE)", **reading) if on_a_line else absent(text, **reading)


def advantages_one_sided(material: Material) -> Finding:
    """No advantage is negative, or none positive, in groups whose rewards differ."""
    groups = [group for step in _by_step(material) for group in step if len({r.reward for r in group}) > 1]
    known = [r.advantage or 0.0 for group in groups for r in group]
    if len(groups) < GROUPS or not any(known):
        return cannot_tell(f"{len(groups)} groups with spread have advantages", TELL, groups=len(groups))
    below, above = sum(a < 0 for a in known), sum(a > 0 for a in known)
    text = f"of {len(known)} advantages in {len(groups)} groups with spread {above} are positive, {below} negative"
    reading = {"groups": len(groups), "positive": above, "negative": below}
    return absent(text, **reading) if below and above else present(text, **reading)


def advantages_by_length(material: Material) -> Finding:
    """Rollouts of a group with equal rewards have other advantages, by their length or against each other."""
    pairs = other = by_length = against = 0
    for group in material.rewarded:
        if len({r.reward for r in group}) == 1:
            continue
        known = [r for r in group if r.advantage]  # 0 or none: left out on purpose
        values = [r.advantage or 0.0 for r in known]
        width = max(values, default=0.0) - min(values, default=0.0)
        for one, two in itertools.combinations(known, 2):
            if one.reward != two.reward:
                continue
            a, b = one.advantage or 0.0, two.advantage or 0.0
            pairs += 1
            if not abs(a - b) > OTHER * max(abs(a), abs(b)):
                continue
            other += 1
            by_length += _as_length(a, b, _length(one), _length(two))
            against += a * b < 0 and abs(a - b) > width / 2
    reading = {"pairs": pairs, "other": other, "by_length": by_length, "against": against}
    text = f"in {other} of {pairs} pairs of a group with equal rewards the advantages differ"
    if not pairs:
        return cannot_tell("no two rollouts of a group have equal rewards, and advantages", TELL_EQUAL)
    if not other:
        return absent(text, **reading)
    if other >= PAIRS and by_length >= MOSTLY * other:
        return present(f"{text}, as their lengths do", **reading)
    if against >= PAIRS:
        return present(f"{text}, {against} times one is pushed up and one down", **reading)
    return cannot_tell(f"{text}, not by their lengths", "what else than the reward is in them", **reading)


def advantages_not_of_their_group(material: Material) -> Finding:
    """Advantages are not their own group's rewards, centred and scaled: the mean is of other rollouts, or the scale."""
    # The mean is asked only where groups are known to be whole: that of a group may be with rollouts that are not here.
    size = max(map(len, material.rewarded), default=0)
    told = apart = scaled = flat = 0
    for groups in _by_step(material):
        whole = [g for g in groups if len(g) == size]
        flat += sum(len({r.reward for r in g}) == 1 and any(r.advantage for r in g) for g in whole)
        lines = [line for g in whole if (line := _line(g)) is not None]
        if len(lines) < GROUPS or len(whole) < MOST * len(groups):
            continue
        told += len(lines)
        centres = [line[1] for line in lines]
        # a shift that all groups share is of the batch
        if material.group_size == size and max(centres) - min(centres) > CENTRED:
            apart += sum(abs(centre) > CENTRED for centre in centres)
        scaled += _other_scales(lines)
    reading = {"groups": told, "other_mean": apart, "other_scale": scaled, "without_spread": flat}
    text = f"of {told} groups {apart} have another mean taken away, {scaled} another scale than most"
    text += f"; {flat} with equal rewards have advantages"
    if not told:
        return cannot_tell("no step has three whole groups with rewards that differ, and advantages", TELL)
    return present(text, **reading) if apart or scaled or flat else absent(text, **reading)


def _line(group: Sequence[Rollout]) -> tuple[float, float, float] | None:
    """Of a group's advantages over its rewards: the slope, the mean in parts of their range, the deviation of the
    rewards. None where rewards are equal, or where advantages were cut or left out on purpose."""
    points = [(r.reward or 0.0, r.advantage or 0.0) for r in group]
    width = max(a for _, a in points) - min(a for _, a in points)
    rewards = [reward for reward, _ in points]
    if len(set(rewards)) < 2 or not width or _off_line(points) > ON_A_LINE * width:
        return None
    mean = _mean(rewards)
    spread = math.sqrt(_mean((reward - mean) ** 2 for reward in rewards))
    return width / (max(rewards) - min(rewards)), _mean(a for _, a in points) / width, spread


def _other_scales(lines: Sequence[tuple[float, float, float]]) -> int:
    """Groups whose scale is not that of most, where most have one: the same for all, or one over the deviation."""
    common = [[slope for slope, _, _ in lines], [slope * spread for slope, _, spread in lines]]
    counts = []
    for scales in common:
        usual = sorted(scales)[len(scales) // 2]
        counts.append(sum(abs(scale - usual) > SCALED * usual for scale in scales))
    least = min(counts)
    return least if least <= (1 - SAME) * len(lines) else 0


def rollouts_left_out(material: Material) -> Finding:
    """At steps that are trained some rollouts are not, though they have something to teach and were not cut off."""
    told = left = 0
    size = max(map(len, material.rewarded), default=0)
    steps = {group[0].step for group in material.rewarded if any(map(_is_trained, group))}
    for group in material.rewarded:
        mean, rewards = _mean(r.reward for r in group), [r.reward or 0.0 for r in group]
        width = max(rewards) - min(rewards)
        trained = [_is_trained(r) for r in group]
        if not width or not all(map(math.isfinite, rewards)) or group[0].step not in steps:
            continue
        if not any(trained) and len({r.success for r in group} & {0.0, 1.0}) < 2:
            continue  # groups that are all right or all wrong are left out on purpose
        levels = {r.reward for r, is_trained in zip(group, trained, strict=True) if is_trained}
        for rollout, is_trained in zip(group, trained, strict=True):
            if not is_trained and any(trained) and len(group) < size and rollout.reward not in levels:
                continue  # it may have been the mean of all, whom we do not know
            if not rollout.cut and rollout.error is None and abs((rollout.reward or 0.0) - mean) > APART * width:
                told, left = told + 1, left + (not is_trained)
    if not told:
        return cannot_tell("nothing says which rollouts of a group are trained", TELL_LEFT)
    text = f"{left} of {told} rollouts that have something to teach are not trained, and others of their step are"
    reading = {"rollouts": told, "left": left}
    return present(text, **reading) if left >= GROUPS and left > LEFT_OUT * told else absent(text, **reading)


def _is_trained(rollout: Rollout) -> bool:
    if rollout.trained_mask is not None:
        return any(rollout.trained_mask)
    return bool(rollout.trained_ids) or bool(rollout.advantage)


def _by_step(material: Material) -> list[list[list[Rollout]]]:
    """Groups of at least two rollouts that all have an advantage, by step."""
    steps: dict[int | None, list[list[Rollout]]] = defaultdict(list)
    for group in material.rewarded:
        known = [r for r in group if r.advantage is not None and math.isfinite(r.advantage)]
        if len(known) > 1:
            steps[group[0].step].append(known)
    return list(steps.values())


def _off_line(points: Sequence[tuple[float, float]]) -> float:
    """The largest distance of an advantage from the straight line of rewards that fits best."""
    x, y = (_mean(values) for values in zip(*points, strict=True))
    spread = sum((reward - x) ** 2 for reward, _ in points)
    slope = sum((reward - x) * (a - y) for reward, a in points) / spread
    return max(abs(a - y - slope * (reward - x)) for reward, a in points) if slope else math.inf


def _mean(values: Iterable[float | None]) -> float:
    found = [v for v in values if v is not None]
    return sum(found) / len(found)


def _length(rollout: Rollout) -> int:
    """Trained tokens, or where no mask says them the sampled ones."""
    return sum(rollout.trained_mask or ()) or sum(len(turn.output_ids or ()) for turn in rollout.turns)


def _as_length(a: float, b: float, length: int, other: int) -> bool:
    """Whether two advantages are to each other as two lengths, or the other way round."""
    if not (length and other) or length == other or a * b <= 0:
        return False
    ratio, lengths = math.log(a / b), math.log(length / other)
    return min(abs(ratio - lengths), abs(ratio + lengths)) < AS_LENGTH


FINDINGS = (
    advantages_without_group_mean,
    advantages_one_sided,
    advantages_by_length,
    advantages_not_of_their_group,
    rollouts_left_out,
)
