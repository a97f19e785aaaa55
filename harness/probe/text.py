"""Findings for a reader, and for a program."""

import textwrap
from collections.abc import Sequence

from harness.errors import visible
from harness.printed import printed
from harness.probe.finding import Finding

ORDER = ("present", "cannot tell", "absent")
INDENT = " " * 13
WIDTH = 118  # columns


def lines(findings: Sequence[Finding]) -> list[str]:
    """What is present first, with what was measured; what would tell the rest; a count at the end."""
    out = []
    for verdict in ("present", "absent"):
        for each in (f for f in findings if f.verdict == verdict):
            out.append(f"{verdict:<{len(INDENT)}}{each.symptom}: {each.text}")
            out += [INDENT + line for line in (each.about, *each.shown) if verdict == "present"]
    unknown = [f for f in findings if f.verdict == "cannot tell"]
    for tell in dict.fromkeys(f.tell for f in unknown):
        for n, each in enumerate(f for f in unknown if f.tell == tell):
            out.append(f"{'cannot tell' if not n else '':<{len(INDENT)}}{each.symptom}: {each.text}")
        out += textwrap.wrap(f"to tell: {tell}", WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
    return [visible(line) for line in (*out, summary(findings))]


def summary(findings: Sequence[Finding]) -> str:
    counts = {verdict: sum(f.verdict == verdict for f in findings) for verdict in ORDER}
    return f"{counts['present']} of {len(findings)} symptoms present, {counts['cannot tell']} cannot be told"


def as_json(findings: Sequence[Finding], source: str) -> str:
    rows = [each.record for each in findings]
    names = [each.symptom for each in findings if each.verdict == "present"]
    return printed({"source": source, "present": names, "findings": rows})
