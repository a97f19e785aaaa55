"""The context that is trained beside the one that was served: token equality is the only proof.

Where a loop renders its trajectories again, it may leave the tools out, put their keys in another order, show a call
twice, begin twice, drop what was thought, or spell a reply in other tokens. Each of these has a finding of its own;
`context_not_served` shows the first token that differs, whatever the reason.
"""

import json
import re
from collections.abc import Iterator, Sequence

from harness.probe.differences import first_difference, inserted, middles, overlap, same_words, side_by_side
from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Ids, Material, Rollout, Turn, find

SLACK = 4  # tokens that a list of tools may share by chance with what stands around it
A_CALL = 5  # tokens that a tool call has at least
KEPT = 0.5  # share of the tokens of earlier replies that later prompts have at least, however they are spelled
MOSTLY = 0.6  # share of the ids of a call that its repetition has
ENOUGH = 20  # contexts that differ and are aligned: it takes a while, and all are rendered in one way
LONG = 6_000  # tokens behind the first difference that are aligned; more take too long
THOUGHT = re.compile(r"<think>(.+?)</think>", re.DOTALL)
TELL_IDS = (
    "the token ids of the prompts as served (vLLM: return_token_ids) and as trained (trained_ids); or, for a loop that "
    "renders again, its template and tokenizer (--template, --tokenizer, --tools)"
)


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
        if any(t.output_ids is None for t in turns) or any(_has_thoughts(rollout, n) for n in range(len(turns))):
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


def outputs_retokenised(material: Material) -> Finding:
    """The trained context spells a sampled reply in other tokens than were sampled."""
    told = [
        (r, n)
        for r in material.rollouts
        if r.trained_ids and (r.trained_mask is None or any(r.trained_mask))
        for n, turn in enumerate(r.turns)
        if turn.output_ids and not _has_thoughts(r, n) and not (r.places[n] is None and _is_beginning(r))
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


def _thoughts(rollout: Rollout, at: int) -> str:
    message = rollout.messages[at]
    found = THOUGHT.search(str(message.get("content") or ""))
    return (found[1] if found else str(message.get("reasoning_content") or message.get("reasoning") or "")).strip()


def _has_thoughts(rollout: Rollout, number: int) -> bool:
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
    tools_not_trained,
    tool_keys_reordered,
    calls_doubled,
    bos_twice,
    thinking_stripped,
    outputs_retokenised,
    context_not_served,
    context_cut_off,
    equal_prompts_served_apart,
    history_not_served,
)
