"""Progress of runs that train in other processes or on other machines, read from their records.

The records are on the path that all share, so no engine has to report to anybody, and a display that was away (the
same command, started again) shows what happened meanwhile.
"""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from harness.records.run_records import read_lines
from harness.sweep.display import Progress


class Watch:
    """Call `look` from time to time. A file is read again only when its size or time changed."""

    def __init__(self, folder: Path, names: Sequence[str], progress: Progress) -> None:
        self.progress = progress
        self._runs = {name: folder / "runs" / name for name in names}
        self._seen: dict[Path, tuple[int, int]] = {}
        for name in names:  # what an earlier start left is no news
            self._changed(self._runs[name] / "status.json")
        self._started: set[str] = set()
        self._ended: set[str] = set()

    def look(self, settled: Collection[str]) -> None:
        """settled: runs whose state is final; a failed one that is not may still be trained by another engine."""
        for name, folder in self._runs.items():
            if name not in self._ended:
                self._look(name, folder, name in settled)

    def _look(self, name: str, folder: Path, settled: bool) -> None:
        changed = self._changed(folder / "status.json")
        if changed and name not in self._started:
            self._started.add(name)
            self.progress.start_run(name)
        if name not in self._started and not settled:
            return
        if self._changed(folder / "steps.jsonl") | self._changed(folder / "validation.jsonl"):
            steps, validations = read_lines(folder / "steps.jsonl"), read_lines(folder / "validation.jsonl")
            reward = validations[-1]["reference"]["mean"] if validations else None
            self.progress.step(name, steps[-1]["step"] if steps else 0, reward)
        status = _status(folder)
        state = status.get("state")
        if (state == "completed" and changed) or settled:
            self._ended.add(name)
            self.progress.finish_run(name, str(state), status.get("validity"))

    def _changed(self, path: Path) -> bool:
        try:
            stat = path.stat()
        except FileNotFoundError:
            return False
        now = (stat.st_mtime_ns, stat.st_size)
        before, self._seen[path] = self._seen.get(path), now
        return now != before


def _status(folder: Path) -> dict[str, Any]:
    path = folder / "status.json"
    return json.loads(path.read_text()) if path.exists() else {}
