"""Progress of runs that train in other processes or on other machines, read from their records.

The records are on the path that all share, so no engine has to report to anybody, and a display that was away (the
same command, started again) shows what happened meanwhile.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from harness.records.layout import RunFiles, SweepFiles
from harness.records.schema import ValidationRecord
from harness.sweep.display import Progress
from harness.tracking import given_up


class Watch:
    """Call `look` from time to time. A file is read again only when its size or time changed."""

    def __init__(self, folder: Path, names: Sequence[str], progress: Progress) -> None:
        self.progress = progress
        self._folder, self._warned = folder, False
        self._runs = {name: SweepFiles(folder).run(name) for name in names}
        self._seen: dict[Path, tuple[int, int]] = {}
        for name in names:  # what an earlier start left is no news
            self._changed(self._runs[name].status)
        self._started: set[str] = set()
        self._ended: set[str] = set()

    def look(self, settled: Collection[str]) -> None:
        """settled: runs whose state is final; a failed one that is not may still be trained by another engine."""
        for name, files in self._runs.items():
            if name not in self._ended:
                self._look(name, files, name in settled)
        if not self._warned and (line := given_up.said(self._folder)):
            self._warned = True
            self.progress.warn(line)

    def _look(self, name: str, files: RunFiles, settled: bool) -> None:
        changed = self._changed(files.status)
        if changed and name not in self._started:
            self._started.add(name)
            self.progress.start_run(name)
        if name not in self._started and not settled:
            return
        content = files.content()
        if self._changed(files.lines("steps")) | self._changed(files.lines("validation")):
            reward = ValidationRecord.of(content.validation[-1]).reference if content.validation else None
            self.progress.step(name, content.steps[-1]["step"] if content.steps else 0, reward)
        status = content.status
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
