"""A sweep whose W&B cannot be reached, stopped in its middle. One that ends: test_several_engines.py. No vLLM."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.processes import below
from tests.tracking.fake_wandb import online, silent

pytestmark = pytest.mark.engine

TINY = [
    "+ablation=smoke",
    "train.steps=100",
    "train.groups_per_step=3",
    "train.rollouts_per_group=4",
    "train.val_tasks=50",
    "validation.max_tasks=6",
    "backend.device=cpu",
    "backend.in_flight=16",
]


@pytest.fixture
def sweep(stand_in, tmp_path):
    """With a key, and a W&B that accepts connections and never answers."""
    command = [sys.executable, "-m", "harness", *TINY, f"results={tmp_path}"]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with silent() as address:
        started = subprocess.Popen(command, env=os.environ | stand_in | online(address), **output)
        yield started
        started.kill()


def test_ctrl_c_ends_one_engine_with_one_line_and_leaves_nothing(sweep, tmp_path):
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
