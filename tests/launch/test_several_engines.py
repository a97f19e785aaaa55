"""A sweep on several engines, one of which is killed in the middle of a run while W&B cannot be reached. Everything is
real but vLLM's server."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harness.fixes.registry import note
from harness.launch.in_process import train_here
from harness.records.json_files import read_lines
from harness.sweep.plan import prepare
from tests.processes import below
from tests.tracking.fake_wandb import online, silent

pytestmark = pytest.mark.engine

STEPS = 6  # enough that a run is still in its middle when its first updates are in the store
TINY = [
    f"train.steps={STEPS}",
    "train.groups_per_step=3",
    "train.rollouts_per_group=4",
    "train.val_tasks=50",
    "validation.max_tasks=6",
    "validation.every=2",
    "backend.device=cpu",
    "backend.in_flight=16",
]
INVALID = 3  # the exit code: the stand-in's log-probs are nobody's
RUNS = ("all_on/seed=0", "all_off/seed=0")
RAY = ["hydra/launcher=ray", "hydra.launcher.address=local", "backend.engines=2"]


@pytest.fixture(scope="module")
def start(stand_in):
    """(results, overrides, environment) -> the started command."""

    def popen(results: Path, *overrides: str, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "harness", "+ablation=smoke", *TINY, *overrides, f"results={results}"]
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, env=os.environ | stand_in | environment, **output)

    return popen


def wait_for(what, process: subprocess.Popen[str], seconds: float):
    """What `what()` finds, once it finds something."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(process.communicate()[0])
        time.sleep(0.05)
    return found


def entries(folder: Path) -> dict[str, tuple[int, str]]:
    """What the store holds: by name its inode, and the run that computed it."""
    found = {}
    for path in folder.glob("store/*/*/[!.]*"):
        head, _, _ = path.read_bytes().partition(b"\n")
        found[path.name] = path.stat().st_ino, json.loads(head)["by"]
    return found


def has_updated(folder: Path, run: str) -> bool:
    """Whether the store holds an update that a run computed."""
    heads = [path.read_bytes().partition(b"\n")[0] for path in folder.glob("store/updates/*/[!.]*")]
    return any(json.loads(head)["by"] == run for head in heads)


def engine_of(folder: Path, run: str) -> psutil.Process:
    """The engine process that trains a run, as its log tells."""
    (log,) = (p for p in folder.glob("logs/engine-*/harness.log") if f"{run} started" in p.read_text())
    return next(p for p in psutil.process_iter(["cmdline"]) if str(log.parent) in (p.info["cmdline"] or [])[-1:])


def rewards(folder: Path, run: str) -> list[float]:
    return [line["reference"]["mean"] for line in read_lines(folder / "runs" / run / "validation.jsonl")]


@pytest.fixture(scope="module")
def killed(tmp_path_factory, start):
    """A sweep on a local Ray of two workers, with a W&B that accepts connections and never answers; the worker that
    trains all_on is killed with its engine after an update."""
    results = tmp_path_factory.mktemp("killed")
    folder = results / "smoke"
    with silent() as address:
        sweep = start(results, *RAY, **online(address))
        wait_for(lambda: has_updated(folder, "all_on/seed=0"), sweep, 500)
        engine = engine_of(folder, "all_on/seed=0")
        worker = engine.parent()
        assert "EngineActor" in worker.name() or "EngineActor" in " ".join(worker.cmdline())
        engine.suspend()  # so that nothing is stored between the look and the kill
        before = entries(folder)
        steps = read_lines(folder / "runs/all_on/seed=0/steps.jsonl")
        worker.kill()
        engine.kill()  # as when a machine goes away
        output, _ = sweep.communicate(timeout=500)
    assert sweep.returncode == INVALID, output
    return folder, before, steps, output


@pytest.fixture
def undisturbed(stand_in, sweep_config, monkeypatch):
    """The same runs on one engine, in this process, which has loaded the libraries."""
    for name, value in stand_in.items():
        monkeypatch.setenv(name, value)
    off = [f"fix/{name}=off" for name in note().names]
    sweep = prepare(sweep_config("sweep=smoke", *TINY, "tracking=off", runs=[(), off]))
    train_here(sweep, sweep.config.runs)
    return sweep.folder


def test_the_worker_was_killed_in_the_middle_of_the_run(killed):
    *_, steps, output = killed
    assert len(steps) < STEPS
    assert re.search(r"engine \d is lost: its Ray worker is gone", output)


def test_every_run_completes(killed):
    folder, *_ = killed
    for run in RUNS:
        status = json.loads((folder / "runs" / run / "status.json").read_text())
        assert status["state"] == "completed"
        assert {check["factor"] for check in status["invalid"]} <= {"endpoint"}
        assert [line["step"] for line in read_lines(folder / "runs" / run / "steps.jsonl")] == list(range(1, STEPS + 1))
        assert [line["step"] for line in read_lines(folder / "runs" / run / "validation.jsonl")] == [0, 2, 4, 6]


def test_the_wandb_that_never_answers_is_named_in_one_line_whatever_engines_met_it(killed):
    folder, *_, output = killed
    (line,) = (line for line in output.splitlines() if "W&B" in line or "wandb" in line)
    assert f"`python -m harness track {folder}` writes them to W&B later" in line


def test_what_the_lost_worker_had_computed_is_kept(killed):
    folder, before, *_ = killed
    assert any(run == "all_on/seed=0" for _, run in before.values())
    after = entries(folder)
    assert {name: after.get(name) for name in before} == before


def test_nothing_is_computed_twice_but_what_was_under_way(killed):
    folder, *_ = killed
    reuse = json.loads((folder / "reuse.json").read_text())
    computed = sum(reuse[kind]["computed"] for kind in ("episodes", "updates"))
    assert computed == len(entries(folder))  # of the lost engine, too, which said nothing
    assert sum(reuse[kind]["doubled"] for kind in ("episodes", "updates")) == 0
    assert reuse["silent_engines"] == 1


def test_the_rewards_are_those_of_an_undisturbed_sweep(killed, undisturbed):
    folder, *_ = killed
    for run in RUNS:
        assert rewards(folder, run) == rewards(undisturbed, run)


def test_no_engine_outlives_a_killed_sweep(tmp_path, start):
    sweep = start(tmp_path, "backend.engines=2", "tracking=off")
    folder = tmp_path / "smoke"

    def all_of_it() -> list[psutil.Process]:
        found = psutil.Process(sweep.pid).children(recursive=True)
        return found if len(below(sweep.pid, "stand_in_server")) >= 2 else []

    processes = wait_for(all_of_it, sweep, 120)
    assert len(list(folder.glob("logs/engine-*"))) == 2
    os.kill(sweep.pid, 9)
    sweep.communicate()
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert not alive
