"""A log that may be lost, and nothing with it: a full disk must not raise in whatever library prints."""

import io
import logging
from pathlib import Path


class _Lossy(io.FileIO):
    """Drops what the disk does not take. The records are the truth, and they say what is wrong with the disk."""

    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError:
            return len(memoryview(data))  # type: ignore[arg-type]


class LogHandler(logging.FileHandler):
    """What libraries log, until the process ends."""

    def _open(self) -> io.TextIOWrapper:
        return log_stream(Path(self.baseFilename))


def log_stream(file: Path | int) -> io.TextIOWrapper:
    """A log to append to, line by line: a path, or a descriptor that stays open. Raises OSError for the path alone."""
    raw = _Lossy(file, "a", closefd=not isinstance(file, int))
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True)
