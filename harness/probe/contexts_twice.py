"""What stands twice in a context: a call, as it was sampled and rendered again, or the token for the beginning."""

import json
from collections.abc import Sequence

from harness.probe.differences import TELL_IDS, first_difference, inserted, overlap, side_by_side
from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Ids, Material, Rollout, Turn, find

A_CALL = 5  # tokens that a tool call has at least
MOSTLY = 0.6  # share of the ids of a call that its repetition has
ENOUGH = 20  # contexts that differ and are aligned: it takes a while, and all are rendered in one way
LONG = 6_000  # tokens behind the first difference that are aligned; more take too long


def calls_doubled(material: Material) -> Finding:
    """The trained context shows a tool call twice: as it was sampled, and rendered again."""
    told, doubled, aligned = 0, [], 0
    for rollout in material.rollouts:
        served, trained = rollout.served, rollout.trained_ids
        if not trained or not _calls_early(rollout) or aligned == ENOUGH:
            continue
        aligned += bool(served) and served != trained
        if served:
            told += 1
            if _repeats(served, trained, rollout.turns[:-1]):
                doubled.append((served, trained))
        elif material.decode is not None:
            told += 1
            if _shown_often(material.decode(trained), rollout):
                doubled.append((trained, trained))
    if not told:
        return cannot_tell("no trained context with a call before its last turn has token ids", TELL_IDS)
    text = f"{len(doubled)} of {told} trained contexts show a call before the last turn twice"
    reading = {"rollouts": told, "doubled": len(doubled)}
    if not doubled:
        return absent(text, **reading)
    served, trained = doubled[0]
    return present(text, *(side_by_side(served, trained, material.decode) if served != trained else ()), **reading)


def bos_twice(material: Material) -> Finding:
    """A context begins with the token for the beginning twice."""
    served = [t.prompt_ids for r in material.rollouts for t in r.turns[:1] if t.prompt_ids]
    trained = [r.trained_ids for r in material.rollouts if r.trained_ids]
    if not served and not trained:
        return cannot_tell("no context has token ids", TELL_IDS)
    twice = [sum(_begins_twice(ids, material.bos) for ids in each) for each in (served, trained)]
    text = f"{twice[0]} of {len(served)} served and {twice[1]} of {len(trained)} trained contexts begin twice"
    reading = {"served": len(served), "served_twice": twice[0], "trained": len(trained), "trained_twice": twice[1]}
    return present(text, **reading) if any(twice) else absent(text, **reading)


def _calls_early(rollout: Rollout) -> bool:
    return any(rollout.messages[at].get("tool_calls") for at in rollout.said[:-1])


def _repeats(served: Ids, trained: Ids, turns: Sequence[Turn]) -> bool:
    start = first_difference(served, trained)
    if start is None or max(len(served), len(trained)) - start > LONG:
        return False
    calls = [turn.output_ids or () for turn in turns]
    return any(
        overlap(ids, call) >= MOSTLY and find(trained[:at], call[:A_CALL]) is not None
        for at, ids in inserted(served, trained)
        for call in calls
        if len(ids) >= A_CALL
    )


def _shown_often(text: str, rollout: Rollout) -> bool:
    """Whether some call's arguments stand in the text more often than the messages hold them."""
    seen = "".join(json.dumps(m, ensure_ascii=False).replace('\\"', '"') for m in rollout.messages)
    for at in rollout.said[:-1]:
        for call in rollout.messages[at].get("tool_calls") or ():
            arguments = str((call.get("function") or call).get("arguments") or "")
            once = max(seen.count(arguments) - _in_text(rollout, at, arguments), 1)
            if len(arguments) > A_CALL and text.count(arguments) > once:
                return True
    return False


def _in_text(rollout: Rollout, at: int, arguments: str) -> int:
    """How often a reply's text spells a call that stands beside it as well."""
    return str(rollout.messages[at].get("content") or "").count(arguments)


def _begins_twice(ids: Ids, bos: int | None) -> bool:
    return len(ids) > 1 and ids[0] == ids[1] and bos in (None, ids[0])


FINDINGS = (
    calls_doubled,
    bos_twice,
)
