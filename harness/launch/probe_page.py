"""The page of `harness probe --page FILE`: what was found and what was looked at, in one file that needs no other.

Texts, names and files are anybody's: the template escapes each. No script runs in it.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.disk import check_writable
from harness.errors import ConfigError, Exit, visible
from harness.launch.probed import Facts
from harness.probe.finding import Finding
from harness.probe.text import ORDER, summary
from harness.records.store import write_synced
from harness.report.document import document
from harness.report.templating import render, style

TITLE = "What the probe found"
HEADS = {"present": "Present", "cannot tell": "Cannot be told", "absent": "Absent"}
EXIT = {Exit.DONE: "no symptom is present", Exit.PRESENT: "a symptom is present"}
BEGINNING = b"<!doctype html>"
TOKEN = re.compile(r"^((?:served|trained) .*?)⟦(.*?)⟧(.*)$")  # as differences.py shows the first one that differs


@dataclass(frozen=True)
class Line:
    """A line to look at. token: the one that differs, between what stands before it and after it; '' for none"""

    before: str
    token: str = ""
    after: str = ""


@dataclass(frozen=True)
class Item:
    """A finding as the page has it. names: of the numbers, as --json has them"""

    name: str
    finding: Finding
    numbers: str
    lines: tuple[Line, ...]


def refuse(path: Path) -> None:
    """Raises ConfigError or DiskError for a file that could not be written, or that is somebody's and no page."""
    if path.is_dir():
        raise ConfigError(f"{path} is a folder. Name a file in it: --page {path / 'probe.html'}.")
    if not path.parent.is_dir():
        raise ConfigError(f"The page cannot go to {path}: there is no folder {path.parent}. Make it, or name another.")
    if path.exists() and not _is_page(path):
        raise ConfigError(f"{path} is there and no HTML page, so it is not written over. Name another file.")
    check_writable(path.parent)


def write(path: Path, findings: Sequence[Finding], facts: Facts, code: int) -> None:
    """Raises DiskError."""
    write_synced(path, page(findings, facts, code).encode())


def page(findings: Sequence[Finding], facts: Facts, code: int) -> str:
    items = {verdict: [_item(f) for f in findings if f.verdict == verdict] for verdict in ORDER}
    tells = dict.fromkeys(item.finding.tell for item in items["cannot tell"])
    inside = render(
        "probe.jinja",
        title=TITLE,
        heads=HEADS,
        items=items,
        tells=tells,
        facts=facts,
        summary=summary(findings),
        exit=f"Exit code {int(code)}: {EXIT[Exit(code)]}.",
    )
    return visible(document(TITLE, inside, "", style("probe.css")))


def _item(finding: Finding) -> Item:
    name = finding.symptom.replace("_", " ")
    numbers = ", ".join(f"{key} {value:.4g}" for key, value in finding.reading.items())
    return Item(name[:1].upper() + name[1:], finding, numbers, tuple(_lines(finding.shown)))


def _lines(shown: Iterable[str]) -> Iterable[Line]:
    for line in shown:
        found = TOKEN.match(line)
        yield Line(*found.groups()) if found else Line(line)


def _is_page(path: Path) -> bool:
    if not path.is_file():  # a pipe would be waited for
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(BEGINNING)).lower() == BEGINNING
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}. Name another file.") from None
