"""A disk that takes no more, at any moment: one sentence, exit code 1, and the same command goes on from there."""

import asyncio
import errno
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.commands import run_command
from harness.errors import DiskError, EngineError, Exit
from harness.launch.engine_pool import EnginePool
from harness.launch.execute import execute
from harness.log_stream import log_stream
from harness.records.layout import SweepFiles
from harness.records.run_records import RunRecords
from harness.records.store import Store, digest
from harness.sweep import train_runs
from tests.synthetic import write_sweep


class Disk:
    """Syncs so many files more, then fails with an error; from then on with every file."""

    def __init__(self, room: int, number: int = errno.ENOSPC) -> None:
        self.room, self.number, self.sync = room, number, os.fsync

    def fsync(self, file: int) -> None:
        self.room -= 1
        if self.room < 0:
            raise OSError(self.number, os.strerror(self.number))
        self.sync(file)


def train(sweep, runs) -> None:
    """Stands in for training: what a run writes, without an engine."""

    async def computed(store: Store, key: str) -> bytes:
        async def compute() -> bytes:
            return key.encode()

        return (await store.get("episodes", digest(key), "run", compute)).value

    for each in runs:
        records = RunRecords(SweepFiles(sweep.folder).run(each.run.name).folder)
        store = Store(SweepFiles(sweep.folder).store)
        records.set_status(run=each.run.name, state="running")
        for step in (1, 2):
            asyncio.run(computed(store, f"{each.run.name} {step}"))
            records.add("steps", {"step": step, "reward": 0.5})
        records.set_status(run=each.run.name, state="completed", validity="valid", lines={"steps": 2})


def files(folder: Path) -> dict[str, bytes]:
    kept = [p for p in folder.rglob("*") if p.is_file() and p.name not in ("manifest.json", "claims", ".lock")]
    return {str(p.relative_to(folder)): p.read_bytes() for p in kept}


@pytest.fixture
def no_report(monkeypatch):
    monkeypatch.setattr("harness.launch.execute.report", lambda *_: None)


def test_wherever_the_disk_fills_the_same_command_completes_the_sweep(sweep_config, tmp_path, monkeypatch, no_report):
    def config(name):
        return sweep_config(f"sweep={name}", runs=[[], ["fix/tools=off"]])

    whole = Disk(10**6)
    monkeypatch.setattr(os, "fsync", whole.fsync)
    assert execute(config("first"), train) is Exit.DONE  # the names of the folders above are synced once
    before = whole.room
    assert execute(config("whole"), train) is Exit.DONE
    writes = before - whole.room
    assert writes > 20
    for room in range(0, writes, writes // 12):  # all of them take a minute
        monkeypatch.setattr(os, "fsync", Disk(room).fsync)
        with pytest.raises(DiskError, match="the disk is full"):
            execute(config(f"full-{room}"), train)
        monkeypatch.setattr(os, "fsync", whole.fsync)
        assert execute(config(f"full-{room}"), train) is Exit.DONE
        assert files(tmp_path / f"full-{room}") == files(tmp_path / "whole")


def test_a_run_that_meets_a_full_disk_is_not_failed_and_stops_the_others(tmp_path, monkeypatch):
    """Whatever a library made of it: no other run could be recorded either."""
    others_end = []

    class Runner:
        backend = SimpleNamespace(replays=True, runs_at_once=None, assert_alive=lambda: None)

        async def run(self, config, records, progress):
            if config.run.name == "a/seed=0":
                raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
            try:
                await asyncio.Event().wait()
            finally:
                others_end.append(config.run.name)

    monkeypatch.setattr("harness.sweep.runner.Runner.build", lambda *_: Runner())
    arm = SimpleNamespace(name="a", as_dict={}, factors=())
    runs = [SimpleNamespace(run=SimpleNamespace(name=f"{a}/seed=0", arm=arm, seed=0, block="")) for a in "ab"]
    config = SimpleNamespace(
        runs=runs,
        resolved=lambda _: {},
        tracking=SimpleNamespace(mode="off"),
        reuse=SimpleNamespace(enabled=True),
    )
    sweep = SimpleNamespace(name="s", folder=tmp_path, config=config, source_name="s1")

    async def batches():
        yield runs

    progress = SimpleNamespace(start_run=lambda _: None)
    with pytest.raises(DiskError, match="the disk is full"):
        asyncio.run(train_runs._interleave(sweep, batches(), Runner.backend, None, None, progress, None))
    assert others_end == ["b/seed=0"]
    assert [SweepFiles(tmp_path).status(each.run.name)["state"] for each in runs] == ["running"] * 2


def test_of_several_engines_one_that_cannot_write_gives_its_runs_to_the_others():
    trained, notes = [], []

    class Engine:
        def __init__(self, full):
            self.full = full

        async def start(self, note):
            return "ready"

        async def train(self, names):
            if self.full:
                raise DiskError("Could not write x: the disk is full")
            trained.extend(names)

        async def stop(self):
            return None

    async def work(*full):
        make = [lambda one=one: Engine(one) for one in full]
        pool = EnginePool([("a",), ("b",)], make, lambda names: names, lambda _: None, notes.append, notes.append)
        await pool.work()

    asyncio.run(work(True, False))
    assert sorted(trained) == ["a", "b"]
    assert Counter(note for note in notes if "disk is full" in note).total() == 1  # not tried three times
    with pytest.raises(DiskError, match="the disk is full"):
        asyncio.run(work(True, True))
    assert not issubclass(DiskError, EngineError)


def test_a_log_on_a_full_disk_is_lost_and_raises_nothing():
    log = log_stream(Path("/dev/full"))
    print("libraries print", file=log)
    log.close()


READ_ONLY = [
    (["report", "SWEEP"], "report.html"),
    (["archive", "SWEEP"], ".lock"),
]


@pytest.mark.parametrize(("command", "file"), READ_ONLY, ids=lambda v: str(v))
def test_a_read_only_folder_is_no_full_disk(command, file, tmp_path, monkeypatch, capsys):
    """Root may write anywhere but there."""

    def refuse(*arguments, **_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(arguments[0]) if arguments else None)

    sweep = write_sweep(tmp_path / "s", steps=2)
    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    monkeypatch.setattr("harness.report.page._pictures", lambda *_: ())
    if command[0] == "archive":
        monkeypatch.setattr("harness.sweep.manifest.os.open", refuse)
    assert run_command(command[0], [str(sweep) if word == "SWEEP" else word for word in command[1:]]) == 1
    said = capsys.readouterr()
    assert f"Could not write {sweep / file}: " in said.err and "mounted read-only; it is not full" in said.err
    assert said.err.count("\n") == 1
    if command[0] == "report":
        assert "Verdict" in said.out  # what can be said is said


DOOR = """
import errno, os, sys

number = int(sys.argv[1])

def fail(file):
    raise OSError(number, os.strerror(number))

os.fsync = fail
sys.argv = ["harness", *sys.argv[2:]]
from harness.__main__ import door
door()
"""


@pytest.mark.parametrize(
    ("number", "cause"), [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "your disk quota is used up")]
)
def test_a_sweep_that_cannot_write_its_plan_ends_with_1_and_one_sentence(number, cause, tmp_path):
    command = [sys.executable, "-c", DOOR, str(number), "+ablation=smoke", "sweep=s", f"results={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"DiskError: Could not write {tmp_path}/s/manifest.json: {cause}")
    assert done.stderr.count("\n") == 1
