"""What a sweep cost: wall-clock and CPU seconds, memory, and what the store computed and shared."""

import json
import os
import resource
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from harness.store import write_synced

COUNTED = ("asked", "computed", "shared", "audited", "audit_differs")


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def peak_gib() -> float:
    """This process's largest resident memory plus that of its largest child."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return (own.ru_maxrss + children.ru_maxrss) / 2**20


@dataclass
class Spent:
    """One start of a sweep, from its construction on. counts: the store's, `<kind>/<what>`."""

    counts: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.perf_counter)
    cpu: float = field(default_factory=cpu_seconds)

    def add_to(self, path: Path) -> None:
        """Adds this start to reuse.json, which sums over all starts of the sweep."""
        before = json.loads(path.read_text()) if path.exists() else {}
        out: dict[str, object] = {
            kind: {what: before.get(kind, {}).get(what, 0) + self.counts[f"{kind}/{what}"] for what in COUNTED}
            for kind in ("episodes", "updates")
        }
        seconds = before.get("seconds", {})
        out["seconds"] = {
            "wall": seconds.get("wall", 0.0) + time.perf_counter() - self.started,
            "cpu": seconds.get("cpu", 0.0) + cpu_seconds() - self.cpu,
        }
        out["peak_memory_gib"] = max(before.get("peak_memory_gib", 0.0), peak_gib())
        out["cores"] = os.cpu_count() or 1
        write_synced(path, (json.dumps(out, indent=1) + "\n").encode())
