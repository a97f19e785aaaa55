"""Two sequences of token ids side by side: where they first differ, and what stands in one of them alone."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher

from harness.probe.material import Ids

Decode = Callable[[Sequence[int]], str] | None
BEFORE, AFTER = 6, 8  # tokens that are shown before and after the first one that differs
TELL_IDS = (
    "the token ids of the prompts as served (vLLM: return_token_ids) and as trained (trained_ids); or, for a loop that "
    "renders again, its template and tokenizer (--template, --tokenizer, --tools)"
)
WORD = re.compile(r"\w+")


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """The first place at which they differ; the end of the shorter one where that is all; None: they are equal."""
    place = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return None if len(one) == len(other) == place else place


def side_by_side(served: Ids, trained: Ids, decode: Decode) -> tuple[str, ...]:
    """Lines that show both around the first token that differs, which stands in ⟦ ⟧."""
    place = first_difference(served, trained) or 0
    return (
        f"first difference at token {place} (served: {len(served)} tokens, trained: {len(trained)})",
        f"served   {_around(served, place, decode)}",
        f"trained  {_around(trained, place, decode)}",
    )


def _around(ids: Ids, place: int, decode: Decode) -> str:
    def shown(part: Ids) -> str:
        if decode is None:
            return " ".join(map(str, part))
        return decode(part).replace("\n", "⏎")

    start = max(place - BEFORE, 0)
    glue = " " if decode is None else ""
    at = shown(ids[place : place + 1]) if place < len(ids) else "the end"
    after = ids[place + 1 : place + AFTER]
    parts = ("… " if start else "", shown(ids[start:place]), glue, f"⟦{at}⟧", glue, shown(after))
    return "".join(parts) + (" …" if place + AFTER < len(ids) else "")


def middles(one: Ids, other: Ids) -> tuple[Ids, Ids]:
    """What is left of each without what both begin with and what both end with."""
    start = first_difference(one, other)
    if start is None:
        return (), ()
    room = min(len(one), len(other)) - start
    end = next((n for n in range(room) if one[-1 - n] != other[-1 - n]), room)
    return one[start : len(one) - end], other[start : len(other) - end]


def same_words(one: Ids, other: Ids, decode: Decode) -> bool:
    """Whether two texts say the same in another order: by their words, or without a tokenizer by most of their ids."""
    if decode is not None:
        return Counter(WORD.findall(decode(one))) == Counter(WORD.findall(decode(other)))
    return overlap(one, other) >= 0.7 and overlap(other, one) >= 0.7


def overlap(part: Ids, whole: Ids) -> float:
    """The share of the part's ids that the whole has, too."""
    return sum((Counter(part) & Counter(whole)).values()) / len(part) if part else 0.0


def inserted(served: Ids, trained: Ids) -> list[tuple[int, Ids]]:
    """What stands in `trained` alone: (its place there, its ids)."""
    start = first_difference(served, trained)
    if start is None:
        return []
    matcher = SequenceMatcher(None, served[start:], trained[start:], autojunk=False)
    return [
        (start + b, trained[start + b : start + e])
        for op, _, _, b, e in matcher.get_opcodes()
        if op != "equal" and e > b
    ]
