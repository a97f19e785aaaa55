"""How often a sweep was looked at, as its manifest keeps it, and which seeds it was planned with.

A look is a state in which verdicts were computed: by the report at the end of a start, or later by `report`, `claims`,
`seeds`, `combine`. It is known by its seeds, those with a completed run. So a command that is repeated, a failed run
that is made again, and a report that is made anew are no further looks; the display of a sweep that runs, which judges
nothing, is none. A sweep whose manifest names no seeds is older than this, and was looked at once.

`seeds_planned` is what the sweep was to have before anything was decided: it grows with what is asked for until a look
at two seeds. One seed alone is judged for itself, over its tasks (stats/intervals.py); that decides nothing of seeds.
"""

import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.records.layout import SweepFiles
from harness.records.links import refuse_links
from harness.records.schema import Record

if TYPE_CHECKING:
    from harness.records.load import SweepRecords

COMPLETED, ENDED = "completed", ("completed", "failed")


@dataclass(frozen=True)
class Look:
    """seeds: with a completed run then; whole: how many of them count as complete, fewer while runs are under way"""

    seeds: tuple[int, ...]
    whole: int


@dataclass(frozen=True)
class Looks:
    """The looks at a sweep, the present one last. None where nothing is recorded: then there was one.

    planned: seeds that were planned before the first look at two seeds, or the last of stats.looks_planned
    open_ended: stats.looks=open
    """

    at: tuple[Look, ...] = ()
    planned: int = 0
    open_ended: bool = False


def looks_of(sweep: "SweepRecords") -> Looks:
    """The recorded looks and the present one."""
    manifest = sweep.manifest
    if "seeds_planned" not in manifest:
        return Looks()
    options = (manifest.get("config") or {}).get("stats") or {}
    ahead = options.get("looks_planned") or ()
    now = _now([(run.seed, run.state) for run in sweep.runs])
    before = [Look(seeds, len(seeds)) for seeds in _recorded(manifest) if seeds != now.seeds]
    planned = int(ahead[-1]) if ahead else len(manifest["seeds_planned"])
    return Looks((*before, now), planned, options.get("looks") == "open")


def judged(folder: Path) -> bool:
    """Whether a verdict was computed in the present state: another one of it is no further look."""
    files = SweepFiles(folder)
    manifest = files.manifest()
    return "seeds_planned" not in manifest or _seeds_now(files) in _recorded(manifest)


def record_look(folder: Path) -> None:
    """Adds the present state to the looks of a sweep, if it is another than those before.

    Nothing is written for a sweep whose manifest names no seeds, or into a folder that cannot be written.
    """
    refuse_links(folder)
    files = SweepFiles(folder)
    manifest, now = files.manifest(), _seeds_now(files)
    if "seeds_planned" not in manifest or not now or now in _recorded(manifest):
        return
    if os.access(files.manifest_path, os.W_OK) and os.access(folder, os.W_OK):
        files.write_manifest(manifest | {"looks": [*manifest.get("looks", ()), _line(now)]})


def plan_more_seeds(files: SweepFiles, asked: Collection[int]) -> None:
    """Keeps what the sweep was planned with before further seeds join it; called before they are in its plan."""
    before = {run.seed for run in files.plan().values()}
    if set(asked) <= before:
        return
    manifest = files.manifest()
    if "seeds_planned" not in manifest:
        now = _seeds_now(files)
        manifest = manifest | {"seeds_planned": sorted(before), "looks": [_line(now)] if now else []}
    if not any(len(seeds) > 1 for seeds in _recorded(manifest)):
        manifest = manifest | {"seeds_planned": sorted(before | set(asked))}
    files.write_manifest(manifest)


def _line(seeds: Collection[int]) -> Record:
    return {"seeds": list(seeds), "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def _recorded(manifest: Record) -> list[tuple[int, ...]]:
    return [tuple(look["seeds"]) for look in manifest.get("looks") or ()]


def _seeds_now(files: SweepFiles) -> tuple[int, ...]:
    return _now([(run.seed, str(files.status(name).get("state"))) for name, run in files.plan().items()]).seeds


def _now(runs: Collection[tuple[int, str]]) -> Look:
    """runs: seed and state of each"""
    seeds = tuple(sorted({seed for seed, state in runs if state == COMPLETED}))
    open_seeds = {seed for seed, state in runs if state not in ENDED}
    whole = [seed for seed in seeds if seed not in open_seeds]
    return Look(seeds, min(len(whole) + 1, len(seeds)))
