"""A command that is refused after its plan was written leaves the plan and the records as they were.

What a launcher or an engine cannot do (more engines than GPUs, a server that is no program) is known when they start.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.errors import ConfigError
from harness.records.archive import pack
from harness.records.layout import SweepFiles
from harness.records.store import write_synced


@contextmanager
def as_before_if_refused(folder: Path, runs: Sequence[str]) -> Iterator[None]:
    """On a ConfigError before one of these runs has begun, puts the files that plan a sweep back, and raises it."""
    files = SweepFiles(folder)
    paths = (files.plan_path, files.manifest_path, files.reuse_path, files.archive_path)
    before = {path: path.read_bytes() if path.is_file() else None for path in paths}
    status = {run: files.status(run) for run in runs}
    new = [run for run in runs if not files.config(run)]
    try:
        yield
    except ConfigError:
        if {run: files.status(run) for run in runs} == status:
            for run in new:
                _forget(files, run)
            for path, raw in before.items():
                _put_back(path, raw)
            if files.archived:
                pack(folder)  # removes what was unpacked
        raise


def _forget(files: SweepFiles, run: str) -> None:
    planned = files.run(run)
    planned.config.unlink(missing_ok=True)
    for folder in (planned.folder, *planned.folder.parents):
        if folder == files.folder:
            break
        with suppress(OSError):  # others lie in it
            folder.rmdir()


def _put_back(path: Path, raw: bytes | None) -> None:
    if raw is None:
        path.unlink(missing_ok=True)
    elif path.read_bytes() != raw if path.is_file() else True:
        write_synced(path, raw)
