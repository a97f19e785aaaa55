"""Which tokens of the trained context are trained: all that were sampled, and no others."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import ENDED, Ids, Material, Rollout

TELL_MASK = "the token ids that are trained (trained_ids) with their mask (trained_mask), and the sampled ones"
TELL_EOS = "the token that ends a reply (its id, or --tokenizer)"
ALIKE = 0.9  # share of replies that end with one token, where that must be the one that ends a reply
ENOUGH = 4  # such replies


def assistant_tokens_masked(material: Material) -> Finding:
    """Tokens that the policy sampled are not trained."""
    told = masked = 0
    for rollout in _with_mask(material):
        mask = rollout.trained_mask or ()
        if rollout.left_out:
            continue
        for turn, at in zip(rollout.turns, rollout.places, strict=True):
            if at is not None and turn.output_ids:
                inner = mask[at : at + len(turn.output_ids)][: max(len(turn.output_ids) - 1, 1)]
                told, masked = told + len(inner), masked + inner.count(False)
    if not told:
        return cannot_tell("no rollout has a mask beside the tokens that were sampled", TELL_MASK)
    text = f"{masked} of {told} sampled tokens are not trained, the last of each reply aside"
    reading = {"tokens": told, "masked": masked / told}
    return present(text, **reading) if masked else absent(text, **reading)


def unsampled_tokens_trained(material: Material) -> Finding:
    """Tokens are trained that the policy never sampled: the user's, a tool's, the template's."""
    told = [r for r in _with_mask(material) if None not in r.places and r.turns]
    if not told:
        return cannot_tell("no rollout has a mask beside all tokens that were sampled", TELL_MASK)
    foreign = total = 0
    for rollout in told:
        ids = rollout.trained_ids or ()
        spans = [
            (at or 0, len(turn.output_ids or ()), turn.finish_reason != "length")
            for turn, at in zip(rollout.turns, rollout.places, strict=True)
        ]
        sampled = {begin + n for begin, length, _ in spans for n in range(length)}
        # the end of a reply that ended by itself; one that was cut has none, whatever the template puts there
        sampled |= {
            end for begin, length, ended in spans if ended and _ends_reply(ids, end := begin + length, material.eos)
        }
        trained = [n for n, is_trained in enumerate(rollout.trained_mask or ()) if is_trained]
        foreign, total = foreign + sum(n not in sampled for n in trained), total + len(trained)
    text = f"{foreign} of {total} trained tokens were not sampled by the policy"
    reading = {"tokens": total, "foreign": foreign}
    return present(text, **reading) if foreign else absent(text, **reading)


def eos_never_trained(material: Material) -> Finding:
    """The token that ends a reply is never trained, so that the policy does not learn to stop."""
    ended = [
        (rollout, number)
        for rollout in _with_mask(material)
        if any(rollout.trained_mask or ())
        for number, turn in enumerate(rollout.turns)
        if turn.output_ids and turn.finish_reason in ENDED
    ]
    if not ended:
        return cannot_tell("no rollout has a mask beside a reply that ended by itself", TELL_MASK)
    eos = material.eos or _usual_end(ended)
    if not eos:
        return cannot_tell("the replies end with different tokens", TELL_EOS, replies=len(ended))
    trained = with_eos = 0
    for rollout, number in ended:
        output, mask = rollout.turns[number].output_ids or (), rollout.trained_mask or ()
        at, ids = rollout.places[number], rollout.trained_ids or ()
        with_eos += output[-1] in eos
        if at is not None:
            end = at + len(output)  # a trainer may put it behind a reply that came without it
            last = end - 1 if output[-1] in eos else end if _ends_reply(ids, end, eos) else None
            trained += last is not None and last < len(mask) and mask[last]
    text = f"the token that ends a reply was sampled in {with_eos} of {len(ended)} replies and is trained in {trained}"
    reading = {"replies": len(ended), "sampled": with_eos, "trained": trained}
    return absent(text, **reading) if trained else present(text, **reading)


def eos_masked_in_part(material: Material) -> Finding:
    """The token that ends a reply is trained in replies of one kind and not in those of another: calls, last turns."""
    kinds: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for rollout in _with_mask(material):
        mask = rollout.trained_mask or ()
        if not any(mask) or rollout.cut:
            continue
        for number, (turn, at) in enumerate(zip(rollout.turns, rollout.places, strict=True)):
            end = (at or 0) + len(turn.output_ids or ()) - 1
            if at is not None and turn.finish_reason in ENDED and end < len(mask) and any(mask[at:end]):
                kinds["finish", turn.finish_reason or ""].append(mask[end])
                kinds["turn", "last" if number == len(rollout.turns) - 1 else "earlier"].append(mask[end])
    if not any(map(any, kinds.values())):
        return cannot_tell("no last token of a reply is trained", TELL_MASK)
    never = [kind for kind, trained in kinds.items() if len(trained) >= ENOUGH and not any(trained)]
    some = sum(0 < sum(trained) < len(trained) for trained in kinds.values())
    every = [each for (name, _), trained in kinds.items() if name == "turn" for each in trained]
    text = f"the last token of {sum(every)} of {len(every)} replies is trained, of none that end as {_named(never)}"
    reading = {"replies": len(every), "trained": sum(every), "kinds_without": len(never), "kinds_in_part": some}
    odd = never or (some and sum(every) > len(every) / 2 and len(every) - sum(every) >= ENOUGH)
    return present(text, **reading) if odd else absent(text.partition(", of none")[0], **reading)


def _named(kinds: list[tuple[str, str]]) -> str:
    return ", ".join(sorted(name for _, name in kinds)) or "some"


def _with_mask(material: Material) -> Iterator[Rollout]:
    return (r for r in material.rollouts if r.trained_ids and r.trained_mask is not None)


def _ends_reply(ids: Ids, place: int, eos: frozenset[int]) -> bool:
    return place < len(ids) and ids[place] in eos


def _usual_end(ended: list[tuple[Rollout, int]]) -> frozenset[int]:
    """The one token with which nearly all of the replies end, and that stands in none of them before."""
    outputs = [r.turns[n].output_ids or () for r, n in ended]
    token, count = Counter(ids[-1] for ids in outputs).most_common(1)[0]
    alone = len(outputs) >= ENOUGH and count >= ALIKE * len(outputs) and not any(token in ids[:-1] for ids in outputs)
    return frozenset({token} if alone else ())


FINDINGS = (assistant_tokens_masked, unsampled_tokens_trained, eos_never_trained, eos_masked_in_part)
