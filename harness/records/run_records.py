"""Writes one run's records: append-only JSON lines, crash-safe; the truth of which W&B is a view.

A run that starts again walks the same chain, so it writes its lines anew from the start; a line that is
already there for the same key (step, or step and factor) is not written twice.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.disk import writing
from harness.errors import StoreError
from harness.printed import plain
from harness.records.json_files import read_lines, read_object, write_lines, write_object
from harness.records.layout import RunFiles
from harness.records.schema import FILES, KEYS, NOT_RESULTS, Record
from harness.records.store import NEW, sync


def _results(line: Record) -> Record:
    return {k: v for k, v in line.items() if k not in NOT_RESULTS}


class RunRecords:
    """Writes one run's records. `add` is idempotent per key, so that a replay does not write twice.

    watch: called with (file, line) for every line, also for one that a replay finds there
    anew: start from empty files (without reuse a run that was stopped is not replayed but computed anew)
    """

    def __init__(self, folder: Path, watch: Callable[[str, Record], None] | None = None, anew: bool = False) -> None:
        self.folder = folder
        self.files = RunFiles(folder)
        self.watch = watch
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._seen: dict[str, dict[str, Record]] = {}
        for name in FILES:
            path = self.files.lines(name)
            if anew:
                path.unlink(missing_ok=True)
            lines = [line for line in read_lines(path) if isinstance(line.get("step"), int)]
            whole = "".join(json.dumps(line) + "\n" for line in lines)
            if path.exists() and path.read_text(encoding="utf-8", errors="replace") != whole:
                write_lines(path, lines)  # torn lines go
            elif lines:
                with writing(path):
                    sync(path)  # a process that was killed may have written them and not synced
            self._seen[name] = {self._key(line): line for line in lines}
        with writing(folder):
            sync(folder)

    @staticmethod
    def _key(line: Record) -> str:
        return f"{line['step']}/{line.get('factor', '')}"

    def add(self, name: str, new: Mapping[str, Any]) -> None:
        """Appends a line to `<name>.jsonl` and syncs it. name: one of FILES; keys: those of schema.py."""
        if unknown := new.keys() - KEYS[name]:
            raise TypeError(f"harness/records/schema.py has no {', '.join(sorted(unknown))} in {name}; add it there.")
        line: Record = plain(new)
        known = self._seen[name].get(self._key(line))
        if known is not None:
            if _results(known) != _results(line):
                raise StoreError(
                    f"{self.files.lines(name)} holds another result for {self._key(line)} than was computed now, "
                    "so its store is not the one that it was made with. Delete the run's folder and start again."
                )
            line = known
        if self.watch:
            self.watch(name, line)
        if known is not None:
            return
        path = self.files.lines(name)
        with writing(path):
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
                file.flush()
                os.fsync(file.fileno())
            if not self._seen[name]:
                sync(self.folder)  # the first line: the file's name, too, survives a power cut
        self._seen[name][self._key(line)] = line

    def write_trajectories(self, rows: list[dict[str, Any]]) -> None:
        """All training rollouts of the run as one Parquet table; text to read, not needed for any number."""
        import pyarrow as pa
        from pyarrow import parquet

        if rows:
            whole, new = self.files.trajectories, self.folder / f"{NEW}trajectories"
            with writing(whole):
                try:
                    parquet.write_table(pa.Table.from_pylist(rows), new, compression="zstd")
                    new.replace(whole)
                finally:
                    new.unlink(missing_ok=True)

    def lines(self, name: str) -> list[Record]:
        """By step."""
        return sorted(read_lines(self.files.lines(name)), key=lambda line: int(line["step"]))

    def status(self) -> Record:
        """{} before there is one."""
        return read_object(self.files.status)

    def set_status(self, **status: Any) -> None:
        write_object(self.files.status, status)
