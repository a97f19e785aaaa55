"""Why a file could not be written, in one sentence, and what to do next. Standard library only.

A full disk, a used-up quota, a file system without inodes, a read-only one and a missing permission are five causes
with five remedies. `writing` names the file that it guards; `fault` finds the cause in whatever a library made of it.
"""

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import DiskError

PROBE = 1 << 16  # bytes
KEPT = "Then run the same command again: what was written before is kept."
ELSEWHERE = "another folder (results=FOLDER for a sweep, XDG_CACHE_HOME for policies and environments)"
# Nothing else raises these, so they count wherever they are found in a chain of errors.
SURE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
# These count only with the name of a file: a terminal that is gone raises EIO, too, and a signal EPERM.
NAMED = (errno.EACCES, errno.EPERM, errno.EIO, errno.ENAMETOOLONG, errno.EMFILE, errno.ENFILE, errno.ESTALE)
QUOTED = re.compile(r"(?:os error|Errno|errno) (\d+)")  # Rust's libraries and Arrow keep the number in their text only


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises DiskError instead of OSError, with the file's name. What says that a name is taken passes unchanged."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise DiskError(f"Could not write {path}: {_cause(error, path)}") from error


def check_writable(folder: Path) -> None:
    """Makes a folder that is not there, and a file in it that goes at once. Raises DiskError."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x" * PROBE)


def is_read_only(path: Path) -> bool:
    """Whether the file system of an existing path is mounted so."""
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def fault(error: BaseException) -> DiskError | None:
    """What the disk did, if that is why `error` was raised: it says so itself, or one that it was raised from does."""
    if isinstance(error, DiskError):
        return error
    if isinstance(error, OSError) and error.errno in NAMED and error.filename:
        return DiskError(f"Could not use {_name(error)}: {_cause(error, Path(_name(error)))}")
    for each in _chain(error):
        if isinstance(each, DiskError):
            return each
        number = each.errno if isinstance(each, OSError) else _quoted(each)
        if number in SURE:
            path = _name(each) if isinstance(each, OSError) else ""
            what = f"write {path}" if path else "write a file"
            return DiskError(f"Could not {what}: {_cause(OSError(number, ''), Path(path) if path else None)}")
    return None


def _name(error: OSError) -> str:
    name = error.filename2 or error.filename
    return os.fsdecode(name) if isinstance(name, str | bytes) else ""


def _quoted(error: BaseException) -> int | None:
    found = QUOTED.search(str(error))
    return int(found[1]) if found else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, those of a group, and what they were raised from or while handling; each once."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop(0)
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        left += [*(each.exceptions if isinstance(each, BaseExceptionGroup) else ()), each.__cause__, each.__context__]


def _cause(error: OSError, path: Path | None) -> str:
    """The cause and the next step; path: what was to be written, None where nobody said."""
    where = _existing(path) if path else None
    there = str(where or "its folder")
    match error.errno:
        case errno.ENOSPC if where and _without_inodes(where):
            return (
                f"the file system of {there} has space left and no inodes (`df -i {there}`). Delete files there, "
                f"many small ones. {KEPT}"
            )
        case errno.ENOSPC:
            look = f"`df -h {there}`" if where else "`df -h` shows which"
            return f"the disk is full ({look}). Free disk space there. {KEPT}"
        case errno.EDQUOT:
            return f"your disk quota is used up (`quota -s`). Delete files of yours there, or ask for more. {KEPT}"
        case errno.EROFS:
            return (
                f"the file system of {there} is mounted read-only; it is not full. Mount it writable (after a disk "
                f"error Linux makes it read-only: see `dmesg`), or choose {ELSEWHERE}."
            )
        case errno.EACCES | errno.EPERM:
            return f"permission denied{_owner(where)}. Ask for the permission, or choose {ELSEWHERE}."
        case errno.EFBIG:
            return f"a file may not become that large (`ulimit -f`, or the file system's own limit). Raise it. {KEPT}"
        case errno.EIO:
            return f"the disk reports an error; `dmesg` has more. Copy {there} to another disk. {KEPT}"
        case errno.ENAMETOOLONG:
            return "the name is too long for this file system. Choose a shorter name or folder."
        case errno.EMFILE | errno.ENFILE:
            return f"too many files are open. Raise the limit (`ulimit -n 65536`). {KEPT}"
        case errno.ENOENT | errno.ENOTDIR | errno.ESTALE:
            return f"its folder is gone: deleted, moved or unmounted meanwhile. Bring {path} back. {KEPT}"
    return f"{error.strerror or error}. {KEPT}"


def _existing(path: Path) -> Path | None:
    try:
        return next((folder for folder in path.absolute().parents if folder.exists()), None)
    except OSError:
        return None


def _without_inodes(folder: Path) -> bool:
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_files > 0 and found.f_favail == 0 and found.f_bavail > 0


def _owner(folder: Path | None) -> str:
    """` (/results belongs to user 1000 with mode 755, you are user 1001)`, or nothing."""
    try:
        found = os.stat(folder) if folder else None
    except OSError:
        found = None
    if found is None:
        return ""
    mode = f"{found.st_mode & 0o7777:o}"
    return f" ({folder} belongs to user {found.st_uid} with mode {mode}; you are user {os.geteuid()})"
