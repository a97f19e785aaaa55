"""Training calls: did they train, all of what they were given, from where the last one ended, and did weights move?"""

import math
from collections import Counter, defaultdict
from itertools import pairwise

from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Material, Update

DIGEST = 8  # characters of a name that is a digest
TELL_STEPS = "what each training call reports (ART: data/step_num_gradient_steps, data/step_trainer_tokens)"
TELL_TOKENS = "trained_tokens of each training call, and trained_mask and step of each rollout that it trained"
TELL_EPOCHS = f"{TELL_TOKENS}; and how often each is to be trained on (epochs)"
TELL_MOVED = "a digest of the adapter's file before and after a training call (weights_before, weights_after)"


def updates_skipped(material: Material) -> Finding:
    """A training call trains nothing, and the step goes on as if it had."""
    told = [u for u in material.updates if u.gradient_steps is not None or u.trained_tokens is not None]
    if not told:
        return cannot_tell("no training call says what it did", TELL_STEPS)
    skipped = [u for u in told if 0 in (u.gradient_steps, u.trained_tokens)]
    text = f"{len(skipped)} of {len(told)} training calls took no gradient step"
    reading = {"updates": len(told), "skipped": len(skipped)}
    if not skipped:
        return absent(text, **reading)
    with_spread = _steps_with_spread(material)
    if with_spread is not None and not any(u.step in with_spread for u in skipped):
        return cannot_tell(f"{text}: no group of these steps had spread", "steps whose rewards differ", **reading)
    return present(text, **reading)


def weights_do_not_move(material: Material) -> Finding:
    """Gradient steps are taken and the weights stay: a frozen optimiser, a rate of 0, or one that rounding swallows."""
    took = [u for u in material.updates if u.gradient_steps != 0 and u.trained_tokens != 0]
    told = [still for u in took if (still := _still(u)) is not None]
    if not told:
        return cannot_tell("no training call says whether the weights moved", TELL_MOVED)
    stayed = sum(told)
    text = f"{stayed} of {len(told)} training calls with gradient steps left the weights as they were"
    reading = {"updates": len(told), "still": stayed}
    return present(text, **reading) if stayed else absent(text, **reading)


def _still(update: Update) -> bool | None:
    if update.moved is not None:
        return not update.moved
    return True if 0 in (update.learning_rate, update.grad_norm) else None


def _steps_with_spread(material: Material) -> set[int] | None:
    """Steps of updates whose groups had spread: an update is counted by the step that it ends in, one after that of
    its rollouts, or by that of its rollouts. None where groups and updates have no steps in common."""
    groups = [group for group in material.rewarded if group[0].step is not None]
    steps = {group[0].step for group in groups}
    if not steps or not all(u.step is not None and {u.step, u.step - 1} & steps for u in material.updates):
        return None
    spread = {group[0].step for group in groups if len({r.reward for r in group}) > 1}
    shift = 0 if any(u.step in steps and u.step - 1 not in steps for u in material.updates if u.step is not None) else 1
    return {step + shift for step in spread if step is not None}


def steps_without_update(material: Material) -> Finding:
    """A step's rollouts have rewards that differ, and no training call is of that step, though one is of a later."""
    spread = {group[0].step for group in material.rewarded if len({r.reward for r in group}) > 1}
    steps = sorted(step for step in spread if step is not None)
    updates = [u.step for u in material.updates if u.step is not None]
    if not steps or len(updates) < 2:
        return cannot_tell("no two training calls say their step beside rollouts that do", TELL_STEPS)
    shift = _shift(set(steps), updates)
    told = [step for step in steps if min(updates) <= step + shift <= max(updates)]
    lost = [step for step in told if step + shift not in updates]
    text = f"{len(lost)} of {len(told)} steps have no training call"
    reading = {"steps": len(told), "lost": len(lost)}
    if not told:
        return cannot_tell("training calls and rollouts have no steps in common", TELL_STEPS)
    return present(text, **reading) if lost else absent(text, **reading)


def update_begins_elsewhere(material: Material) -> Finding:
    """A training call does not begin with the weights that the last one ended with."""
    told = sorted(
        (u for u in material.updates if u.before and u.after and u.step is not None), key=lambda u: u.step or 0
    )
    pairs = [(one, other) for one, other in pairwise(told) if (one.step or 0) + 1 == other.step]
    if not pairs:
        return cannot_tell("no two training calls in a row say their weights before and after", TELL_MOVED)
    apart = [(one, other) for one, other in pairs if one.after != other.before]
    text = f"{len(apart)} of {len(pairs)} training calls do not begin where the last one ended"
    reading = {"pairs": len(pairs), "apart": len(apart)}
    if not apart:
        return absent(text, **reading)
    seen = [{name for u in told[: told.index(other)] for name in (u.before, u.after)} for _, other in apart]
    stale = any(other.before in names for (_, other), names in zip(apart, seen, strict=True))
    kinds = {len(name or "") for each in told for name in (each.before, each.after)}
    if (
        not stale and len(apart) == len(pairs) and (len(kinds) > 1 or max(kinds) < DIGEST)
    ):  # digests of two kinds never meet
        return cannot_tell(f"{text}: no weights are known under both names", TELL_MOVED, **reading)
    return present(text, **reading)


def weights_return(material: Material) -> Finding:
    """A training call ends with weights that were there before: it is undone, or an older checkpoint is loaded."""
    told = [u for u in material.updates if u.before and u.after and u.before != u.after]
    if len(told) < 2:
        return cannot_tell("no two training calls that moved weights say which", TELL_MOVED)
    ordered = sorted(told, key=lambda u: u.step or 0)
    seen = [{name for u in ordered[:n] for name in (u.before, u.after)} for n in range(len(ordered))]
    again = sum(u.after in names for u, names in zip(ordered, seen, strict=True))
    text = f"{again} of {len(told)} training calls end with weights of an earlier one"
    reading = {"updates": len(told), "again": again}
    return present(text, **reading) if again else absent(text, **reading)


def tokens_left_out(material: Material) -> Finding:
    """An update trains fewer tokens than the masks of its rollouts say, or those of a group twice."""
    masks, rollouts, told = _tokens(material)
    steps = list(told)
    if not steps:
        return cannot_tell("no training call says its tokens beside the masks of its rollouts", TELL_TOKENS)
    lost = {step: masks[step] - told[step] for step in steps}
    fewer = [step for step in steps if lost[step] > rollouts[step]]  # a shift by one loses a token of each
    reading: dict[str, float] = {"steps": len(steps), "fewer": len(fewer), "lost": sum(lost[step] for step in fewer)}
    twice = [step for step in steps if _again(material, step, told[step])]
    if twice and not fewer:
        reading |= {"twice": len(twice)}
        return present(f"{len(twice)} of {len(steps)} training calls train one group's tokens twice", **reading)
    text = f"{len(fewer)} of {len(steps)} training calls train fewer tokens than their rollouts' masks have"
    if not fewer:
        return absent(text, **reading)
    first = fewer[0]
    return present(f"{text}: {told[first]:g} of {masks[first]} at the first of them", **reading)


def rows_trained_again(material: Material) -> Finding:
    """Training calls train each token more often than they are asked to: a trainer's default of several epochs."""
    masks, rollouts, told = _tokens(material)
    if not told:
        return cannot_tell("no training call says its tokens beside the masks of its rollouts", TELL_EPOCHS)
    times = {step: round(told[step] / masks[step]) for step in told}
    whole = [step for step in told if abs(told[step] - times[step] * masks[step]) <= times[step] * rollouts[step]]
    most = max((times[step] for step in whole), default=0)
    text = f"{len(whole)} of {len(told)} training calls train all tokens of their rollouts' masks, up to {most} times"
    reading = {"steps": len(told), "whole": len(whole), "times": most}
    if material.epochs is None:
        return cannot_tell(text, TELL_EPOCHS, **reading)
    again = [step for step in whole if times[step] > material.epochs]
    asked = f"{text}, where {material.epochs} is asked for"
    return present(asked, **reading) if again else absent(asked, **reading)


def _tokens(material: Material) -> tuple[Counter[int], Counter[int], dict[int, float]]:
    """By step: the tokens of its rollouts' masks, the number of these rollouts, the tokens that its update reports."""
    masks, rollouts = Counter[int](), Counter[int]()
    for rollout in material.rollouts:
        if rollout.step is not None and any(rollout.trained_mask or ()) and rollout.advantage:
            masks[rollout.step] += sum(rollout.trained_mask or ())
            rollouts[rollout.step] += 1
    told: dict[int, float] = defaultdict(float)
    for update in material.updates:
        if update.step is not None and update.trained_tokens:
            told[update.step] += update.trained_tokens
    shift = _shift(set(masks), list(told))
    return masks, rollouts, {step: told[step + shift] for step in masks if step + shift in told}


def _again(material: Material, step: int, told: float) -> bool:
    """Whether a step has more tokens than all of its rollouts' masks, by those of one of its groups."""
    groups = [group for group in material.groups if group[0].step == step]
    if not groups:
        return False
    sums = [sum(sum(rollout.trained_mask or ()) for rollout in group) for group in groups]
    whole = len({len(group) for group in material.groups}) == 1 and material.group_size in (None, len(groups[0]))
    again = {each for each in sums if each and each != sum(sums)}  # a step's only group twice: two epochs
    return whole and told - sum(sums) * (material.epochs or 1) in again


def updates_alike(material: Material) -> Finding:
    """Two training calls report the same gradient norm to its last digit: one batch is trained or reported twice."""
    known = [u for u in material.updates if u.grad_norm is not None and _is_measured(u.grad_norm)]
    if len(known) < 2:
        return cannot_tell("no two training calls say their gradient's norm", "grad_norm of each training call")
    alike = len(known) - len({u.grad_norm for u in known})
    text = f"{alike} of {len(known)} training calls report the gradient norm of another one"
    reading = {"updates": len(known), "alike": alike}
    return present(text, **reading) if alike else absent(text, **reading)


def _is_measured(norm: float) -> bool:
    """Whether it has so many digits that two are not equal by chance; one that was cut to a limit has not."""
    return math.isfinite(norm) and float(f"{norm:.4g}") != norm


def gradients_not_finite(material: Material) -> Finding:
    """A gradient's norm is no finite number."""
    known = [u.grad_norm for u in material.updates if u.grad_norm is not None]
    if not known:
        return cannot_tell("no training call says its gradient's norm", "grad_norm of each training call")
    odd = sum(not math.isfinite(norm) for norm in known)
    text = f"{odd} of {len(known)} gradient norms are no finite numbers"
    return present(text, updates=len(known), odd=odd) if odd else absent(text, updates=len(known), odd=odd)


def _shift(steps: set[int], updates: list[int]) -> int:
    """An update has the number of its rollouts' step, or the next one."""
    return 0 if updates and max(updates) in steps else 1


FINDINGS = (
    updates_skipped,
    steps_without_update,
    weights_do_not_move,
    update_begins_elsewhere,
    weights_return,
    tokens_left_out,
    rows_trained_again,
    gradients_not_finite,
    updates_alike,
)
