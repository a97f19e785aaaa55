"""A sweep says where it stands while it runs, and stops when it is asked to."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.records.layout import SweepFiles
from harness.sweep import board
from harness.sweep.board import Board


def wait_for(what, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(board, "EVERY", 0.02)


@pytest.fixture
def stops(monkeypatch):
    """How often the process was interrupted."""
    asked = []
    monkeypatch.setattr(board, "interrupt", lambda: asked.append(1))
    return asked


def test_where_the_sweep_stands_is_there_while_it_runs_and_not_after(tmp_path, stops):
    files, step = SweepFiles(tmp_path), iter(range(1000))
    with Board(tmp_path, lambda: {"step": next(step)}):
        wait_for(lambda: files.now_path.exists() and json.loads(files.now_path.read_text())["step"] > 2)
        assert json.loads(files.now_path.read_text())["process"] == os.getpid()
    assert list(tmp_path.rglob("*.*")) == [] and not stops


def test_a_sweep_that_is_asked_to_stop_is_interrupted_once(tmp_path, stops):
    files = SweepFiles(tmp_path)
    with Board(tmp_path, dict):
        wait_for(files.now_path.exists)
        files.stop_path.touch()
        wait_for(lambda: not files.stop_path.exists())
        time.sleep(0.1)
    assert stops == [1]


def test_what_an_earlier_start_was_asked_stops_no_later_one(tmp_path, stops):
    files = SweepFiles(tmp_path)
    files.stop_path.parent.mkdir()
    files.stop_path.touch()
    with Board(tmp_path, dict):
        wait_for(files.now_path.exists)
    assert not stops and not files.stop_path.exists()


def test_a_folder_that_cannot_be_written_is_not_noticed(tmp_path, stops):
    (tmp_path / "logs").touch()
    with Board(tmp_path, dict):
        time.sleep(0.1)
    assert not stops


# A sweep that trains for ever; it is started with an ignored Ctrl-C where `nohup` is said.
ENDLESS = """
import asyncio, signal, sys
from pathlib import Path
if "nohup" in sys.argv:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
from harness.endings import CONTINUE, listen, run_stoppable, stoppable, stopped
from harness.sweep.display import Progress

async def work():
    with Progress(1, 1, folder=Path(sys.argv[1])) as progress, stoppable(progress.stopping):
        await asyncio.Event().wait()

listen()
try:
    run_stoppable(work())
except KeyboardInterrupt:
    sys.exit(stopped(CONTINUE))
"""


@pytest.mark.parametrize(("how", "code"), [([], 130), (["nohup"], 143)], ids=["terminal", "background"])
def test_it_ends_as_after_ctrl_c(how, code, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", ENDLESS, str(tmp_path), *how]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sweep:
        try:
            wait_for(SweepFiles(tmp_path).now_path.exists)
            SweepFiles(tmp_path).stop_path.touch()
            output, errors = sweep.communicate(timeout=60)
        finally:
            sweep.send_signal(signal.SIGKILL)
    assert sweep.returncode == code, errors
    assert "Once more (Ctrl-C) stops at once" in errors and "The same command continues" in errors
    assert "stopped" in output and not SweepFiles(tmp_path).now_path.exists()
