"""What the policy thought: is it in the contexts of later turns, as served and as trained?"""

import re

from harness.probe.differences import TELL_IDS
from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Material, Rollout, find

THOUGHT = re.compile(r"<think>(.+?)</think>", re.DOTALL)


def thinking_stripped(material: Material) -> Finding:
    """What the policy thought before its last turn is in the context of one of server and trainer alone, or of none."""
    thinking = [(r, n) for r in material.rollouts for n, at in enumerate(r.said[:-1]) if _thoughts(r, at)]
    if not thinking:
        if any(_thoughts(r, at) for r in material.rollouts for at in r.said):
            return cannot_tell("only last turns think", "rollouts of several turns")
        if any(r.said for r in material.rollouts):
            return absent("no reply thinks")
        return cannot_tell("no rollout has a reply", "rollouts with their messages")
    kept = [found for r, n in thinking if (found := _keeps_thought(r, n, material)) is not None]
    if not kept:
        return cannot_tell(f"{len(thinking)} turns before the last one think", TELL_IDS, turns=len(thinking))
    lost = kept.count(False)
    text = (
        f"of {len(kept)} turns that think before the last one, {lost} are served or trained without what they thought"
    )
    reading = {"turns": len(kept), "lost": lost}
    return present(text, **reading) if lost else absent(text, **reading)


def _thoughts(rollout: Rollout, at: int) -> str:
    message = rollout.messages[at]
    found = THOUGHT.search(str(message.get("content") or ""))
    return (found[1] if found else str(message.get("reasoning_content") or message.get("reasoning") or "")).strip()


def has_thoughts(rollout: Rollout, number: int) -> bool:
    return len(rollout.said) == len(rollout.turns) and bool(_thoughts(rollout, rollout.said[number]))


def _keeps_thought(rollout: Rollout, number: int, material: Material) -> bool | None:
    if not rollout.trained_ids:
        return None
    if len(rollout.turns) == len(rollout.said) and rollout.turns[number].output_ids:
        served = rollout.served
        kept = served is None or find(served, rollout.turns[number].output_ids or ()) is not None
        return kept and rollout.places[number] is not None
    if material.decode is None:
        return None
    return _thoughts(rollout, rollout.said[number]) in material.decode(rollout.trained_ids)


FINDINGS = (thinking_stripped,)
