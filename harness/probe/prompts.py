"""Served prompts beside one another: equal openings as equal tokens, and later ones with what was said before."""

import json

from harness.probe.differences import TELL_IDS, side_by_side
from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Ids, Material, Turn
from harness.probe.thoughts import has_thoughts

KEPT = 0.5  # share of the tokens of earlier replies that later prompts have at least, however they are spelled


def equal_prompts_served_apart(material: Material) -> Finding:
    """The same opening messages were served as other token ids: some requests lack tools, or have another template."""
    served: dict[str, set[Ids]] = {}
    count = 0
    for rollout in material.rollouts:
        first = rollout.turns[0] if rollout.turns else Turn()
        if first.prompt_ids and rollout.said and rollout.said[0]:
            opening = json.dumps([rollout.sent_tools, rollout.messages[: rollout.said[0]]], sort_keys=True, default=str)
            served.setdefault(opening, set()).add(first.prompt_ids)
            count += 1
    if count == len(served):
        return cannot_tell(f"{count} first prompts have token ids, no two of the same messages", TELL_IDS)
    apart = [tuple(each) for each in served.values() if len(each) > 1]
    text = f"{len(apart)} of {len(served)} openings were served as several prompts"
    reading = {"openings": len(served), "apart": len(apart)}
    if not apart:
        return absent(text, **reading)
    one, other = sorted(apart[0])[:2]
    return present(text, *side_by_side(one, other, material.decode)[:1], **reading)


def history_not_served(material: Material) -> Finding:
    """The last prompt is too short to hold what was said before: earlier turns did not reach the policy."""
    told = short = 0
    for rollout in material.rollouts:
        turns = rollout.turns
        if len(turns) < 2 or not turns[0].prompt_ids or not turns[-1].prompt_ids:
            continue
        if any(t.output_ids is None for t in turns) or any(has_thoughts(rollout, n) for n in range(len(turns))):
            continue
        said = sum(len(t.output_ids or ()) for t in turns[:-1])
        told += 1
        # a template may spell calls shorter than they were sampled
        short += len(turns[-1].prompt_ids) < len(turns[0].prompt_ids) + KEPT * said
    text = f"{short} of {told} last prompts are shorter than the first one and what was said since"
    reading = {"rollouts": told, "short": short}
    if not told:
        return cannot_tell("no rollout of several turns has token ids of its first and last prompt", TELL_IDS)
    return present(text, **reading) if short else absent(text, **reading)


FINDINGS = (
    equal_prompts_served_apart,
    history_not_served,
)
