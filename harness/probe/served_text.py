"""A served prompt, read as text beside the messages before it: where each stands, and what stands between them.

White space is left out, and so is what was thought; a call may be spelled in another order of its keys.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.probe.material import ENDED, Ids, Material, Message, Rollout, Turn, text_of

ENOUGH = 400  # prompts that are read; a tokenizer takes a while
LONG = 20  # characters of a message that no other text holds by chance
SPACE, DIGITS = re.compile(r"\s+"), re.compile(r"\d+")
THOUGHT = re.compile(r"<think>.*?</think>|^.*?</think>", re.DOTALL)
THINK = re.compile(r"</?think>")
MARKUP = re.compile(r"<[^<>\s]*>|\[/?[A-Z_]+\]")  # special tokens as text: <|im_end|>, </s>, [TOOL_CALLS]

Place = tuple[int, int] | None


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


def read(material: Material) -> tuple[Prompt, ...]:
    """The first prompts, each beside the messages that it must hold."""
    out: list[Prompt] = []
    decode = material.decode
    for number, rollout in enumerate(material.rollouts):
        if decode is None or len(rollout.said) != len(rollout.turns):
            continue
        spoken = {at: decode(_body(turn)) for at, turn in rollout.replies if turn.output_ids}
        for at, turn in rollout.replies:
            if turn.prompt_ids and len(out) < ENOUGH:
                out.append(_read(rollout, number, at, _squeezed(decode(turn.prompt_ids)), spoken))
    return tuple(out)


def _body(turn: Turn) -> Ids:
    """A reply without the token that ends it, which belongs to what stands between messages."""
    ids = turn.output_ids or ()
    return ids[:-1] if turn.finish_reason in ENDED and len(ids) > 1 else ids


def _read(rollout: Rollout, number: int, end: int, text: str, spoken: dict[int, str]) -> Prompt:
    said, before = {at for at in rollout.said if at < end}, rollout.messages[:end]
    contents = [text_of(message) for message in before]
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
    return text_of(message) + " ".join(f"{call.get('name')} {call.get('arguments')}" for call in calls)


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


def _squeezed(text: str) -> str:
    return SPACE.sub("", unicodedata.normalize("NFKC", text))
