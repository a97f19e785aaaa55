"""What a W&B server holds in the end: after a run online, one offline and synced, one killed and resumed, `track`."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness.commands import run_command
from harness.records.load import load_sweep
from harness.tracking import Background, Tracker
from harness.tracking.tracker import run_id
from tests.processes import wait_until
from tests.synthetic import leave_one_out, write_sweep
from tests.tracking.conftest import KEY
from tests.tracking.test_tracking import LEVELS, PATIENCE, needs_core, validation

pytestmark = needs_core
RUN = "without_tools/seed=0"
TINY = ["+ablation=smoke", "train.steps=3", "train.groups_per_step=3", "train.rollouts_per_group=4"]
TINY += ["train.val_tasks=50", "validation.max_tasks=6", "backend.device=cpu", "backend.in_flight=16", "tracking=wandb"]


def write(folder, steps, until="completed"):
    """One run of so many steps, by the real client. until: None: it is not ended"""
    background = Background(folder, pytest.fail)
    tracker = Tracker.start(background, RUN, "without_tools", 0, "s", {"lr": 1e-4}, LEVELS, folder)
    for step in range(1, steps + 1):
        tracker.step({"step": step, "loss": 0.5})
        tracker.validation(validation(step, reference=step / 10))
    if until:
        tracker.finish(until, "valid")
        assert background.close(PATIENCE)
    return background


def sync(folder):
    """As a user does it, who copies the line that `harness track` prints."""
    command = [sys.executable, "-m", "wandb", "sync", *map(str, folder.glob("wandb/offline-run-*"))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def seen(run):
    """What a user finds there, without times."""
    rows = [{key: value for key, value in row.items() if key[0] != "_"} for row in run.rows]
    summary = {key: value for key, value in run.summary.items() if key[0] != "_"}
    config = {key: value for key, value in run.config.items() if key[0] != "_"}
    said = {key: run.said[key] for key in ("displayName", "groupName", "jobType", "tags", "notes", "project")}
    return said | {"rows": rows, "summary": summary, "config": config, "exit": run.exit_code}


def test_a_run_online_has_its_name_rows_and_summary(server, tmp_path):
    write(tmp_path, steps=2)
    there = seen(server.named(RUN))
    assert (there["groupName"], there["jobType"], there["exit"]) == ("s", "train", 0)
    assert there["config"]["fix"] == LEVELS
    assert [(row["step"], row["val/reward"], row["train/loss"]) for row in there["rows"]] == [
        (1, 0.1, 0.5),
        (2, 0.2, 0.5),
    ]
    assert there["summary"].items() >= {"state": "completed", "validity": "valid", "first": 0.1, "last": 0.2}.items()


def test_offline_and_synced_is_what_online_is(server, tmp_path, monkeypatch):
    write(tmp_path / "online", steps=2)
    online = seen(server.named(RUN))
    server.runs.clear()
    monkeypatch.setenv("WANDB_MODE", "offline")
    write(tmp_path / "offline", steps=2)
    assert not server.runs
    sync(tmp_path / "offline")
    assert seen(server.named(RUN)) == online


KILLED = """
import sys, time
from pathlib import Path
from tests.tracking.test_served import write

write(Path(sys.argv[1]), 3, until=None)
time.sleep(600)
"""


def test_a_run_that_was_killed_offline_and_resumed_is_synced_once(server, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    root = Path(harness.__file__).parents[1]
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], cwd=root) as process:
        wait_until(lambda: any(file.stat().st_size for file in tmp_path.glob("wandb/offline-run-*/*.wandb")))
        process.send_signal(signal.SIGKILL)
    write(tmp_path, steps=5)  # resume is replay
    sync(tmp_path)
    assert list(server.runs) == [run_id("s", RUN, "")]
    assert [row["step"] for row in server.named(RUN).rows] == [1, 2, 3, 4, 5]


def test_track_replaces_what_a_stopped_sweep_left(server, tmp_path):
    folder = write_sweep(tmp_path / "s", arms=leave_one_out()[:2], steps=3)
    created = json.loads((folder / "manifest.json").read_text())["created"]
    stopped = Background(folder, pytest.fail)
    tracker = Tracker.start(stopped, "all_on/seed=0", "all_on", 0, "s", {}, LEVELS, folder)
    tracker.validation(validation(0))
    tracker.finish("stopped")
    assert stopped.close(PATIENCE)
    assert run_command("track", [str(folder)]) == 0
    runs = [run.name for run in load_sweep(folder).runs]
    assert {id: run.said["displayName"] for id, run in server.runs.items()} == {
        run_id("s", n, created): n for n in runs
    }
    for name in runs:
        assert [row["step"] for row in server.named(name).rows] == [0, 1, 2, 3]
    assert server.named("without_endpoint/seed=0").summary["vs_all_on/last"] < 0


@pytest.mark.engine
def test_a_sweep_that_was_killed_and_resumed_doubles_no_row_and_no_run(server, stand_in, tmp_path):
    command = [sys.executable, "-m", "harness", *TINY, f"results={tmp_path}"]
    with subprocess.Popen(command, env=os.environ | stand_in, stdout=subprocess.DEVNULL) as sweep:
        wait_until(lambda: any(run.rows for run in server.runs.values()), seconds=300)
        sweep.send_signal(signal.SIGKILL)
    before = {id: run.exit_code for id, run in server.runs.items()}
    done = subprocess.run(command, env=os.environ | stand_in, capture_output=True, text=True, timeout=500)
    assert done.returncode == 3, done.stdout + done.stderr  # the stand-in's log-probs are nobody's
    runs = [run.name for run in load_sweep(tmp_path / "smoke").runs]
    assert None in before.values() and before.keys() <= server.runs.keys()
    for name in runs:
        assert [row["step"] for row in server.named(name).rows] == [0, 1, 2, 3]
    assert server.named("report").exit_code == 0
    assert [set(each.files) > {"report.html", "effects.json"} for each in server.artifacts["smoke-report"]] == [True]
    assert [path for path in files(tmp_path) if KEY.encode() in path.read_bytes()] == []
