"""Training calls: did they train, and did the weights move?"""

from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Material, Update

TELL_STEPS = "what each training call reports (ART: data/step_num_gradient_steps, data/step_trainer_tokens)"
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


FINDINGS = (updates_skipped, weights_do_not_move)
