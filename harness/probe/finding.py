"""What a probe says of one symptom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["present", "absent", "cannot tell"]


@dataclass(frozen=True)
class Finding:
    """verdict: "cannot tell" where what would tell it is not there; `tell` then says what that is.

    reading: what was measured, as numbers; shown: lines to look at, as the first token that differs
    """

    verdict: Verdict
    text: str
    reading: Mapping[str, float] = field(default_factory=dict)
    tell: str = ""
    shown: tuple[str, ...] = ()
    symptom: str = ""
    about: str = ""  # what the symptom is, in a line

    @property
    def record(self) -> dict[str, Any]:
        return {name: dict(value) if name == "reading" else value for name, value in vars(self).items()}


def present(text: str, *shown: str, **reading: float) -> Finding:
    return Finding("present", text, reading, shown=shown)


def absent(text: str, **reading: float) -> Finding:
    return Finding("absent", text, reading)


def cannot_tell(text: str, tell: str, **reading: float) -> Finding:
    return Finding("cannot tell", text, reading, tell)


def compared(told: int, odd: Sequence[str], what: str, tell: str) -> Finding:
    """Of things that were held against what they should be exactly: one that is not so is enough.

    told: how many; odd: a line for each that is not so; what: they are and should be, as "of 3 rewards are not …"
    """
    reading = {"compared": told, "odd": len(odd)}
    if not told:
        return cannot_tell(f"0 of 0 {what}", tell, **reading)
    text = f"{len(odd)} of {told} {what}"
    return present(text, *odd[:1], **reading) if odd else absent(text, **reading)
