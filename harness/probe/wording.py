"""What the messages say beside the tokens that were served and sampled: each message stands once in the prompts.

A ledger of text: a served prompt is the messages before it, the replies as they were sampled, and what a template puts
between them (served_text.py). Each of the three is compared. It needs a tokenizer.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Material, Message, text_of
from harness.probe.served_text import ENOUGH, MARKUP, THOUGHT, read

MOSTLY = 0.5  # share of messages that must be found, or the tokenizer or the template spell them otherwise
USUAL, OFTEN, ODD = 0.75, 10, 2  # share and number of equal frames, and number of others, that make these odd
WORD = re.compile(r"\w+")
ESCAPED, BROKEN = re.compile(r"\\u([0-9a-fA-F]{4})"), re.compile(r"\\[nrtbf]")
SPELLED = ("true", "false", "null", "none")
CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
TELL = "the tokenizer (--tokenizer), and the token ids of prompts and replies beside the messages"


def messages_not_served(material: Material) -> Finding:
    """The served prompts do not hold what the messages say: one is missing, cut, changed, or shown twice."""
    prompts = material.once(read)
    checked, missing = sum(p.checked for p in prompts), [text for p in prompts for text in p.missing]
    reading = {"prompts": len(prompts), "messages": checked, "missing": len(missing)}
    if not checked or len(missing) > (1 - MOSTLY) * checked:
        return cannot_tell(f"{len(missing)} of {checked} messages are not found in prompts as text", TELL, **reading)
    text = f"{len(missing)} of {checked} messages of {len(prompts)} served prompts do not stand in them once"
    return present(text, f"as {missing[0][:100]!r}", **reading) if missing else absent(text, **reading)


def replies_served_otherwise(material: Material) -> Finding:
    """A later prompt shows an earlier reply in other words than it was sampled: the policy reads what it never said."""
    prompts = material.once(read)
    replies, altered = sum(p.replies for p in prompts), [text for p in prompts for text in p.altered]
    checked, missing = sum(p.checked for p in prompts), sum(len(p.missing) for p in prompts)
    reading = {"replies": replies, "altered": len(altered)}
    if not replies or missing > (1 - MOSTLY) * checked:
        return cannot_tell(f"{replies} earlier replies can be read in later prompts", TELL, **reading)
    text = f"{len(altered)} of {replies} earlier replies stand in later prompts in other words, or not at all"
    return present(text, f"as {altered[0][:100]!r}", **reading) if altered else absent(text, **reading)


def prompts_framed_apart(material: Material) -> Finding:
    """Some prompts hold more than their messages, or less: other text stands between two messages than elsewhere."""
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for prompt in material.once(read):
        for kind, text in prompt.frames:
            kinds[kind][text] += 1
    told = {kind: frames for kind, frames in kinds.items() if frames.total() >= OFTEN}
    if not told:
        return cannot_tell("too few prompts are read to know what a template puts between messages", TELL)
    odd, shown = 0, ""
    for frames in told.values():
        usual, count = frames.most_common(1)[0]
        if count >= USUAL * frames.total() and frames.total() - count >= ODD:
            odd += frames.total() - count
            shown = shown or next(text for text in frames if text != usual)
    asked: dict[tuple[int, int], str] = {}
    for prompt in material.once(read):
        asked |= {(prompt.rollout, n): opening for n, opening in prompt.openings[-1:]}
    otherwise = [
        opening
        for prompt in material.once(read)
        for n, opening in prompt.openings[:-1]
        if asked.get((prompt.rollout, n), opening) != opening
    ]
    odd, shown = odd + len(otherwise), shown or "".join(otherwise[:1])
    text = f"{odd} of {sum(frames.total() for frames in told.values())} places between messages hold other text"
    reading = {"kinds": len(told), "odd": odd}
    return present(text, f"as {shown[:100]!r}", **reading) if odd else absent(text, **reading)


def replies_not_as_sampled(material: Material) -> Finding:
    """A reply's message says other things than its sampled tokens: a parser has changed, lost or added something."""
    decode, told, other, shown = material.decode, 0, 0, ""
    for rollout in material.rollouts if decode else ():
        if len(rollout.said) != len(rollout.turns) or told > ENOUGH:
            continue
        for at, turn in zip(rollout.said, rollout.turns, strict=True):
            if turn.output_ids and decode:
                sampled = decode(turn.output_ids)
                told, same = told + 1, _says(rollout.messages[at], sampled)
                other, shown = other + (not same), shown or ("" if same else sampled)
    reading = {"replies": told, "other": other}
    if not told or other > (1 - MOSTLY) * told:
        return cannot_tell(f"{other} of {told} replies are not found in their tokens as text", TELL, **reading)
    text = f"{other} of {told} messages of replies say something else than their tokens"
    return present(text, f"as {shown[:100]!r}", **reading) if other else absent(text, **reading)


def tools_not_served(material: Material) -> Finding:
    """Tools that were sent, or their parameters, do not stand in the served prompts: the policy does not know them."""
    decode, told, without, shown = material.decode, 0, 0, ""
    for rollout in material.rollouts if decode else ():
        first = rollout.turns[0].prompt_ids if rollout.turns else None
        if first and rollout.sent_tools and decode and told < ENOUGH:
            text = decode(first)
            lost = [name for tool in rollout.sent_tools for name in _names(tool) if name not in text]
            told, without, shown = told + 1, without + bool(lost), shown or ", ".join(lost[:5])
    prompts = material.once(read)
    if not told or sum(len(p.missing) for p in prompts) > (1 - MOSTLY) * sum(p.checked for p in prompts):
        return cannot_tell("no first prompt can be read beside the tools that were sent", TELL)
    text = f"{without} of {told} first prompts lack names of the tools that were sent, or of their parameters"
    reading = {"prompts": told, "without": without}
    return present(text, f"as {shown}", **reading) if without else absent(text, **reading)


def _names(tool: Mapping[str, Any]) -> list[str]:
    inner = tool.get("function") or tool
    known = (inner.get("parameters") or {}).get("properties") or {}
    return [str(inner.get("name")), *map(str, known)]


def _says(message: Message, sampled: str) -> bool:
    """Whether a message's words are those of the sampled text, and its calls those that stand there."""
    calls = [call.get("function") or call for call in message.get("tool_calls") or ()]
    words = Counter(_words(" ".join([text_of(message), *(str(call.get("arguments")) for call in calls)])))
    if words - Counter(_words(sampled)):
        return False
    if not calls:
        left = Counter(_words(MARKUP.sub(" ", THOUGHT.sub("", sampled)))) - words
        return not left or bool(message.get("reasoning_content") or message.get("reasoning"))
    made = [_loaded(found) for found in CALL.findall(sampled)]
    if len(made) != len(calls) or not all(isinstance(each, dict) and "arguments" in each for each in made):
        return True  # spelled in another way than this one reads
    return all(
        _loaded(c.get("arguments")) in (m["arguments"], _loaded(m["arguments"]))
        for c, m in zip(calls, made, strict=True)
    )


def _words(text: str) -> list[str]:
    """Words as they are without JSON's escapes, but those that parsers spell in their own way."""
    text = ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
    return [word for word in WORD.findall(BROKEN.sub(" ", text).lower()) if word not in SPELLED]


def _loaded(given: object) -> Any:
    try:
        return json.loads(given) if isinstance(given, str) else given
    except ValueError:
        return given


FINDINGS = (
    messages_not_served,
    replies_served_otherwise,
    prompts_framed_apart,
    replies_not_as_sampled,
    tools_not_served,
)
