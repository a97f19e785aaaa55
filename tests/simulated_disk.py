"""A folder in which every system call of the records can be the last, and of which a power cut keeps what was synced.

Files are real; syncing, locks, temporary names and the clock are not. A power cut may keep a file's bytes that were not
synced, some of them, or zeros in their place, and a name whose folder was not synced may be the old one or the new one.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path, PosixPath
from types import SimpleNamespace
from typing import Any

import pytest

from harness.records import run_records, store

MEMORY = "/dev/shm"  # files there cost a tenth of those on a disk
NOW = 1_800_000_000.0  # seconds; what the clock says at first


class Killed(BaseException):
    """The process ended here: nothing that comes after has an effect."""


class Call:
    """A function on a thread of its own that stops before every system call until it is told to go on."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.done, self.dead = False, False
        self.before = ""  # the system call that it stands before
        self._work, self._order = work, None
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.call = self
        self._thread.start()
        self._back.acquire()

    def _run(self) -> None:
        with contextlib.suppress(Killed):
            self._work()
        self.done = True
        self._back.release()

    def stand(self, name: str) -> None:
        if self.dead:
            raise Killed
        self.before = name
        self._back.release()
        self._go.acquire()
        order, self._order = self._order, None
        if order is not None:
            raise order

    def advance(self, order: BaseException | None = None) -> None:
        """Does the next system call, or raises `order` in its place."""
        self.dead = self.dead or isinstance(order, Killed)
        self._order = order
        self._go.release()
        self._back.acquire()
        if self.done:
            self._thread.join()


class Disk:
    """links, locks: whether the file system has them."""

    def __init__(self, links: bool = True, locks: bool = True) -> None:
        self.links, self.locks = links, locks
        self.folder = Path(tempfile.mkdtemp(prefix="disk-", dir=MEMORY if os.path.isdir(MEMORY) else None))
        self.clock = NOW
        self.calls_left: int | None = None  # outside of a Call: how many before `order` is raised
        self.order: BaseException = Killed()
        self.ended = False  # a process outside of a Call was killed
        self._synced: dict[int, bytes] = {}  # by inode
        self._names: dict[str, dict[str, int]] = {str(self.folder): {}}  # by folder
        self._held: list[int] = []  # an open file's inode number is not given to another one
        self._temporary = 0
        disk = self

        class Watched(PosixPath):
            def read_bytes(self) -> bytes:
                disk.point("read")
                return super().read_bytes()

            def unlink(self, missing_ok: bool = False) -> None:
                disk.point("unlink")
                super().unlink(missing_ok)

            def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
                disk.point("mkdir")
                super().mkdir(mode, parents, exist_ok)

        self.path = Watched(self.folder)
        self.patch = pytest.MonkeyPatch()
        system = _Instead(
            os, fdopen=self._fdopen, fsync=self._fsync, link=self._link, replace=self._replace, unlink=self._unlink
        )
        self.patch.setattr(store, "os", system)
        self.patch.setattr(run_records, "os", system)
        self.patch.setattr(run_records, "open", self._open, raising=False)
        self.patch.setattr(store, "fcntl", _Instead(fcntl, lockf=self._lockf))
        self.patch.setattr(store, "tempfile", SimpleNamespace(mkstemp=self._mkstemp))
        self.patch.setattr(store, "time", _Instead(time, time=lambda: self.clock))
        self.patch.setattr(store, "_umask", lambda: 0o022)  # saves a look at /proc per file

    def close(self) -> None:
        self.patch.undo()
        for handle in self._held:
            os.close(handle)
        shutil.rmtree(self.folder, ignore_errors=True)

    def damage(self, path: Path, raw: bytes) -> None:
        """What the disk itself, or another program, makes of a file."""
        Path(path).write_bytes(raw)
        self._synced[os.stat(path).st_ino] = raw

    def point(self, name: str) -> None:
        """Before a system call: here a process may end, or the call may fail."""
        call: Call | None = getattr(threading.current_thread(), "call", None)
        if call is not None:
            call.stand(name)
        elif self.ended:
            raise Killed
        elif self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left < 0:
                self.calls_left, self.ended = None, isinstance(self.order, Killed)
                raise self.order

    def cut_power(self, choose: Callable[[int], int]) -> None:
        """Nothing runs any more, and the folder is what a disk may hold then. choose(n): one of n, drawn."""
        self._restore(str(self.folder), choose)
        self._names, self._synced = {}, {}
        store._lasting.clear()
        for folder, _, files in os.walk(self.folder):
            self._names[folder] = _listed(folder)
            for name in files:
                path = os.path.join(folder, name)
                self._held.append(os.open(path, os.O_RDONLY))
                self._synced[os.stat(path).st_ino] = Path(path).read_bytes()

    def _restore(self, folder: str, choose: Callable[[int], int]) -> None:
        now, before = _listed(folder), self._names.get(folder, {})
        for name in sorted({*now, *before}):
            path = os.path.join(folder, name)
            kept = now.get(name)
            if now.get(name) != before.get(name) and choose(2):
                kept = before.get(name)
            if os.path.isdir(path):
                if kept is None:
                    shutil.rmtree(path)
                else:
                    self._restore(path, choose)
            elif kept is None:
                Path(path).unlink(missing_ok=True)
            elif kept == now.get(name):
                self._keep_bytes(path, choose)
            else:
                Path(path).unlink(missing_ok=True)
                Path(path).write_bytes(self._synced.get(kept, b""))

    def _keep_bytes(self, path: str, choose: Callable[[int], int]) -> None:
        whole, status = Path(path).read_bytes(), os.stat(path)
        safe = self._synced.get(status.st_ino, b"")
        if whole == safe:
            return
        base = safe if whole.startswith(safe) else b""
        tail = len(whole) - len(base)
        left = (whole, safe, base + bytes(tail), whole[: len(base) + choose(tail + 1)])[choose(4)]
        Path(path).write_bytes(left)
        os.utime(path, (status.st_atime, status.st_mtime))

    def _mkstemp(self, dir: Path, prefix: str) -> tuple[int, str]:
        self.point("mkstemp")
        self._temporary += 1
        name = os.path.join(dir, f"{prefix}{self._temporary:06}")
        handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        return self._made(handle), name

    def _made(self, handle: int) -> int:
        self._held.append(os.dup(handle))
        os.utime(handle, (self.clock, self.clock))
        return handle

    def _fdopen(self, handle: int, _: str) -> "_File":
        return _File(self, handle)

    def _open(self, path: Path, mode: str, encoding: str) -> "_File":
        assert mode == "a"
        self.point("open")
        new = not os.path.exists(path)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        return _File(self, self._made(handle) if new else handle)

    def _fsync(self, handle: int) -> None:
        self.point("fsync")
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            self._names[os.readlink(f"/proc/self/fd/{handle}")] = _listed(handle)
        else:
            self._synced[status.st_ino] = os.pread(handle, status.st_size, 0)

    def _link(self, source: str, target: Path) -> None:
        self.point("link")
        if not self.links:
            raise PermissionError(1, "Operation not permitted")
        os.link(source, target)

    def _replace(self, source: str, target: Path) -> None:
        self.point("replace")
        os.replace(source, target)

    def _unlink(self, path: str) -> None:
        self.point("unlink")
        os.unlink(path)

    def _lockf(self, handle: int, command: int, length: int, start: int) -> None:
        """As fcntl.lockf, with the lock of the open file in place of the process's: a file stands for a process."""
        if threading.current_thread() is not threading.main_thread():
            self.point("lock")
        if not self.locks or handle < 0:
            raise OSError(37, "No locks available")
        kind = fcntl.F_UNLCK if command == fcntl.LOCK_UN else fcntl.F_WRLCK
        fcntl.fcntl(handle, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0))


class _File:
    """What `open` returns, as far as the records use it. Half of what is written may be there."""

    def __init__(self, disk: Disk, handle: int) -> None:
        self._disk, self._handle, self._waiting = disk, handle, b""

    def write(self, raw: bytes | str) -> None:
        self._waiting += raw.encode() if isinstance(raw, str) else raw

    def flush(self) -> None:
        raw, self._waiting = self._waiting, b""
        half = len(raw) // 2
        for part in (raw[:half], raw[half:]):
            self._disk.point("write")
            os.write(self._handle, part)
            os.utime(self._handle, (self._disk.clock, self._disk.clock))

    def fileno(self) -> int:
        return self._handle

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *raised: object) -> None:
        try:
            if raised[0] is None and self._waiting:
                self.flush()
        finally:
            os.close(self._handle)


class _Instead:
    """A module with some of its functions replaced."""

    def __init__(self, module: Any, **functions: Any) -> None:
        self._module = module
        vars(self).update(functions)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _listed(folder: str | int) -> dict[str, int]:
    with os.scandir(folder) as found:
        return {each.name: each.inode() for each in found}
