"""What user models have said, by the digest of all that it depends on: a file for each message, beside the episodes.

As the store's entries, a file is whole or absent, and the first one counts. Unlike them it is written without a sync
and without a claim on it: a conversation has many, each small. After a power cut a message may be asked for again, and
two processes that ask for one at the same moment both pay; both go on with what was stored first.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from weakref import WeakValueDictionary

from harness.disk import writing
from harness.records.store import NEW

FOLDER = "user_replies"


class Replies:
    """store: the sweep's folder of results; reuse: False asks for everything, and nothing is read or written"""

    def __init__(self, store: Path, reuse: bool) -> None:
        self.folder, self.reuse = store / FOLDER, reuse
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def get(self, key: str, ask: Callable[[], Awaitable[str]]) -> tuple[str, bool]:
        """The message, and whether it was asked for now. Who asks for one that is under way waits for it."""
        if not self.reuse:
            return await ask(), True
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            if (found := self._read(key)) is not None:
                return found, False
            return self._write(key, await ask()), True

    def _file(self, key: str) -> Path:
        return self.folder / key[:2] / key

    def _read(self, key: str) -> str | None:
        """None where there is none, or a damaged one, which goes."""
        path = self._file(key)
        try:
            return str(json.loads(path.read_bytes())["text"])
        except FileNotFoundError:
            return None
        except (ValueError, LookupError, TypeError):
            path.unlink(missing_ok=True)
            return None

    def _write(self, key: str, text: str) -> str:
        """What is stored now: this text, or that of another process that was first."""
        path = self._file(key)
        new = path.with_name(f"{NEW}{os.getpid()}-{key}")
        with writing(path):
            try:
                _put(new, text)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                _put(new, text)
            try:
                os.link(new, path)
            except FileExistsError:
                return self._read(key) or text
            except OSError:  # a file system without hard links
                os.replace(new, path)
            finally:
                with suppress(FileNotFoundError):
                    new.unlink()
        return text


def _put(path: Path, text: str) -> None:
    with path.open("wb") as file:
        file.write(json.dumps({"text": text}).encode())
