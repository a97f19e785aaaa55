"""Tracking never breaks or slows a sweep, whatever W&B does. The client is real, the server is on loopback."""

import subprocess
import sys
import time
from contextlib import nullcontext, suppress
from pathlib import Path

import psutil
import pytest

import harness
from harness.commands import run_command
from harness.tracking import Background, Tracker, background, command, given_up, tracked
from tests.synthetic import leave_one_out, write_sweep
from tests.tracking.fake_wandb import silent, taking
from tests.tracking.test_tracking import needs_core

SOON = 60.0  # seconds that a busy machine may take to import wandb and start wandb-core
END = 0.5  # seconds that these tests give W&B at the end
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def online(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", NOWHERE)
    monkeypatch.delenv("WANDB_MODE", raising=False)


@pytest.fixture
def said():
    """Why W&B was given up."""
    return []


@pytest.fixture
def wandb(tmp_path, said):
    made = Background(tmp_path, said.append)
    yield made
    made.close(0)


def whole_run(wandb, run="all_on/seed=0"):
    tracker = Tracker.start(wandb, run, "all_on", 0, "s", {}, {"tools": "on"}, wandb.folder)
    tracker.step({"step": 1, "loss": 0.5})
    tracker.finish("completed")
    return tracker


def wait_for(what):
    """What `what()` finds, once it finds something."""
    deadline = time.monotonic() + SOON
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def core(of=None):
    """The wandb-core below a process."""
    return below(of, "wandb-core", recursive=True)


def process():
    """The process of W&B below this one."""
    return below(None, "harness.tracking.wandb_process", recursive=False)


def below(of, word, recursive):
    for each in psutil.Process(of).children(recursive):
        with suppress(psutil.NoSuchProcess):
            if word in " ".join(each.cmdline()):
                return each
    return None


def alive(processes):
    return [p for p in psutil.wait_procs(processes, timeout=20)[1] if p.status() != psutil.STATUS_ZOMBIE]


def close(wandb):
    """Ends it; asserts that this took no longer than it may, and that nothing of W&B is left."""
    left = [p for p in (process(), core()) if p]
    started = time.monotonic()
    assert not wandb.close(END)
    assert time.monotonic() - started < END + 2 * background.KILL_SECONDS
    assert not alive(left)


SERVERS = {
    "nobody listens": lambda: nullcontext(NOWHERE),
    "never answers": silent,
    "answers 500": lambda: taking(status=500),
}


@needs_core
@pytest.mark.parametrize("place", SERVERS)
def test_a_server_that_takes_nothing_is_not_waited_for(place, wandb, said, monkeypatch):
    with SERVERS[place]() as server:
        monkeypatch.setenv("WANDB_BASE_URL", getattr(server, "address", server))
        whole_run(wandb)
        wait_for(core)
        close(wandb)
    assert said == ["it was not done 0 s after the last run"]


@needs_core
def test_a_proxy_that_never_answers_is_not_waited_for(wandb, said, monkeypatch):
    with silent() as address:
        monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.invalid")
        monkeypatch.setenv("HTTPS_PROXY", address)
        whole_run(wandb)
        wait_for(core)
        close(wandb)
    assert len(said) == 1


@needs_core
@pytest.mark.parametrize("part", [core, process], ids=["wandb-core", "the process"])
def test_a_part_of_wandb_that_hangs_is_killed(part, wandb, said, monkeypatch):
    with taking() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.address)
        assert wandb.wait_written(whole_run(wandb).id, SOON)
        part().suspend()
        whole_run(wandb, "all_on/seed=1")
        close(wandb)
    assert len(said) == 1


def test_what_wandb_may_take_at_the_end_of_a_sweep_is_ten_seconds():
    assert background.END_SECONDS + 2 * background.KILL_SECONDS <= 10


def test_calls_do_not_pile_up(wandb, said, tmp_path, monkeypatch):
    monkeypatch.setattr(background, "CALLS", 3)
    wandb = Background(tmp_path, said.append)
    wandb.start()
    wait_for(process).suspend()
    row = {"text": "x" * 2**16}  # as much as a pipe holds
    for _ in range(10):
        wandb.send("run", log=row)
    assert said == ["it left 3 calls waiting"]
    close(wandb)


def test_a_process_that_was_killed_is_told_once(wandb, said):
    wandb.start()
    wait_for(process).kill()
    wait_for(lambda: said)
    whole_run(wandb)
    close(wandb)
    assert len(said) == 1 and "ended with status -9" in said[0]


def test_a_folder_that_cannot_be_written_breaks_nothing(wandb, said, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tmp_path / "wandb").touch()
    (tmp_path / "logs").touch()
    whole_run(wandb)
    wait_for(lambda: said)
    close(wandb)
    assert "NotADirectoryError" in said[0] and len(said) == 1


def test_a_call_that_is_no_json_breaks_nothing(wandb, said):
    wandb.send("run", log={"x": object()})
    assert len(said) == 1


STARTS = """
import sys, time
from pathlib import Path
from harness.tracking import Background, Tracker

background = Background(Path(sys.argv[1]), print)
Tracker.start(background, "all_on/seed=0", "all_on", 0, "s", {}, {"tools": "on"}, background.folder)
time.sleep(600)
"""


@needs_core
def test_nothing_of_wandb_outlives_a_killed_sweep_or_calls_home(tmp_path):
    root = str(Path(harness.__file__).parents[1])
    with subprocess.Popen([sys.executable, "-c", STARTS, str(tmp_path)], cwd=root) as sweep:
        try:
            service = wait_for(lambda: core(sweep.pid))
            both = [service, service.parent()]
            assert "--no-observability" in service.cmdline()  # wandb-core's reports to Sentry
        finally:
            sweep.kill()
    assert not alive(both)


@needs_core
def test_track_uploads_what_wandb_missed(tmp_path, capsys, monkeypatch):
    sweep = write_sweep(tmp_path / "s", arms=leave_one_out()[:2], steps=2)
    monkeypatch.setattr(command, "RUN_SECONDS", 0.1)
    assert run_command("track", [str(sweep)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "took 0 of 2 runs" in line and "The same command writes all of them again" in line
    monkeypatch.setattr(command, "RUN_SECONDS", SOON)
    with taking() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.address)
        assert run_command("track", [str(sweep)]) == 0
    address, written, _ = capsys.readouterr().out.splitlines()
    assert address == f"W&B: {server.address}/me/tau-bench-ablation/groups/s"
    assert written == "2 runs of s written to W&B, online."
    assert [[r["step"] for r in run.rows if "train/reward" in r] for run in server.runs.values()] == [[1, 2]] * 2


def test_track_refuses_a_mode_that_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert run_command("track", [str(write_sweep(tmp_path / "s", arms=leave_one_out()[:2], steps=2))]) == 2
    assert "--mode offline" in capsys.readouterr().err


def test_engines_of_one_start_say_it_once_and_a_later_one_does_not_try(tmp_path):
    (tmp_path / "logs").mkdir()
    shown = []
    for _ in range(2):
        given_up.say_once(tmp_path, shown.append, "no network")
    assert shown == [given_up.said(tmp_path)] and "no network" in shown[0]
    with tracked(tmp_path, on=True, show=shown.append) as later:
        whole_run(later)
        assert process() is None
    given_up.try_again(tmp_path)
    assert len(shown) == 1 and given_up.said(tmp_path) == ""
