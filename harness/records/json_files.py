"""JSON on disk. NaN and infinity are null there; what a crash left half-written counts as absent."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.printed import plain
from harness.records.schema import Record
from harness.records.store import write_synced

DECODER = json.JSONDecoder(parse_constant=lambda _: None)  # one for all: to make one takes as long as a line


def parse_lines(text: str) -> tuple[list[Record], int]:
    """(records, number of unreadable lines) of JSON lines. What is written here is ASCII: all else is damage."""
    records: list[Record] = []
    unreadable = 0
    for line in text.splitlines():
        if not line.strip():
            continue
        record = _parsed(line) if line.isascii() else None
        if record is None:
            unreadable += 1
        else:
            records.append(record)
    return records, unreadable


def read_lines(path: Path) -> list[Record]:
    """All whole lines of a file, [] where there is none."""
    return read_and_count(path)[0]


def read_and_count(path: Path) -> tuple[list[Record], int]:
    """As `read_lines`, and how many lines could not be read."""
    try:
        return parse_lines(path.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return [], 0


def is_damaged(path: Path) -> bool:
    """Whether there is a file that holds no JSON object: empty, or half-written."""
    return path.is_file() and not read_object(path)


def read_object(path: Path) -> Record:
    """The JSON object in a file; empty where the file is missing or damaged."""
    try:
        return _parsed(path.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError):
        return {}


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    write_synced(path, "".join(json.dumps(record) + "\n" for record in records).encode())


def write_object(path: Path, value: Mapping[str, Any]) -> None:
    write_synced(path, (json.dumps(plain(value), indent=1) + "\n").encode())


def _parsed(text: str) -> Record | None:
    """The JSON object in a text; None for anything else."""
    try:
        value = DECODER.decode(text)
    except (json.JSONDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
