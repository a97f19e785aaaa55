"""What the messages say beside the tokens that were served and sampled: each message stands once in the prompts.

A ledger of text: a served prompt is the messages before it, the replies as they were sampled, and what a template puts
between them. Each of the three is compared. White space is left out, and so is what was thought; a call may be spelled
in another order of its keys. It needs a tokenizer.
"""

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Ids, Material, Message, Rollout, Turn

ENOUGH = 400  # prompts that are read; a tokenizer takes a while
MOSTLY = 0.5  # share of messages that must be found, or the tokenizer or the template spell them otherwise
LONG = 20  # characters of a message that no other text holds by chance
USUAL, OFTEN, ODD = 0.75, 10, 2  # share and number of equal frames, and number of others, that make these odd
ENDS = ("stop", "tool_calls")  # finish reasons of replies whose last token is no text
SPACE, WORD, DIGITS = re.compile(r"\s+"), re.compile(r"\w+"), re.compile(r"\d+")
THOUGHT = re.compile(r"<think>.*?</think>|^.*?</think>", re.DOTALL)
ESCAPED, BROKEN = re.compile(r"\\u([0-9a-fA-F]{4})"), re.compile(r"\\[nrtbf]")
SPELLED = ("true", "false", "null", "none")
THINK = re.compile(r"</?think>")
MARKUP = re.compile(r"<[^<>\s]*>|\[/?[A-Z_]+\]")  # special tokens as text: <|im_end|>, </s>, [TOOL_CALLS]
CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
TELL = "the tokenizer (--tokenizer), and the token ids of prompts and replies beside the messages"


@dataclass(frozen=True)
class Prompt:
    """One served prompt, read: missing: messages that it does not hold; altered: replies that it has in other words

    frames: what stands between two messages, by who speaks before and behind it
    openings: what stands before each reply, and before the one that this prompt asks for, by number; rollout: whose
    """

    checked: int
    missing: tuple[str, ...]
    replies: int
    altered: tuple[str, ...]
    frames: tuple[tuple[str, str], ...]
    openings: tuple[tuple[int, str], ...]
    rollout: int


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


def read(material: Material) -> tuple[Prompt, ...]:
    """The first prompts, each beside the messages that it must hold."""
    out: list[Prompt] = []
    decode = material.decode
    for number, rollout in enumerate(material.rollouts):
        if decode is None or len(rollout.said) != len(rollout.turns):
            continue
        spoken = {at: decode(_body(turn)) for at, turn in _said(rollout) if turn.output_ids}
        for at, turn in _said(rollout):
            if turn.prompt_ids and len(out) < ENOUGH:
                out.append(_read(rollout, number, at, _squeezed(decode(turn.prompt_ids)), spoken))
    return tuple(out)


def _said(rollout: Rollout) -> Iterator[tuple[int, Turn]]:
    return zip(rollout.said, rollout.turns, strict=True)


def _body(turn: Turn) -> Ids:
    """A reply without the token that ends it, which belongs to what stands between messages."""
    ids = turn.output_ids or ()
    return ids[:-1] if turn.finish_reason in ENDS and len(ids) > 1 else ids


def _read(rollout: Rollout, number: int, end: int, text: str, spoken: dict[int, str]) -> Prompt:
    said, before = {at for at in rollout.said if at < end}, rollout.messages[:end]
    contents = [_content(message) for message in before]
    places = _places(text, contents, said, spoken)
    given = [n for n, content in enumerate(contents) if n not in said and _squeezed(content)]
    missing = [contents[n] for n in given if places[n] is None]
    missing += _doubled(text, contents, said, "\n".join(_squeezed(spoken[n]) for n in said if n in spoken))
    replies = [n for n in sorted(said) if n in spoken]
    wanted = {n: _without_reasoning(before[n], spoken[n]) for n in replies}
    altered = [spoken[n] for n in replies if places[n] is None and not _respelled(text, places, n, wanted[n])]
    frames = tuple(_frames(text, before, places, rollout))
    openings = tuple(_openings(text, end, places, said))
    return Prompt(len(given), tuple(missing), len(replies), tuple(altered), frames, openings, number)


def _without_reasoning(message: Message, sampled: str) -> str:
    """A reply as its message has it, where a parser has taken out what was thought."""
    if not (message.get("reasoning_content") or message.get("reasoning")):
        return sampled
    calls = [call.get("function") or call for call in message.get("tool_calls") or ()]
    return _content(message) + " ".join(f"{call.get('name')} {call.get('arguments')}" for call in calls)


Place = tuple[int, int] | None


def _places(text: str, contents: Sequence[str], said: set[int], spoken: dict[int, str]) -> list[Place]:
    """Where each message stands, in order; None where it does not."""
    out: list[Place] = []
    begin = 0
    for n, content in enumerate(contents):
        needles = _spellings(content) if n not in said else _thoughtless(spoken.get(n))
        found = [(at, at + len(each)) for each in needles if each and (at := text.find(each, begin)) >= 0]
        out.append(found[0] if found else None)
        begin = found[0][1] if found else begin
    return out


def _spellings(content: str) -> list[str]:
    """A text as it is, and as JSON inside quotes, which some templates make of what tools answer."""
    return [_squeezed(each) for each in (content, json.dumps(content, ensure_ascii=False)[1:-1])]


def _thoughtless(sampled: str | None) -> list[str]:
    return [] if sampled is None else [_squeezed(sampled), _squeezed(THOUGHT.sub("", sampled))]


def _respelled(text: str, places: Sequence[Place], number: int, wanted: str) -> bool:
    """Whether the letters of a reply stand where it belongs, in any order, with no more escapes than it has itself."""
    begin = max((place[1] for place in places[:number] if place), default=0)
    end = min((place[0] for place in places[number + 1 :] if place), default=len(text))
    region, letters = text[begin:end], [c for c in _squeezed(MARKUP.sub("", THOUGHT.sub("", wanted))) if c.isalnum()]
    lost = Counter(letters) - Counter(region)
    return lost.total() == 0 and region.count("\\") <= wanted.count("\\")


def _doubled(text: str, contents: Sequence[str], said: set[int], replies: str) -> list[str]:
    """Long messages that stand in the prompt more often than in the conversation."""
    whole = [_squeezed(content) for content in contents]
    every = "\n".join([*(each for n, each in enumerate(whole) if n not in said), replies])
    long = [n for n, each in enumerate(whole) if n not in said and len(each) >= LONG]
    return [contents[n] for n in long if text.count(whole[n]) > every.count(whole[n])]


def _frames(
    text: str, before: Sequence[Message], places: Sequence[Place], rollout: Rollout
) -> Iterator[tuple[str, str]]:
    """What stands between each two neighbours that are both found, and behind the last one."""
    roles = [str(m.get("role")) for m in before]
    last = max((n for n, role in enumerate(roles) if role == "user"), default=-1)
    tools = json.dumps([rollout.sent_tools or rollout.tools], sort_keys=True, default=str)
    known = [*zip(roles, places, strict=True), ("the end", (len(text), len(text)))]
    for n in range(len(known) - 1):
        (role, one), (other, two) = known[n], known[n + 1]
        if one and two:
            kind = json.dumps([role, other, (n + 1 > last) - (n + 1 < last), tools if n == 0 else ""])
            yield kind, DIGITS.sub("#", text[one[1] : two[0]])


def _openings(text: str, end: int, places: Sequence[Place], said: set[int]) -> Iterator[tuple[int, str]]:
    """What stands between a message and the reply to it. Templates put an empty thought there, now and then."""
    known = [*places, (len(text), len(text))]
    for n in (*sorted(said), end):
        one, two = known[n - 1] if n else None, known[n]
        if one and two:
            yield n, THINK.sub("", text[one[1] : two[0]])


def _says(message: Message, sampled: str) -> bool:
    """Whether a message's words are those of the sampled text, and its calls those that stand there."""
    calls = [call.get("function") or call for call in message.get("tool_calls") or ()]
    words = Counter(_words(" ".join([_content(message), *(str(call.get("arguments")) for call in calls)])))
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


def _content(message: Message) -> str:
    """A message's text; that of its parts, where it has several."""
    content = message.get("content")
    if isinstance(content, list | tuple):
        return "".join(str(part.get("text") or "") if isinstance(part, dict) else str(part) for part in content)
    return str(content or "")


def _squeezed(text: str) -> str:
    return SPACE.sub("", unicodedata.normalize("NFKC", text))


FINDINGS = (
    messages_not_served,
    replies_served_otherwise,
    prompts_framed_apart,
    replies_not_as_sampled,
    tools_not_served,
)
