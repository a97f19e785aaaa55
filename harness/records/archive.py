"""A sweep's records in one file, to be committed; and back into `runs/`, to be continued."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from harness.errors import ConfigError
from harness.records.archive_format import encode
from harness.records.json_files import write_lines, write_object
from harness.records.layout import RunFiles, SweepFiles
from harness.records.schema import Record
from harness.records.store import write_synced


def pack(folder: Path, sample: Iterable[Record] = ()) -> Path:
    """Writes the archive, then removes what it holds; trajectories.parquet stays where it is. Its path.

    sample: rollouts to keep; none: those of an earlier archive, if any
    Of an archived sweep it removes what the archive holds: killed before that was done, a sweep has both. An older
    archive takes in the reuse.json that lies beside it.
    Raises ConfigError for a folder without a plan or with a damaged archive.
    """
    files = SweepFiles(folder)
    plan = files.plan()
    if not plan:
        raise ConfigError(f"{folder} has no plan.jsonl, so there is no sweep to archive.")
    if not files.archived:
        runs = {run: files.run(run).content() for run in plan}
        configs = {run: files.run(run).read_config() for run in plan}
        write_synced(files.archive_path, encode(runs, configs, list(sample) or files.rollouts(), files.reuse()))
    elif not (kept := files.archive()).reuse and (reuse := files.reuse()):
        write_synced(files.archive_path, encode(kept.runs, kept.configs, kept.rollouts(), reuse))
    for run in files.archive().runs:
        _remove(files.run(run))
    files.sample_path.unlink(missing_ok=True)
    files.reuse_path.unlink(missing_ok=True)
    with suppress(OSError):  # local files are left in it
        (folder / "runs").rmdir()
    return files.archive_path


def unpack(folder: Path) -> None:
    """Writes `runs/` from the archive, then removes the archive: killed in between, it is the truth still."""
    files = SweepFiles(folder)
    archive = files.archive()
    for run, content in archive.runs.items():
        files.run(run).write(content)
        if archive.configs[run]:
            files.run(run).write_config(archive.configs[run])
    if archive.sample:
        write_lines(files.sample_path, archive.rollouts())
    if archive.reuse:
        write_object(files.reuse_path, archive.reuse)
    files.archive_path.unlink()


def _remove(run: RunFiles) -> None:
    for path in run.archivable:
        path.unlink(missing_ok=True)
    for folder in (run.folder, *run.folder.parents):
        if folder.name == "runs":
            break
        with suppress(OSError):
            folder.rmdir()
