"""The product as a user runs it, on the real engine: vLLM, tau2, ART, LoRA training, W&B offline."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harness.factors import FIX
from harness.fixes import registry
from harness.fixes.registry import note
from harness.launch.in_process import train_here
from harness.records.json_files import read_lines
from harness.sweep.plan import prepare
from tests.processes import below

pytestmark = pytest.mark.engine

TINY = [
    "train.groups_per_step=3",
    "train.rollouts_per_group=4",
    "validation.max_tasks=6",
    "validation.every=1",
    "train.val_tasks=50",
    "backend.in_flight=16",
]


def command(results: Path, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "harness", "+ablation=smoke", f"results={results}", *TINY, *overrides]


def curves(folder: Path) -> dict[str, list[dict]]:
    """Reference and reported rewards by task, per run and validation."""
    return {
        path.parent.parent.name: [
            {"step": line["step"], "reference": line["reference"]["by_task"], "reported": line["reported"]["by_task"]}
            for line in read_lines(path)
        ]
        for path in folder.glob("runs/*/*/validation.jsonl")
    }


def stored(folder: Path) -> set[str]:
    """The keys of the entries in the store; a write under way (.new-…) is not yet one."""
    return {path.name for path in folder.glob("store/*/*/*") if not path.name.startswith(".")}


def wait_for(what, sweep: subprocess.Popen) -> None:
    deadline = time.monotonic() + 300
    while not what() and sweep.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.fixture(scope="module")
def killed_and_resumed(tmp_path_factory):
    """A sweep that is killed (-9) after its first update, and started again by the same command, whose server is killed
    once it has answered."""
    folder = tmp_path_factory.mktemp("results") / "smoke"
    first = subprocess.Popen(command(folder.parent), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: list(folder.glob("store/updates/*/*")), first)
    server = [p for p in psutil.Process(first.pid).children(recursive=True) if p.is_running()]
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    psutil.wait_procs(server, timeout=20)
    before = stored(folder)  # once nobody of the first start writes any more
    second = subprocess.Popen(command(folder.parent), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for(lambda: stored(folder) - before, second)
    for process in below(second.pid, "vllm"):
        process.kill()
    output, _ = second.communicate(timeout=400)
    assert second.returncode == 0, output
    return folder, before, server, output


def test_a_killed_sweep_leaves_no_server_behind(killed_and_resumed):
    *_, server, _ = killed_and_resumed
    assert server
    _, alive = psutil.wait_procs(server, timeout=20)
    assert not alive


def test_a_server_that_dies_is_named_and_replaced(killed_and_resumed):
    *_, said = killed_and_resumed
    assert "the engine is lost: The vLLM server ended" in said and "vllm.log" in said and "Traceback" not in said


def test_the_same_command_completes_a_killed_sweep_and_keeps_what_was_computed(killed_and_resumed):
    folder, before, _, _ = killed_and_resumed
    assert before, "nothing had been stored when the sweep was killed"
    assert before <= stored(folder)
    states = [json.loads(p.read_text()) for p in folder.glob("runs/*/*/status.json")]
    assert [s["state"] for s in states] == ["completed"] * 2
    reuse = json.loads((folder / "reuse.json").read_text())
    assert reuse["episodes"]["shared"] > 0


def test_every_line_of_the_records_is_there_once(killed_and_resumed):
    folder, *_ = killed_and_resumed
    folders = list(folder.glob("runs/*/*"))
    assert len(folders) == 2
    for run_folder in folders:
        assert [line["step"] for line in read_lines(run_folder / "steps.jsonl")] == [1, 2]
        assert [line["step"] for line in read_lines(run_folder / "validation.jsonl")] == [0, 1, 2]
        assert len(read_lines(run_folder / "checks.jsonl")) == 2 * sum(f.role == FIX for f in registry.own())


def test_all_arms_of_a_seed_start_from_the_same_reference_validation(killed_and_resumed):
    folder, *_ = killed_and_resumed
    starts = [lines[0]["reference"] for lines in curves(folder).values()]
    assert len(starts) == 2 and starts[0] == starts[1]


def test_every_switch_of_both_ends_took_effect(killed_and_resumed):
    folder, *_ = killed_and_resumed
    states = [json.loads(path.read_text()) for path in folder.glob("runs/*/*/status.json")]
    assert [(s["validity"], s["invalid"]) for s in states] == [("valid", [])] * 2


def test_trainer_and_sampler_agree_on_the_policy(killed_and_resumed):
    folder, *_ = killed_and_resumed
    trained = [s for s in read_lines(folder / "runs/all_on/seed=0/steps.jsonl") if s["gradient_steps"]]
    assert trained and trained[0]["logprob_gap"] < 1e-3


def test_what_upstream_would_have_reported_stands_beside_the_reference(killed_and_resumed):
    folder, *_ = killed_and_resumed
    (last,) = read_lines(folder / "runs/all_off/seed=0/validation.jsonl")[-1:]
    assert last["reported"]["n"] == 50 and last["reported"]["nonexistent"] == 5
    assert last["reference"]["missing"] == 0


def test_the_inert_arm_is_named(killed_and_resumed):
    folder, *_ = killed_and_resumed
    status = json.loads((folder / "runs/all_off/seed=0/status.json").read_text())
    assert "inert: every step advanced without training" in status["findings"]


def test_a_sweep_ends_with_a_table_and_plots(killed_and_resumed):
    folder, _, _, output = killed_and_resumed
    assert "all_on" in output and "all_off" in output
    assert (folder / "report.html").stat().st_size > 10_000
    assert list((folder / "figures").glob("*.png"))


def test_a_finished_sweep_starts_no_engine_again(killed_and_resumed):
    folder, *_ = killed_and_resumed
    log = folder / "logs/vllm.log"
    before = log.stat().st_mtime_ns
    done = subprocess.run(command(folder.parent), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert log.stat().st_mtime_ns == before


def test_another_configuration_is_refused_in_the_same_folder(killed_and_resumed):
    folder, *_ = killed_and_resumed
    done = subprocess.run(command(folder.parent, "train.learning_rate=2e-4"), capture_output=True, text=True)
    assert done.returncode != 0
    assert "train.learning_rate: 0.0015 there, 0.0002 now" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_reuse_the_same_sweep_gives_the_same_validation(killed_and_resumed, sweep_config):
    """In this process, which has loaded the libraries."""
    folder, *_ = killed_and_resumed
    off = [f"fix/{name}=off" for name in note().names]
    sweep = prepare(sweep_config("sweep=smoke", "train.steps=2", *TINY, "reuse=off", "tracking=off", runs=[(), off]))
    train_here(sweep, sweep.config.runs)
    assert curves(sweep.folder) == curves(folder)
    reuse = json.loads((sweep.folder / "reuse.json").read_text())
    assert reuse["episodes"]["computed"] == reuse["episodes"]["asked"]
