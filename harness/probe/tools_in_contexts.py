"""Tools in the trained context: are they those that the policy saw, and spelled alike?"""

import json
from collections.abc import Iterator

from harness.probe.differences import TELL_IDS, middles, same_words, side_by_side
from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Ids, Material, Rollout, Turn

SLACK = 4  # tokens that a list of tools may share by chance with what stands around it


def tools_not_trained(material: Material) -> Finding:
    """The policy saw tools that the trained context does not show."""
    openings = list(_openings(material))
    if openings:
        without = [(s, t) for r, s, t in openings if r.calls_tools or r.sent_tools if _dropped(s, t, r, material)]
        text = f"{len(without)} of {len(openings)} trained contexts lack the tools that were served"
        reading = {"rollouts": len(openings), "without_tools": len(without)}
        if not without:
            return absent(text, **reading)
        return present(text, *side_by_side(*without[0], material.decode), **reading)
    used = [r for r in material.rollouts if r.calls_tools or r.sent_tools]
    told = [r for r in used if "tools" in r.keeps or r.tools]
    if not told:
        return cannot_tell(
            "no rollout uses a tool" if not used else "the source does not say which tools the trainer has", TELL_IDS
        )
    missing = sum(not r.tools for r in told)
    text = f"{missing} of {len(told)} rollouts that use tools have none attached, so that the trainer renders none"
    reading = {"rollouts": len(told), "without_tools": missing}
    return present(text, **reading) if missing else absent(f"tools are attached to all {len(told)} rollouts", **reading)


def tool_keys_reordered(material: Material) -> Finding:
    """The trained context shows the same tools with their keys in another order."""
    openings = [(s, t) for r, s, t in _openings(material) if r.calls_tools or r.sent_tools or r.tools]
    if openings:
        other = [(s, t) for s, t in openings if _reordered(*middles(s, t), material)]
        text = f"{len(other)} of {len(openings)} trained contexts show the served tools in another key order"
        reading = {"rollouts": len(openings), "reordered": len(other)}
        if not other:
            return absent(text, **reading)
        return present(text, *side_by_side(*other[0], material.decode), **reading)
    both = [(r.sent_tools, r.tools) for r in material.rollouts if r.sent_tools and r.tools]
    if both and all(json.dumps(sent) == json.dumps(tools) for sent, tools in both):
        return absent(f"the tools of {len(both)} rollouts have the keys in the order in which they were sent")
    return cannot_tell("the order matters only where the template shows it", TELL_IDS, rollouts=len(both))


def _openings(material: Material) -> Iterator[tuple[Rollout, Ids, Ids]]:
    """Served first prompts, and what stands before the first turn's output in the trained context."""
    for rollout in material.rollouts:
        first = rollout.turns[0] if rollout.turns else Turn()
        if not rollout.trained_ids or first.prompt_ids is None:
            continue
        begin = next(iter(rollout.places), None)
        begin = rollout.opening if begin is None else begin
        if begin is None:
            begin = next((n for n, trained in enumerate(rollout.trained_mask or ()) if trained), None)
        if begin is not None:
            yield rollout, first.prompt_ids, rollout.trained_ids[:begin]


def _dropped(served: Ids, trained: Ids, rollout: Rollout, material: Material) -> bool:
    """Whether a block stands in the served opening alone that the tools can be."""
    block, rest = middles(served, trained)
    if len(block) <= len(rest) + SLACK:
        return False
    names = [str((tool.get("function") or tool).get("name")) for tool in rollout.sent_tools or rollout.tools or ()]
    if names and material.decode is not None:
        text = material.decode(block)
        return all(name in text for name in names) and not any(name in material.decode(rest) for name in names)
    return len(rest) <= SLACK and len(block) > 2 * SLACK


def _reordered(served: Ids, trained: Ids, material: Material) -> bool:
    return bool(served and trained) and served != trained and same_words(served, trained, material.decode)


FINDINGS = (
    tools_not_trained,
    tool_keys_reordered,
)
