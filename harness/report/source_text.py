"""What a report says of a sweep whose runs come from more than one source (`resume=mixed`), and what to type again."""

import shlex

from harness.records.load import SweepRecords
from harness.records.schema import UNRECORDED, Record

LISTED = 8  # runs or files that a sentence names


def mixed_sources(sweep: SweepRecords) -> tuple[str, ...]:
    """Which runs come from which source, a sentence each; nothing where it is one."""
    known: dict[str, Record] = sweep.manifest.get("sources") or {}
    of_runs: dict[tuple[str, ...], list[str]] = {}
    for run in sweep.runs:
        if run.state != "missing":
            of_runs.setdefault(run.sources or (UNRECORDED,), []).append(run.name)
    names = dict.fromkeys(name for sources in of_runs for name in sources)
    if len(names) < 2 or not known:
        return ()
    first = next(iter(known.values()))
    lines = [
        "Mixed sources: not all runs were computed by the same files and versions (`resume=mixed`), so a difference "
        "between runs of two sources may be one between the sources. What is stored is shared between them, too."
    ]
    lines += [f"Source {name}: {_described(known.get(name) or {}, first)}." for name in names]
    lines += [f"From {' and then '.join(sources)}: {_some(runs, 'run')}." for sources, runs in of_runs.items()]
    return tuple(lines)


def rerun_hint(sweep: SweepRecords) -> str:
    """What to type after a failure or a kill: the same commands, which find all finished work."""
    commands = {without_resume(start["command"]): start["command"] for start in sweep.manifest.get("starts") or ()}
    given = list(commands.values()) or [sweep.manifest.get("command")]
    what = ", then ".join(f"`{command}`" for command in given if command) or "the command that started the sweep"
    return f"Rerun: {what}. What is finished is found in the store, only the rest is computed."


def without_resume(command: str) -> str:
    return shlex.join(word for word in shlex.split(command) if not word.lstrip("+").startswith("resume="))


def _described(source: Record, first: Record) -> str:
    """`commit 0123456789ab with uncommitted changes; other than the first: harness/loop.py, torch`"""
    git = source.get("git") or {}
    changed = " with uncommitted changes" if git.get("dirty") else ""
    place = f"commit {str(git['commit'])[:12]}{changed}" if git.get("commit") else "no commit known"
    if "code" not in source:
        return f"{place}; its files were not recorded"
    if source is first or "code" not in first:
        return place
    code, before = source["code"], first["code"]
    files = [file for file in code if before.get(file, code[file]) != code[file]]
    versions, there = source.get("versions") or {}, first.get("versions") or {}
    packages = [name for name in versions if there.get(name) != versions[name]]
    kind = ["backend"] if source.get("backend") != first.get("backend") else []
    return f"{place}; other than in the first: {_some([*kind, *packages, *files], 'part')}"


def _some(names: list[str], thing: str) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more {thing}{'s' * (more > 1)}" if more > 0 else "")
