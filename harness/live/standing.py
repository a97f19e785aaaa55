"""Where a sweep stands by its own word (sweep/board.py), and how it is asked to stop."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.disk import writing
from harness.errors import ConfigError
from harness.records.json_files import read_object
from harness.records.layout import SweepFiles
from harness.records.links import refuse_links

SILENT = 20.0  # seconds without a word after which a sweep does not count as running; it says one every 2 s


@dataclass(frozen=True)
class Standing:
    """silent: seconds since the sweep's last word, None: it said none, or that it has ended

    said: what it says, see `Progress.stands`; asked: to stop, which it has not seen yet
    """

    silent: float | None = None
    said: dict[str, Any] = field(default_factory=dict)
    asked: bool = False

    @property
    def runs(self) -> bool:
        return self.silent is not None and self.silent < SILENT

    @property
    def stopping(self) -> bool:
        return self.runs and (self.asked or bool(self.said.get("stopping")))

    def runs_of(self, engine: dict[str, Any]) -> list[dict[str, Any]]:
        """Of the runs that an engine holds, those that are under way."""
        held = engine.get("runs") or ()
        return [run for run in self.said.get("runs") or () if run.get("run") in held]


def standing(folder: Path) -> Standing:
    files = SweepFiles(folder)
    try:
        silent = time.time() - files.now_path.stat().st_mtime
    except OSError:
        return Standing()
    said = read_object(files.now_path)
    return Standing(max(0.0, silent), said, files.stop_path.exists()) if said else Standing()


def ask_to_stop(folder: Path) -> None:
    """The sweep that runs in the folder sees it within seconds, and does what it does at the first Ctrl-C.

    Raises ConfigError where none runs, DiskError where the folder cannot be written.
    """
    if not standing(folder).runs:
        raise ConfigError(f"Nothing computes in {folder} now, so there is nothing to stop.")
    refuse_links(folder)
    path = SweepFiles(folder).stop_path
    with writing(path):
        path.touch()
