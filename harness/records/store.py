"""Content-addressed results of pure steps: computed once, found again.

An entry is named by the digest of everything that its computation depends on. It is written to a
temporary file, synced and given its name, so that a reader never sees half an entry and a killed sweep loses
only what was being computed. Concurrent askers of one digest wait for one computation, in this process and in
every other one that works on the same folder.

    episode = f(policy weights, task, user, prompt and template, sampling parameters, its own seed)
    update  = f(trainer state, training batch, hyper-parameters)
"""

import asyncio
import errno
import fcntl
import hashlib
import json
import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

from harness.disk import writing
from harness.errors import StoreError

T = TypeVar("T")
LOG = logging.getLogger("harness.store")
SMALL = 1 << 16  # bytes; larger entries stay on the disk
# Seconds between looks at what another process computes: at first, doubled each time, and at most.
LOOK, LOOK_AT_MOST = 0.02, 1.0
TAKEN = (errno.EACCES, errno.EAGAIN)
NEW = ".new-"  # what a file is called until it is whole
STRAY_AFTER = 3600.0  # seconds; no write takes so long
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_lasting: set[Path] = set()  # folders whose own names this process has synced


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


class Claims:
    """What is being computed, over all processes that share a folder: one locked byte of one file per digest.

    The kernel drops the locks of a process that ends, however it ends, so a claim never outlives its process; on NFS
    the server does so when a machine is gone. Where a file system has no locks everything may be claimed: then a
    result is computed twice at worst, and the first one stays.
    """

    def __init__(self, path: Path) -> None:
        # Never closed before the process ends: closing any descriptor of the file drops all its locks.
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def take(self, key: str) -> bool:
        """False while another process holds it."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _byte(key))
        except OSError as error:
            return error.errno not in TAKEN
        return True

    def drop(self, key: str) -> None:
        with suppress(OSError):  # no locks there, so nothing was held
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _byte(key))


def _byte(key: str) -> int:
    """Where a digest's lock lies; the file itself stays empty. Two digests with one byte would only wait."""
    return int(key[:15], 16)


@dataclass
class Store:
    """Bytes by (kind, digest) under a folder. One instance per folder and process: claims belong to the process.

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
        with writing(self.path / "claims"):
            self.path.mkdir(parents=True, exist_ok=True)
            self._claims = Claims(self.path / "claims")
        self._underway: dict[tuple[str, str], asyncio.Future[Found]] = {}
        # Small entries (episodes) that this process has seen are found without the disk.
        self._recent: dict[tuple[str, str], Found] = {}
        self._disk = ThreadPoolExecutor(4, thread_name_prefix="store")

    def file(self, kind: str, key: str) -> Path:
        return _file(self.path, kind, key)

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

    async def _read_or_compute(self, kind: str, key: str, by: str, compute: Callable[[], Awaitable[bytes]]) -> Found:
        stored = self._recent.get((kind, key)) or await self._read_or_claim(kind, key)
        if stored is None:
            found = await self._compute(kind, key, by, compute)
            self._remember(kind, key, found)
            return found
        self._remember(kind, key, stored)
        self.counts[f"{kind}/shared"] += 1
        if int(key[:8], 16) < self.audit * 2**32:
            await self._audit(kind, key, stored.value, compute)
        return stored

    async def _read_or_claim(self, kind: str, key: str) -> Found | None:
        """The stored value; None once it is ours to compute. Waits while another process computes it."""
        pause = LOOK
        while True:
            # In one go on the disk's thread: the usual case costs one hop.
            stored, ours = await self._on_disk(key, self._look, kind, key)
            if stored is not None or ours:
                return stored
            await asyncio.sleep(pause)
            pause = min(2 * pause, LOOK_AT_MOST)

    def _look(self, kind: str, key: str) -> tuple[Found | None, bool]:
        """The stored value, and whether it is ours to compute. A damaged entry counts as none, and goes."""
        path = self.file(kind, key)
        stored = _whole(path)
        if stored is not None or not self._claims.take(key):
            return stored, False
        try:
            if os.path.exists(path) and (stored := _whole(path)) is None:
                LOG.warning("The stored entry %s is damaged: it is computed anew.", path)
                self.counts[f"{kind}/damaged"] += 1
                path.unlink(missing_ok=True)
        except OSError:
            self._claims.drop(key)
            raise
        if stored is not None:
            self._claims.drop(key)  # another process finished it before our claim
        return stored, stored is None

    async def _on_disk(self, key: str, work: Callable[..., T], *arguments: Any) -> T:
        """What `work` returns on the disk's thread. Who is cancelled waits for its end and holds no claim."""
        job, cancelled = asyncio.get_running_loop().run_in_executor(self._disk, work, *arguments), None
        while not job.done():
            try:
                await asyncio.wait([job])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled:
            job.exception()  # never "never retrieved"
            self._claims.drop(key)
            raise cancelled
        return job.result()

    async def _compute(self, kind: str, key: str, by: str, compute: Callable[[], Awaitable[bytes]]) -> Found:
        """Computes what is claimed, stores it and drops the claim."""
        try:
            value = await compute()
            self.counts[f"{kind}/computed"] += 1
            found = await self._on_disk(key, _write, self.file(kind, key), by, value)
        finally:
            self._claims.drop(key)
        if found.value is not value:
            self.counts[f"{kind}/doubled"] += 1
        return found

    def _remember(self, kind: str, key: str, found: Found) -> None:
        if len(found.value) <= SMALL:
            self._recent[kind, key] = found

    async def _audit(self, kind: str, key: str, stored: bytes, compute: Callable[[], Awaitable[bytes]]) -> None:
        self.counts[f"{kind}/audited"] += 1
        again = await compute()
        same = self.same.get(kind, bytes.__eq__)
        if not same(stored, again):
            self.counts[f"{kind}/audit_differs"] += 1


def read_entry(path: Path, kind: str, key: str) -> Found | None:
    """An entry of the store under `path`, for readers that write nothing. Raises StoreError for a damaged one."""
    return _read(_file(path, kind, key))


def read_stored(path: Path, kind: str, key: str) -> bytes | None:
    """Its value. Raises as `read_entry`."""
    found = read_entry(path, kind, key)
    return found.value if found else None


def _file(path: Path, kind: str, key: str) -> Path:
    return path / kind / key[:2] / key


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
        found = Found(value, header["by"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise StoreError(
            f"The stored entry {path} is damaged ({error}). Delete it: a run that needs it computes it anew."
        ) from error
    return found


def _whole(path: Path) -> Found | None:
    try:
        return _read(path)
    except StoreError:
        return None


def _write(path: Path, by: str, value: bytes) -> Found:
    """Stores a value unless there is one by now: then that one counts, for it may stand in records already."""
    head = json.dumps({"by": by, "sha256": hashlib.sha256(value).hexdigest()}).encode()
    try:
        with _new_file(path, head + b"\n" + value) as temporary:
            _link(temporary, path)
    except FileExistsError:
        return _read(path) or Found(value, by)
    return Found(value, by)


def _link(temporary: str, path: Path) -> None:
    """Raises FileExistsError when the name is taken, where the file system has hard links."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        os.replace(temporary, path)


def remove_strays(folder: Path) -> None:
    """Removes what a killed process left half-written in a sweep's folder; what may be written now stays."""
    before = time.time() - STRAY_AFTER
    for pattern in (f"{NEW}*", f"runs/**/{NEW}*", f"store/*/*/{NEW}*"):
        for stray in folder.glob(pattern):
            with suppress(OSError):
                if stray.stat().st_mtime < before:
                    stray.unlink()


def write_synced(path: Path, raw: bytes) -> None:
    """Writes a file so that it is there whole or not at all, also after a power cut."""
    with _new_file(path, raw) as temporary:
        os.replace(temporary, path)


@contextmanager
def _new_file(path: Path, raw: bytes) -> Iterator[str]:
    """A synced temporary file beside `path`, to be given that name inside the `with`; the name is synced after it."""
    with writing(path):
        try:
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=NEW)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=NEW)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), 0o644 & ~_umask())  # mkstemp's files are for their owner alone
            yield temporary
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
        sync(path.parent)  # the new name, too, survives a power cut
        sync_names_above(path.parent)


def sync(path: Path) -> None:
    """The bytes of a file, or the names in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_names_above(folder: Path) -> None:
    """A folder's own name, and those of the folders above it, survive a power cut. Once per process, whoever made them:
    another process may have ended before it synced them."""
    folder = folder.absolute()
    above = takewhile(lambda each: each not in _lasting and not os.path.ismount(each), (folder, *folder.parents))
    for each in reversed(list(above)):
        with suppress(PermissionError):  # a folder that is not ours was there before
            sync(each.parent)
        _lasting.add(each)


def _umask() -> int:
    """This process's umask, read without setting it, since other threads make files. All of it where nothing says."""
    with suppress(OSError), open("/proc/self/status") as status:
        for line in status:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o077
