"""What a person reads when a file cannot be written: one cause, and what to do next."""

import errno
import os
from pathlib import Path

import pytest

from harness.disk import check_writable, fault, writing
from harness.errors import ConfigError, DiskError, Exit, exit_of
from harness.launch.command_line import _refuse_folder
from harness.launch.doctor import Report, _hardware


def said(number: int, path: Path) -> str:
    with pytest.raises(DiskError) as caught, writing(path):
        raise OSError(number, os.strerror(number), str(path))
    return str(caught.value)


CAUSES = [
    (errno.ENOSPC, "the disk is full", "Free disk space there"),
    (errno.EDQUOT, "your disk quota is used up", "Delete files of yours there"),
    (errno.EROFS, "is mounted read-only; it is not full", "choose another folder (results=FOLDER"),
    (errno.EACCES, "permission denied", "you are user"),
    (errno.EFBIG, "a file may not become that large", "ulimit -f"),
    (errno.EIO, "the disk reports an error", "dmesg"),
    (errno.EMFILE, "too many files are open", "ulimit -n"),
    (errno.ENOENT, "its folder is gone", "Bring"),
]


@pytest.mark.parametrize(("number", "cause", "remedy"), CAUSES, ids=lambda v: str(v)[:20])
def test_each_cause_has_its_own_sentence_and_remedy(number, cause, remedy, tmp_path):
    text = said(number, tmp_path / "runs" / "steps.jsonl")
    assert text.startswith(f"Could not write {tmp_path / 'runs' / 'steps.jsonl'}: ")
    assert cause in text and remedy in text and "\n" not in text


def test_a_file_system_without_inodes_is_no_full_one(tmp_path, monkeypatch):
    found = os.statvfs(tmp_path)
    left = {"f_files": 1000, "f_favail": 0, "f_bavail": 1000}
    monkeypatch.setattr("harness.disk.os.statvfs", lambda _: type("Found", (), left))
    assert "has space left and no inodes" in said(errno.ENOSPC, tmp_path / "x")
    monkeypatch.setattr("harness.disk.os.statvfs", lambda _: found)
    assert "no inodes" not in said(errno.ENOSPC, tmp_path / "x")


def test_a_taken_name_is_no_fault_of_the_disk(tmp_path):
    with pytest.raises(FileExistsError), writing(tmp_path):
        os.mkdir(tmp_path)


def full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def raised(error: Exception, cause: Exception) -> Exception:
    try:
        raise error from cause
    except Exception as made:
        return made


FAULTS = [
    full(),
    raised(RuntimeError("ART failed"), full()),
    ExceptionGroup("two runs", [ValueError("x"), ExceptionGroup("inner", [full()])]),
    RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),  # safetensors
    DiskError("Could not write x: the disk is full"),
]


@pytest.mark.parametrize("error", FAULTS, ids=lambda e: type(e).__name__)
def test_the_disks_fault_is_found_in_what_a_library_made_of_it(error):
    found = fault(error)
    assert found and "the disk is full" in str(found) and "\n" not in str(found)
    assert exit_of(found) is Exit.FAILED  # nothing is wrong with what was typed


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        ConfigError("no such arm"),
        OSError(errno.EIO, "a terminal that is gone"),
        PermissionError(errno.EPERM, "a signal to a foreign process"),
        FileNotFoundError(errno.ENOENT, "a fault of ours", "x"),
    ],
    ids=lambda e: f"{type(e).__name__}: {e}",
)
def test_other_errors_are_no_fault_of_the_disk(error):
    assert fault(error) is None


def test_a_named_file_without_permission_is_one():
    error = PermissionError(errno.EACCES, "Permission denied", "/results/s/.lock")
    assert "Could not use /results/s/.lock: permission denied" in str(fault(error))


def test_a_folder_is_tried_before_a_library_writes_elsewhere(tmp_path, monkeypatch):
    check_writable(tmp_path / "wandb")
    assert list((tmp_path / "wandb").iterdir()) == []

    def refuse(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("harness.disk.tempfile.TemporaryFile", refuse)
    with pytest.raises(DiskError, match="mounted read-only"):
        check_writable(tmp_path / "wandb")


def test_results_on_a_read_only_file_system_are_told_from_those_of_somebody_else(sweep_config, tmp_path, monkeypatch):
    config = sweep_config()
    monkeypatch.setattr("harness.machine.inventory.free_gib", lambda _: 10.0)
    monkeypatch.setattr("harness.launch.command_line.os.access", lambda *_: False)
    for flags, why in ((os.ST_RDONLY, "is on a read-only file system"), (0, "is not writable")):
        monkeypatch.setattr("harness.disk.os.statvfs", lambda _, flags=flags: type("Found", (), {"f_flag": flags}))
        with pytest.raises(ConfigError, match=f"{tmp_path} {why}"):
            _refuse_folder(config)
        report = Report()
        _hardware(report, [], tmp_path)
        assert any(f"{tmp_path} {why}" in text for text in report.blocked)
