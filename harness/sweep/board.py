"""Where a sweep stands, for `harness watch`: a file that is written every other second while the sweep runs.

The same thread sees a file by which a watcher asks the sweep to stop, and does then to its own process what Ctrl-C
does. So a watcher signals no process, and may be on another machine that shares the folder. Whatever the disk does,
the sweep does not notice.
"""

import json
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from harness.endings import interrupt
from harness.printed import plain
from harness.records.layout import SweepFiles
from harness.records.schema import Record

EVERY = 2.0  # seconds
PATIENCE = 5.0  # seconds that a disk which does not answer may keep the end


class Board:
    """A context manager. read: what to write; called in a thread of its own"""

    def __init__(self, folder: Path, read: Callable[[], Record]) -> None:
        self._files, self._read = SweepFiles(folder), read
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="board", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(PATIENCE)

    def _keep(self) -> None:
        self._take_back(self._files.stop_path)  # it was meant for an earlier start
        while not self._over.is_set():
            self._write()
            self._over.wait(EVERY)
            if self._files.stop_path.exists():
                self._take_back(self._files.stop_path)
                interrupt()
        self._take_back(self._files.now_path)

    def _write(self) -> None:
        # Not synced: after a power cut nothing runs that it could tell of.
        path = self._files.now_path
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_text(json.dumps(plain({"process": os.getpid(), "host": os.uname().nodename, **self._read()})))
            part.replace(path)

    def _take_back(self, path: Path) -> None:
        with suppress(OSError):
            path.unlink(missing_ok=True)
