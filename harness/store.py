"""Content-addressed results of pure steps: computed once, found again.

An entry is named by the digest of everything that its computation depends on. It is written to a
temporary file, synced and renamed, so that a reader never sees half an entry and a killed sweep loses
only what was being computed. Concurrent askers of one digest wait for one computation.

    episode = f(policy weights, task, user, prompt and template, sampling parameters, its own seed)
    update  = f(trainer state, training batch, hyper-parameters)
"""

import asyncio
import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import StoreError

SMALL = 1 << 16  # bytes; larger entries stay on the disk


def digest(*parts: Any) -> str:
    """32 hex characters over the canonical JSON of the parts; bytes are taken as they are."""
    sha = hashlib.sha256()
    for part in parts:
        raw = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode()
        sha.update(len(raw).to_bytes(8, "big"))
        sha.update(raw)
    return sha.hexdigest()[:32]


@dataclass(frozen=True)
class Found:
    """A value with its origin. shared_with: the run whose computation this is, None if it is ours."""

    value: bytes
    shared_with: str | None


@dataclass
class Store:
    """Bytes by (kind, digest) under a folder.

    reuse: False computes everything anew; nothing is read or written
    audit: share of hits, in [0, 1], that are computed again and compared; chosen by digest
    same: by kind, whether a stored and a recomputed value agree (default: equal bytes)
    """

    path: Path
    reuse: bool = True
    audit: float = 0.0
    same: dict[str, Callable[[bytes, bytes], bool]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        self._underway: dict[tuple[str, str], asyncio.Future[Found]] = {}
        # Small entries (episodes) that this process has seen are found without the disk.
        self._recent: dict[tuple[str, str], Found] = {}
        self._disk = ThreadPoolExecutor(4, thread_name_prefix="store")

    def file(self, kind: str, key: str) -> Path:
        return self.path / kind / key[:2] / key

    async def get(self, kind: str, key: str, by: str, compute: Callable[[], Awaitable[bytes]]) -> Found:
        """The stored value, or that of `compute()`, which is stored first.

        by: name of the asking run. Whatever `compute` raises reaches every asker; nothing is stored then.
        """
        self.counts[f"{kind}/asked"] += 1
        if not self.reuse:
            self.counts[f"{kind}/computed"] += 1
            return Found(await compute(), None)
        place = (kind, key)
        while place in self._underway:
            other = self._underway[place]
            try:
                found = await asyncio.shield(other)
            except asyncio.CancelledError:
                if not other.cancelled():
                    raise
                continue  # the asker that computed was cancelled: take its place
            self.counts[f"{kind}/shared"] += 1
            return _seen_by(by, found)
        future: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda f: f.cancelled() or f.exception())  # never "never retrieved"
        self._underway[place] = future
        try:
            found = await self._read_or_compute(kind, key, by, compute)
            future.set_result(found)
            return _seen_by(by, found)
        except asyncio.CancelledError:
            future.cancel()
            raise
        except BaseException as error:
            future.set_exception(error)
            raise
        finally:
            del self._underway[place]

    async def _read_or_compute(
        self, kind: str, key: str, by: str, compute: Callable[[], Awaitable[bytes]]
    ) -> Found:
        loop = asyncio.get_running_loop()
        stored = self._recent.get((kind, key))
        if stored is None:
            stored = await loop.run_in_executor(self._disk, _read, self.file(kind, key))
        if stored is None:
            value = await compute()
            self.counts[f"{kind}/computed"] += 1
            await loop.run_in_executor(self._disk, _write, self.file(kind, key), by, value)
            found = Found(value, by)
            self._remember(kind, key, found)
            return found
        self._remember(kind, key, stored)
        self.counts[f"{kind}/shared"] += 1
        if int(key[:8], 16) < self.audit * 2**32:
            await self._audit(kind, key, stored.value, compute)
        return stored

    def _remember(self, kind: str, key: str, found: Found) -> None:
        if len(found.value) <= SMALL:
            self._recent[kind, key] = found

    async def _audit(
        self, kind: str, key: str, stored: bytes, compute: Callable[[], Awaitable[bytes]]
    ) -> None:
        self.counts[f"{kind}/audited"] += 1
        again = await compute()
        same = self.same.get(kind, bytes.__eq__)
        if not same(stored, again):
            self.counts[f"{kind}/audit_differs"] += 1


def _seen_by(run: str, found: Found) -> Found:
    """The entry as one asker sees it: what it computed itself is shared with nobody."""
    return Found(found.value, None) if found.shared_with == run else found


def _read(path: Path) -> Found | None:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    head, _, value = raw.partition(b"\n")
    try:
        header = json.loads(head)
        if hashlib.sha256(value).hexdigest() != header["sha256"]:
            raise ValueError("its checksum differs")
    except (ValueError, KeyError) as error:
        raise StoreError(
            f"The stored entry {path} is damaged ({error}). Delete it and run the same command again: "
            "it is computed anew."
        ) from error
    return Found(value, header["by"])


def _write(path: Path, by: str, value: bytes) -> None:
    head = json.dumps({"by": by, "sha256": hashlib.sha256(value).hexdigest()}).encode()
    write_synced(path, head + b"\n" + value)


def write_synced(path: Path, raw: bytes) -> None:
    """Writes a file so that it is there whole or not at all, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)  # mkstemp's files are for their owner alone
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name, too, survives a power cut
        finally:
            os.close(folder)
    except OSError as error:
        raise StoreError(
            f"Could not write {path}: {error}. Free disk space and run the same command again: "
            "what was computed before is kept."
        ) from error
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
