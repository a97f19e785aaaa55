"""The context that is trained beside the one that was served: token equality is the only proof.

Where a loop renders its trajectories again, it may leave the tools out or put their keys in another order
(tools_in_contexts.py), show a call twice or begin twice (contexts_twice.py), drop what was thought (thoughts.py), or
spell a reply in other tokens. `context_not_served` shows the first token that differs, whatever the reason.
"""

from harness.probe.differences import TELL_IDS, first_difference, side_by_side
from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Ids, Material, Rollout, find
from harness.probe.thoughts import has_thoughts


def outputs_retokenised(material: Material) -> Finding:
    """The trained context spells a sampled reply in other tokens than were sampled."""
    told = [
        (r, n)
        for r in material.rollouts
        if r.trained_ids and (r.trained_mask is None or any(r.trained_mask))
        for n, turn in enumerate(r.turns)
        if turn.output_ids and not has_thoughts(r, n) and not (r.places[n] is None and _is_beginning(r))
    ]
    if not told:
        return cannot_tell("no rollout has sampled and trained token ids", TELL_IDS)
    other = [(r, n) for r, n in told if r.places[n] is None and not _but_its_end(r, n)]
    text = f"{len(other)} of {len(told)} sampled replies do not stand in the trained context in their own tokens"
    reading = {"replies": len(told), "other_tokens": len(other)}
    if not other:
        return absent(text, **reading)
    rollout, number = other[0]
    output, ids = rollout.turns[number].output_ids or (), rollout.trained_ids or ()
    return present(text, *side_by_side(output, _where(ids, output), material.decode), **reading)


def context_not_served(material: Material) -> Finding:
    """What is trained is not what was served: another context stands before the sampled tokens."""
    pairs = [(r, r.served, r.trained_ids) for r in material.rollouts if r.served and r.trained_ids]
    if not pairs:
        return cannot_tell("no rollout has token ids both as served and as trained", TELL_IDS)
    differ = [(r, served, trained) for r, served, trained in pairs if _apart(served, trained)]
    apart = [(served, trained) for r, served, trained in differ if not _in_a_reply(r, served, trained)]
    text = f"{len(apart)} of {len(pairs)} trained contexts are not what was served"
    if respelled := len(differ) - len(apart):  # a call with odd spaces is served again as the template spells it
        text += f"; {respelled} differ in an earlier reply alone, as it was sampled"
    reading = {"rollouts": len(pairs), "apart": len(apart), "respelled": respelled}
    if not apart:
        return absent(text, **reading)
    return present(text, *side_by_side(*apart[0], material.decode), **reading)


def context_cut_off(material: Material) -> Finding:
    """Trained contexts end before what was served does, at one length: longer ones are cut to a row."""
    pairs = [(r, r.served, r.trained_ids) for r in material.rollouts if r.served and r.trained_ids]
    if not pairs:
        return cannot_tell("no rollout has token ids both as served and as trained", TELL_IDS)
    lengths = {len(r.trained_ids or ()) for r, _, _ in pairs if _is_beginning(r)}
    cut = sum(_is_beginning(r) for r, _, _ in pairs)
    text = f"{cut} of {len(pairs)} trained contexts end before what was served"
    reading = {"rollouts": len(pairs), "cut": cut}
    if not cut:
        return absent(text, **reading)
    if len(lengths) == 1 and lengths == {max(len(trained) for _, _, trained in pairs)}:
        return present(f"{text}, each at {min(lengths)} tokens", **reading)
    # a trainer may have a row for each turn
    return cannot_tell(f"{text}, at {len(lengths)} lengths", "the whole context as it is trained", **reading)


def _apart(served: Ids, trained: Ids) -> bool:
    """A context that ends earlier, or goes on behind the last sampled token, is no other one."""
    place = first_difference(served, trained)
    return place is not None and place < min(len(served) - 1, len(trained))


def _is_beginning(rollout: Rollout) -> bool:
    """Whether the trained context is the beginning of the served one, and more than its last token is missing."""
    served, trained = rollout.served or (), rollout.trained_ids or ()
    return len(trained) < len(served) - 1 and first_difference(served, trained) == len(trained)


def _in_a_reply(rollout: Rollout, served: Ids, trained: Ids) -> bool:
    """Whether the first token that differs is one that the policy sampled: the server has rendered the reply again, and
    otherwise, for the turns that follow."""
    place = first_difference(served, trained) or 0
    spans = zip(rollout.places, rollout.turns, strict=True)
    return any(at is not None and at <= place < at + len(turn.output_ids or ()) for at, turn in spans)


def _but_its_end(rollout: Rollout, number: int) -> bool:
    """Whether all but the last token of a reply stands there."""
    output = rollout.turns[number].output_ids or ()
    return len(output) == 1 or find(rollout.trained_ids or (), output[:-1]) is not None


def _where(ids: Ids, output: Ids) -> Ids:
    """The trained ids from where the longest beginning of a reply stands."""
    for length in range(len(output) - 1, 0, -1):
        if (at := find(ids, output[:length])) is not None:
            return ids[at : at + len(output)]
    return ids[: len(output)]


FINDINGS = (
    outputs_retokenised,
    context_not_served,
    context_cut_off,
)
