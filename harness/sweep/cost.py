"""What a sweep cost: wall-clock and CPU seconds, memory, and what the store computed and shared."""

import os
import resource
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.child_process import PEAKS
from harness.records.json_files import read_object, write_object
from harness.records.layout import SweepFiles
from harness.records.load import load_sweep
from harness.records.reuse import recorded_reuse

# doubled: computed twice because the file system has no locks
COUNTED = ("asked", "computed", "shared", "doubled", "audited", "audit_differs")
KINDS = ("episodes", "updates")


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def peak_gib() -> float:
    """This process's largest resident memory, that of its largest other child (the sampler) and those of the trainer
    and the players: no less than what they took at once."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return (own.ru_maxrss + children.ru_maxrss) / 2**20 + sum(PEAKS)


@dataclass(frozen=True)
class EngineCost:
    """Of one engine in a process of its own, as it says at its end. counts: the store's; cpu in seconds."""

    counts: dict[str, int]
    cpu: float
    peak_memory_gib: float


@dataclass
class StartCost:
    """One start of a sweep, from its construction on. counts: the store's, `<kind>/<what>`; engines: at once.

    silent: engines that were lost and never said what they spent
    """

    engines: int = 1
    counts: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.perf_counter)
    cpu: float = field(default_factory=cpu_seconds)
    elsewhere: list[EngineCost] = field(default_factory=list)
    silent: int = 0

    def spending(self) -> EngineCost:
        """Of this process, so far."""
        return EngineCost(dict(self.counts), cpu_seconds() - self.cpu, peak_gib())

    def add_to(self, path: Path) -> None:
        """Adds this start to the sweep's reuse.json, which lies at `path`.

        What was asked, computed and shared is what the runs recorded, in all starts: a replay asks for nothing anew.
        Only where they do not say it (older records) it is what the store counted, replays included.
        Seconds, doubled and audited results add up over the starts. Of several engines the CPU seconds add up, and the
        memory is that of the largest one: they may be on different machines. An engine that was killed said nothing:
        what it spent is missing, and it is counted as silent. Of several starts the number of engines is the largest.
        """
        parts = [self.spending(), *self.elsewhere]
        before, recorded = read_object(path), _recorded(path.parent)
        out: dict[str, object] = {
            kind: {
                what: before.get(kind, {}).get(what, 0) + sum(part.counts.get(f"{kind}/{what}", 0) for part in parts)
                for what in COUNTED
            }
            | recorded.get(kind, {})
            for kind in KINDS
        }
        if user := _added(before.get("user", {}), [part.counts for part in parts]):
            out["user"] = user
        seconds = before.get("seconds", {})
        out["seconds"] = {
            "wall": seconds.get("wall", 0.0) + time.perf_counter() - self.started,
            "cpu": seconds.get("cpu", 0.0) + sum(part.cpu for part in parts),
        }
        peak = max(part.peak_memory_gib for part in parts)
        out["peak_memory_gib"] = max(before.get("peak_memory_gib", 0.0), peak)
        out["engines"] = max(before.get("engines", 0), self.engines)
        out["cores"] = os.cpu_count() or 1
        if silent := before.get("silent_engines", 0) + self.silent:
            out["silent_engines"] = silent
        write_object(path, out)


def _added(before: Mapping[str, int], counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """What users who are models cost, in all starts; empty where none is one."""
    total = Counter(before)
    for each in counts:
        total.update({name.removeprefix("user/"): n for name, n in each.items() if name.startswith("user/")})
    return dict(total)


def _recorded(folder: Path) -> dict[str, dict[str, int | None]]:
    """By kind: asked, computed, shared, as the runs of a sweep say it."""
    if not SweepFiles(folder).plan():
        return {}
    found = recorded_reuse(load_sweep(folder).with_controls.runs)
    return {kind: {k: v for k, v in vars(reuse).items() if k != "kind"} for kind, reuse in found.items()}
