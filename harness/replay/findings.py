"""What a replay compared, and the words for it. Plain data."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

SAME, WITHIN, OTHER_TOKENS, DIFFERS, NOT_COMPUTED = "same", "within", "other tokens", "differs", "not computed"
UNJUDGED = "not judged"
EPISODES, UPDATES, LINES, RUNS = "episodes", "updates", "lines", "runs"
WORDS = {
    SAME: "bit for bit",
    WITHIN: "within the tolerance",
    OTHER_TOKENS: "with other tokens, no more than were measured here",
    DIFFERS: "different",
    NOT_COMPUTED: "could not be computed",
    UNJUDGED: "side by side, not judged",
}
SHOWN = 20  # differences that are printed


@dataclass(frozen=True)
class Compared:
    """One thing, there and here. kind: EPISODES, UPDATES, LINES or RUNS; place: which one; verdict: a key of WORDS;
    detail: what was found. turns: replies of an episode, 0 for all else."""

    kind: str
    place: str
    verdict: str
    detail: str = ""
    turns: int = 0


@dataclass(frozen=True)
class Replay:
    """sweep, mode: `store` or `remade`; drawn: by kind, how many of how many
    said: what is different about this machine; cannot: what was not compared, and why"""

    sweep: str
    mode: str
    share: float
    seed: int
    drawn: dict[str, tuple[int, int]]
    compared: Sequence[Compared]
    said: Sequence[str] = ()
    cannot: Sequence[str] = ()
    tolerance: dict[str, Any] = field(default_factory=dict)

    @property
    def differences(self) -> list[Compared]:
        return [each for each in self.compared if each.verdict == DIFFERS]

    @property
    def agrees(self) -> bool:
        return not self.differences


def counts(compared: Iterable[Compared], kind: str) -> Counter[str]:
    return Counter(each.verdict for each in compared if each.kind == kind)


def lines(replay: Replay) -> list[str]:
    """As the command prints them."""
    out = [*replay.said]
    for kind, (drawn, of) in replay.drawn.items():
        found = counts(replay.compared, kind)
        verdicts = ", ".join(f"{found[name]} {WORDS[name]}" for name in WORDS if found[name]) or "none"
        out.append(f"{kind}: {drawn} of {of} drawn (share {replay.share:g}, seed {replay.seed}): {verdicts}")
    if compared := counts(replay.compared, LINES):
        out.append(f"records: {compared[SAME]} of {compared.total()} lines are what the replay writes")
    out += [f"not compared: {text}" for text in replay.cannot]
    out += [f"  {each.kind}, {each.place}: {each.detail}" for each in replay.differences[:SHOWN]]
    if more := len(replay.differences) - SHOWN:
        out += [f"  … and {more} more (--json has all)"] if more > 0 else []
    number = len(replay.differences)
    told = {False: f"{number} difference{'s' * (number != 1)}", True: "no difference"}[replay.agrees]
    return [*out, f"{replay.sweep}: {told} in what was compared"]
