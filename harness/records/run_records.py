"""The run folder: append-only JSON lines, crash-safe; the truth of which W&B is a view.

    runs/<arm>/seed=<n>/{config.yaml, status.json, steps.jsonl, validation.jsonl, checks.jsonl,
                         trajectories.parquet}

A run that starts again walks the same chain, so it writes its lines anew from the start; a line that is
already there for the same key (step, or step and factor) is not written twice.
"""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.errors import StoreError
from harness.records.store import write_synced

FILES = ("steps", "validation", "checks")
# What may differ between a run and its replay: how long it took, how it was computed, and by whom.
NOT_RESULTS = ("seconds", "trainer", "episodes", "update_shared_with")


def plain(value: Any) -> Any:
    """JSON's own types: NaN and infinity become None, numpy scalars and tuples their plain twins."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All whole lines; a half-written last line (the process was killed) is left out."""
    if not path.exists():
        return []
    lines = []
    for line in path.read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def _results(line: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in line.items() if k not in NOT_RESULTS}


class RunRecords:
    """Writes one run's records. `add` is idempotent per key, so that a replay does not write twice.

    watch: called with (file, line) for every line, also for one that a replay finds there
    anew: start from empty files (without reuse a run that was stopped is not replayed but computed anew)
    """

    def __init__(
        self, folder: Path, watch: Callable[[str, dict[str, Any]], None] | None = None, anew: bool = False
    ) -> None:
        self.folder = folder
        self.watch = watch
        folder.mkdir(parents=True, exist_ok=True)
        self._seen: dict[str, dict[str, dict[str, Any]]] = {}
        if anew:
            for name in FILES:
                (folder / f"{name}.jsonl").unlink(missing_ok=True)
        for name in FILES:
            path = folder / f"{name}.jsonl"
            lines = read_lines(path)
            text = "".join(json.dumps(line) + "\n" for line in lines)
            if path.exists() and path.read_text() != text:  # a torn last line goes
                write_synced(path, text.encode())
            self._seen[name] = {self._key(line): line for line in lines}

    @staticmethod
    def _key(line: dict[str, Any]) -> str:
        return f"{line['step']}/{line.get('factor', '')}"

    def add(self, name: str, line: dict[str, Any]) -> None:
        """Appends a line to `<name>.jsonl` and syncs it."""
        line = plain(line)
        known = self._seen[name].get(self._key(line))
        if known is not None:
            if _results(known) != _results(line):
                raise StoreError(
                    f"{self.folder / name}.jsonl holds another result for {self._key(line)} than was computed now, "
                    "so its store is not the one that it was made with. Delete the run's folder and start again."
                )
            line = known
        if self.watch:
            self.watch(name, line)
        if known is not None:
            return
        with open(self.folder / f"{name}.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._seen[name][self._key(line)] = line

    def write_trajectories(self, rows: list[dict[str, Any]]) -> None:
        """All training rollouts of the run as one Parquet table; text to read, not needed for any number."""
        import pyarrow as pa
        from pyarrow import parquet

        if rows:
            parquet.write_table(pa.Table.from_pylist(rows), self.folder / "trajectories.parquet", compression="zstd")

    def lines(self, name: str) -> list[dict[str, Any]]:
        return read_lines(self.folder / f"{name}.jsonl")

    def write(self, name: str, text: str) -> None:
        write_synced(self.folder / name, text.encode())

    def status(self) -> dict[str, Any] | None:
        path = self.folder / "status.json"
        return json.loads(path.read_text()) if path.exists() else None

    def set_status(self, **status: Any) -> None:
        self.write("status.json", json.dumps(plain(status), indent=1) + "\n")
