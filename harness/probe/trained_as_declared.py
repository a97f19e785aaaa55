"""What is trained beside what the loop is declared to train: advantages, rows, masks, training calls."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterator

from harness.probe.as_declared import TELL, by_step
from harness.probe.differences import first_difference, side_by_side
from harness.probe.finding import Finding, compared
from harness.probe.material import Ids, Material, Rollout, Update, find

SAME, SAME_16 = 1e-3, 8e-3  # relative: what is left by rounding of rewards and of sixth digits, or by bfloat16
ZERO = 1e-9
Group = tuple[Rollout, ...]


def advantages_not_as_declared(material: Material) -> Finding:
    """An advantage is not what the declared formula gives for its group's rewards."""
    told, odd = 0, []
    for step, groups in material.once(expected).items():
        known = [(r.advantage, a) for group in groups for r, a in group if r.advantage is not None]
        ratios = sorted(one / other for one, other in known if abs(other) > ZERO)
        scale = _scale(material, step, groups) or (statistics.median_low(ratios) if ratios else 1.0)
        scale, same = abs(scale) or 1.0, SAME if material.exact else SAME_16
        told += len(known)
        odd += [
            f"step {step}: {one:g}, and {scale * other:g} is declared"
            for one, other in known
            if not abs(one - scale * other) <= same * max(abs(scale * other), 0.01)
        ]
    tell = TELL.format("advantages and group_size")
    return compared(told, odd, "advantages are not those of the declared formula", tell)


def trained_otherwise_than_declared(material: Material) -> Finding:
    """A rollout with an advantage is not trained, or one without is, or its row holds other tokens than were played."""
    told, odd = 0, []
    shown: tuple[str, ...] = ()
    for groups in material.once(expected).values():
        of_step = [pair for group in groups for pair in group]
        if not any(r.trained_ids for r, _ in of_step):
            continue
        told += len(of_step)
        odd += [
            f"a rollout with advantage {a:g} is {'not ' * (r.trained_ids is None)}trained"
            for r, a in of_step
            if (r.trained_ids is None) != (abs(a) <= ZERO) and (r.trained_ids is None or r.advantage)
        ]
    for rollout in material.rollouts if material.declared.trained else ():
        if rollout.trained_ids and (row := played(rollout)) is not None:
            told += 1
            if not _is_row(rollout, row):
                place = first_difference(row, rollout.trained_ids)
                odd.append(f"first difference at token {place} of {len(row)}, trained are {len(rollout.trained_ids)}")
                shown = shown or side_by_side(row, rollout.trained_ids, material.decode)
    tell = TELL.format("trained, advantages and group_size; and the token ids as served, sampled and trained")
    found = compared(told, odd, "rollouts are not trained as declared", tell)
    return Finding(found.verdict, found.text, found.reading, found.tell, (*found.shown, *shown))


def masks_not_as_declared(material: Material) -> Finding:
    """Of a row's tokens others are trained than exactly those that were sampled."""
    told, odd = 0, []
    for rollout in material.rollouts if material.declared.trained else ():
        mask, spans = rollout.trained_mask, _spans(rollout)
        if mask is None or spans is None or rollout.left_out:
            continue
        told += 1
        sampled = {n for begin, end in spans for n in range(begin, end)}
        trained = {n for n, is_trained in enumerate(mask) if is_trained}
        if trained != sampled:
            odd.append(f"{len(sampled - trained)} sampled tokens are not trained, {len(trained - sampled)} others are")
    tell = TELL.format("trained; and trained_mask beside the token ids as served and sampled")
    return compared(told, odd, "masks are not exactly the sampled tokens", tell)


def updates_not_as_declared(material: Material) -> Finding:
    """A training call has other numbers of gradient steps or tokens, or another rate, than its rollouts make it."""
    declared, told, odd = material.declared, 0, []
    for step, groups, update in _calls(material):
        rows = [[r for r in group if r.trained_ids and r.advantage] for group in groups]
        tokens = sum(sum(r.trained_mask or ()) for group in rows for r in group) * (declared.epochs or 1)
        if declared.epochs is not None and update.trained_tokens is not None:
            told += 1
            if update.trained_tokens != tokens:
                odd.append(f"step {step}: {update.trained_tokens:g} tokens, and the masks have {tokens}")
        if declared.groups_per_gradient_step is not None and update.gradient_steps is not None:
            told += 1
            wanted = math.ceil(sum(map(bool, rows)) / declared.groups_per_gradient_step) * (declared.epochs or 1)
            if update.gradient_steps != wanted:
                odd.append(f"step {step}: {update.gradient_steps:g} gradient steps instead of {wanted}")
    for update in material.updates if declared.learning_rate is not None else ():
        if update.learning_rate is not None:
            told += 1
            if not math.isclose(update.learning_rate, declared.learning_rate or 0.0, rel_tol=1e-6):
                odd.append(f"rate {update.learning_rate:g}, declared {declared.learning_rate:g}")
    tell = TELL.format("epochs, groups_per_gradient_step, learning_rate, group_size and groups_per_step")
    return compared(told, odd, "numbers of training calls are not as declared", tell)


def expected(material: Material) -> dict[int, list[list[tuple[Rollout, float]]]]:
    """By step the groups that are whole, with the advantage that the formula gives each rollout."""
    out: dict[int, list[list[tuple[Rollout, float]]]] = defaultdict(list)
    for step, groups in material.once(by_step).items():
        for group in filter(lambda each: _is_whole(each, material), groups):
            found = material.declared.advantages_of([r.reward or 0.0 for r in group])
            if found is not None:
                out[step].append([*zip(group, found, strict=True)])
    return out


def played(rollout: Rollout) -> Ids | None:
    """The row as it was served and sampled; None where an earlier reply was served again in other tokens."""
    return rollout.served if _served_spans(rollout) is not None else None


def _is_row(rollout: Rollout, row: Ids) -> bool:
    """Whether that is trained, and nothing behind it but what is masked: padding, or the last words of a template."""
    ids, mask = rollout.trained_ids or (), rollout.trained_mask or ()
    return ids == row or (ids[: len(row)] == row and bool(mask) and not any(mask[len(row) :]))


def _is_whole(group: Group, material: Material) -> bool:
    size = material.group_size
    return len(group) == size and not any(r.cut or r.error or r.reward is None or not r.messages for r in group)


def _scale(material: Material, step: int, groups: list[list[tuple[Rollout, float]]]) -> float | None:
    """What ART's packing multiplies a step's advantages with; None where that is not known."""
    if material.declared.advantages != "art":
        return 1.0
    if len(groups) != material.declared.groups_per_step or len(groups) != len(material.once(by_step)[step]):
        return None
    sizes = [abs(a) for group in groups for _, a in group if abs(a) > ZERO]
    return 1 / statistics.fmean(sizes) if sizes else None


def _spans(rollout: Rollout) -> list[tuple[int, int]] | None:
    """Where each reply stands in the trained row, if that is what was played, or else if each stands in it."""
    if not rollout.trained_ids or not rollout.turns:
        return None
    found = _served_spans(rollout) if rollout.served == rollout.trained_ids else None
    if found is None and None not in rollout.places:
        lengths = [len(turn.output_ids or ()) for turn in rollout.turns]
        found = [(at, at + n) for at, n in zip(rollout.places, lengths, strict=True) if at is not None]
    return found


def _served_spans(rollout: Rollout) -> list[tuple[int, int]] | None:
    """Where each reply stands in what was served, by the lengths of prompts where these are known."""
    row, begin, out = rollout.served, 0, []
    for turn in rollout.turns if row else ():
        output = turn.output_ids or ()
        at = len(turn.prompt_ids) if turn.prompt_ids is not None else find(row or (), output, begin)
        if at is None or (row or ())[at : at + len(output)] != output or at < begin:
            return None
        out.append((at, begin := at + len(output)))
    return out or None


def _calls(material: Material) -> Iterator[tuple[int, list[Group], Update]]:
    """Steps of which all rollouts are there, each with its training call, or what its calls sum up to."""
    steps = material.once(by_step)
    of_step: dict[int, list[Update]] = defaultdict(list)
    for update in material.updates:
        if update.step is not None:
            of_step[update.step].append(update)
    shift = 0 if of_step and max(of_step) in steps else 1
    for number, updates in of_step.items():
        step = number - shift
        groups = steps.get(step, [])
        if len(groups) != material.declared.groups_per_step or not all(_is_whole(g, material) for g in groups):
            continue
        trained = [r for group in groups for r in group if r.trained_ids]
        idle = not any(a for group in material.once(expected).get(step, []) for _, a in group)
        known = all(r.trained_mask is not None and r.advantage is not None for r in trained)
        if known and (trained or idle):
            tokens, gradient_steps = (
                [getattr(u, name) for u in updates] for name in ("trained_tokens", "gradient_steps")
            )
            yield step, groups, Update(number, _sum(gradient_steps), _sum(tokens))


def _sum(numbers: list[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known and len(known) == len(numbers) else None


FINDINGS = (
    advantages_not_as_declared,
    trained_otherwise_than_declared,
    masks_not_as_declared,
    updates_not_as_declared,
)
