"""A sweep whose W&B cannot be reached: it ends, its records are whole, and it says so once. No vLLM."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from harness.records.json_files import read_lines
from tests.processes import below
from tests.tracking.fake_wandb import silent

pytestmark = pytest.mark.engine

INVALID = 3  # the exit code: the stand-in's log-probs are nobody's
TINY = [
    "+ablation=smoke",
    "train.groups_per_step=3",
    "train.rollouts_per_group=4",
    "train.val_tasks=50",
    "validation.max_tasks=6",
    "backend.device=cpu",
    "backend.in_flight=16",
]


@pytest.fixture
def start(stand_in, tmp_path):
    """A sweep with a key, and a W&B that accepts connections and never answers."""
    with silent() as address:
        started = []
        online = {"WANDB_MODE": "online", "WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": address}

        def popen(*overrides):
            command = [sys.executable, "-m", "harness", *TINY, *overrides, f"results={tmp_path}"]
            output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            started.append(subprocess.Popen(command, env=os.environ | stand_in | online, **output))
            return started[-1]

        yield popen
        for sweep in started:
            sweep.kill()


def test_a_sweep_of_two_engines_ends_with_whole_records_and_one_line(start, tmp_path):
    output, _ = (sweep := start("train.steps=2", "backend.engines=2")).communicate(timeout=500)
    assert sweep.returncode == INVALID, output
    (line,) = (line for line in output.splitlines() if "W&B" in line or "wandb" in line)
    assert f"`python -m harness track {tmp_path / 'smoke'}` writes them to W&B later" in line
    for run in ("all_on/seed=0", "all_off/seed=0"):
        folder = tmp_path / "smoke/runs" / run
        assert json.loads((folder / "status.json").read_text())["state"] == "completed"
        assert [each["step"] for each in read_lines(folder / "steps.jsonl")] == [1, 2]
        assert len(read_lines(folder / "validation.jsonl")) == 2


def test_ctrl_c_ends_one_engine_with_one_line_and_leaves_nothing(start, tmp_path):
    sweep = start("train.steps=100")
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("smoke/runs/*/*/steps.jsonl")) and time.monotonic() < deadline:
        assert sweep.poll() is None, sweep.communicate()[0]
        time.sleep(0.1)
    of_wandb = below(sweep.pid, "wandb")
    sweep.send_signal(signal.SIGINT)
    output, _ = sweep.communicate(timeout=120)
    assert sweep.returncode == 130, output
    assert output.count("W&B failed") == 1 and "Traceback" not in output
    _, left = psutil.wait_procs(of_wandb, timeout=10)
    assert not [p for p in left if p.status() != psutil.STATUS_ZOMBIE]
