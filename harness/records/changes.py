"""Has a sweep's folder changed since it was read?"""

from collections.abc import Iterator
from pathlib import Path

from harness.records.layout import SweepFiles

Fingerprint = tuple[tuple[str, int, int], ...]


def fingerprint(folder: Path) -> Fingerprint:
    """Another one whenever a record has been written; a look at each file's time and size."""
    return tuple(_looks(SweepFiles(folder)))


def _looks(files: SweepFiles) -> Iterator[tuple[str, int, int]]:
    paths = [files.plan_path, files.manifest_path, files.reuse_path, files.archive_path, files.sample_path]
    for run in files.plan():
        paths += files.run(run).archivable
    for path in paths:
        try:
            stat = path.stat()
        except OSError:  # not there yet
            continue
        yield str(path), stat.st_mtime_ns, stat.st_size
