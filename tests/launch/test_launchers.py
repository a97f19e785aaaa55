"""Where engines can be, and what is said when they cannot. No cluster, no engine."""

import asyncio
import builtins
import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import submitit

from harness.errors import ConfigError, EngineError
from harness.launch import ray_launcher, slurm_launcher
from harness.launch.local import engines_here, gpu_shares
from harness.launch.ray_launcher import connect, places
from harness.launch.slurm_launcher import Jobs, SlurmLauncher, UnitJob, sum_of
from harness.machine.gpu import Gpu
from harness.sections import BackendConfig
from harness.sweep.cost import EngineCost, StartCost
from tests.processes import wait_until

CPU = {"kind": "shared", "device": "cpu"}


@pytest.fixture
def four_gpus(monkeypatch):
    found = lambda: tuple(Gpu(index, "H100", 80.0) for index in range(4))  # noqa: E731
    monkeypatch.setattr("harness.launch.local.gpus", found)
    monkeypatch.setattr("harness.sections.gpus", found)


SHARES = [  # backend, runs -> GPUs of each engine
    ({"kind": "shared"}, 8, [[0], [1], [2], [3]]),
    ({"kind": "shared", "engines": 2}, 8, [[0, 1], [2, 3]]),
    ({"kind": "shared"}, 2, [[0, 1], [2, 3]]),
    ({"kind": "shared"}, 1, [[0, 1, 2, 3]]),
    ({"kind": "shared", "engines_per_gpu": 2}, 16, [[0], [1], [2], [3], [0], [1], [2], [3]]),
    ({"kind": "shared", "engines_per_gpu": 2, "engines": 5}, 16, [[0], [1], [2], [3], [0]]),
    ({"kind": "shared", "engines_per_gpu": 2}, 2, [[0, 1], [2, 3]]),
    ({"kind": "shared", "placement": "split"}, 8, [[0, 1], [2, 3]]),
    ({"kind": "shared", "placement": "split", "sampler_gpus": 2}, 8, [[0, 1, 2, 3]]),
    ({"kind": "art_local"}, 8, [[0, 1, 2, 3]]),
    ({"kind": "art_local", "engines": 2}, 8, [[0, 1], [2, 3]]),
    (CPU, 8, [[]]),
    (CPU | {"engines": 2}, 8, [[], []]),
]


@pytest.mark.parametrize(("backend", "runs", "shares"), SHARES)
def test_the_engines_of_a_node_share_its_gpus(backend, runs, shares, four_gpus):
    assert gpu_shares(BackendConfig(**backend), runs) == shares


def test_more_engines_than_gpus_are_refused_but_can_be_planned(four_gpus):
    assert engines_here(BackendConfig("shared", engines=5), 8) == 5
    with pytest.raises(ConfigError, match=r"backend.engines is 5, and 4 GPUs are visible, with 1 on each"):
        gpu_shares(BackendConfig("shared", engines=5), 8)


def test_more_split_engines_than_pairs_of_gpus_are_refused(four_gpus):
    with pytest.raises(ConfigError, match=r"backend.engines is 3, and 4 GPUs are visible, with 2 for each"):
        gpu_shares(BackendConfig("shared", placement="split", engines=3), 8)


def test_a_split_engine_that_finds_too_few_gpus_says_what_it_needs(four_gpus):
    with pytest.raises(ConfigError, match=r"needs 5 GPUs \(sampler 4, trainer 1\), and 4 are visible"):
        gpu_shares(BackendConfig("shared", placement="split", sampler_gpus=4), 8)


def test_reuse_json_says_how_many_engines_worked_at_once(tmp_path):
    for engines in (2, 1):  # the second start had one run left
        StartCost(engines=engines).add_to(tmp_path / "reuse.json")
    assert json.loads((tmp_path / "reuse.json").read_text())["engines"] == 2


def test_engines_of_one_gpu_share_its_memory():
    assert BackendConfig("shared", gpu_split=(0.5, 0.4), engines_per_gpu=2).memory == (0.25, 0.2)
    with pytest.raises(ConfigError, match="takes a whole GPU"):
        BackendConfig("art_local", engines_per_gpu=2)


def test_one_port_cannot_serve_two_engines():
    with pytest.raises(ConfigError, match=r"backend.port is given for 2 engines"):
        gpu_shares(BackendConfig(**CPU, engines=2, port=8000), 8)


PLACES = [  # backend, gpus asked, GPUs and nodes of the cluster -> engines, GPUs of each
    ({"kind": "shared"}, None, 8.0, 2, (8, 1.0)),
    ({"kind": "art_local"}, 2, 8.0, 2, (4, 2)),
    ({"kind": "shared", "engines": 3}, None, 8.0, 2, (3, 1.0)),
    ({"kind": "shared", "engines_per_gpu": 2}, None, 8.0, 2, (16, 0.5)),
    ({"kind": "shared", "engines_per_gpu": 5}, None, 1.0, 1, (5, 0.2)),
    ({"kind": "shared", "placement": "split"}, None, 8.0, 2, (4, 2.0)),
    ({"kind": "shared"}, None, 0.0, 3, (3, 0.0)),
    (CPU, None, 8.0, 2, (2, 0.0)),
]


@pytest.mark.parametrize(("backend", "wished", "cluster_gpus", "nodes", "expected"), PLACES)
def test_a_ray_cluster_gets_as_many_engines_as_it_holds(backend, wished, cluster_gpus, nodes, expected):
    assert places(BackendConfig(**backend), wished, cluster_gpus, nodes) == expected


def without(monkeypatch, package: str) -> None:
    """Importing the package fails, as where it is not installed."""
    real = builtins.__import__

    def refuse(name, *rest):
        if name == package:
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_without_ray_the_error_says_how_to_get_it(monkeypatch):
    without(monkeypatch, "ray")
    with pytest.raises(ConfigError, match="pip install"):
        connect(None)


def test_a_ray_cluster_that_is_not_there_is_named_at_once():
    with pytest.raises(ConfigError, match="No Ray cluster was reached at '127.0.0.1:1'"):
        connect("127.0.0.1:1")


class Remote:
    """An actor's method. answer: what it gives after a while; None: the actor has no place"""

    def __init__(self, answer):
        self.answer = answer

    async def remote(self, _order):
        await asyncio.sleep(0.1 if self.answer else 3600)
        return self.answer


def started(answer, has_machine, monkeypatch):
    monkeypatch.setattr(ray_launcher, "LOOK", 0.01)
    monkeypatch.setattr(ray_launcher, "_has_machine", lambda: has_machine)
    order = SimpleNamespace(to_json=lambda: "{}")
    engine = ray_launcher._RayEngine(order, lambda: SimpleNamespace(start=Remote(answer)))
    return asyncio.run(asyncio.wait_for(engine.start(print), 20))


def test_an_engine_waits_for_a_place_in_a_ray_cluster_while_it_has_a_machine(monkeypatch):
    assert started("node-7", True, monkeypatch) == "ready on node-7"
    with pytest.raises(EngineError, match="no machine of the Ray cluster lives any more. Start Ray"):
        started(None, False, monkeypatch)


RAYLET = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
WORKER = """
import os, threading, time
from harness.launch.ray_launcher import end_with
threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
print(os.getpid(), flush=True)
time.sleep(600)
"""


def test_a_ray_worker_that_is_at_work_ends_with_its_raylet():
    raylet = subprocess.Popen([sys.executable, "-c", RAYLET, WORKER], stdout=subprocess.PIPE, text=True)
    worker = psutil.Process(int(raylet.stdout.readline()))
    try:
        with pytest.raises(psutil.TimeoutExpired):
            worker.wait(1.5)
        raylet.kill()
        wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, 20)
    finally:
        for process in (raylet, worker):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        raylet.communicate()


def test_without_submitit_the_error_says_how_to_get_it(monkeypatch, tmp_path):
    without(monkeypatch, "submitit")
    with pytest.raises(ConfigError, match="pip install"):
        Jobs(tmp_path, "slurm", {})


def harness(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "harness", *arguments], capture_output=True, text=True)


def test_help_lists_the_launchers():
    text = harness("--help").stdout
    assert "hydra/launcher=node|ray|slurm" in text


@pytest.mark.parametrize("sweep", [["+ablation=smoke"], []], ids=["sweep", "one run"])
def test_without_sbatch_the_error_says_what_to_do(sweep, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    done = harness(*sweep, "hydra/launcher=slurm", f"results={tmp_path}")
    assert done.returncode != 0
    assert "hydra.launcher.cluster=local" in done.stderr and "Traceback" not in done.stderr


def test_a_mistyped_launcher_is_answered_with_what_was_meant(tmp_path):
    done = harness("+ablation=smoke", "hydra/launcher=slrum", f"results={tmp_path}")
    assert "Did you mean 'slurm'" in done.stderr and "Traceback" not in done.stderr


def launcher(**options) -> SlurmLauncher:
    usual = {"cluster": "slurm", "partition": "gpu", "minutes": 60, "gpus": None, "cpus": 8, "memory_gb": None}
    return SlurmLauncher(**{**usual, "options": {"account": "physics"}, "setup": [], **options})


def test_what_submitit_is_told_of_a_job():
    told = launcher().parameters("sweep", BackendConfig("shared"))
    assert told == {
        "name": "harness-sweep",
        "slurm_partition": "gpu",
        "timeout_min": 60,
        "cpus_per_task": 8,
        "gpus_per_node": 1,
        "tasks_per_node": 1,
        "slurm_additional_parameters": {"account": "physics"},
    }
    assert "gpus_per_node" not in launcher().parameters("sweep", BackendConfig(**CPU))


STATES = [
    ("RUNNING", 1e6, True),
    ("PENDING", 1e6, True),
    ("REQUEUED", 1e6, True),
    ("COMPLETED", 1.0, False),
    ("CANCELLED by 1000", 1.0, False),
    ("TIMEOUT", 1.0, False),
    ("UNKNOWN", 5.0, True),
    ("UNKNOWN", 1e6, False),
]


@pytest.mark.parametrize(("state", "age", "live"), STATES)
def test_which_jobs_of_an_earlier_start_go_on(state, age, live):
    assert slurm_launcher._is_live(state, age) is live


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """Jobs on a cluster where job 1 runs, 2 has ended, and nothing can be submitted."""
    found = Jobs(tmp_path, "local", {})
    found.cluster = "slurm"
    found._job_of = lambda job_id: SimpleNamespace(job_id=job_id, state={"1": "RUNNING", "2": "COMPLETED"}[job_id])
    lines = [
        {"job": "1", "runs": ["a", "b", "done"], "submitted": time.time()},
        {"job": "2", "runs": ["c"], "submitted": time.time()},
    ]
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return found


def test_a_job_that_goes_on_is_watched_again_and_not_submitted_twice(jobs):
    assert jobs.live(["a", "b", "c"]) == [("a", "b")]
    assert jobs.submit(("a", "b"), work=None).job_id == "1"


# In a module of its own, since the job's process imports it.
INTERRUPTED = """
import time
from pathlib import Path

class FakeEngine:
    def __init__(self, number):
        self.log = Path(__file__).with_name("tries")

    def start(self, order):
        pass

    def train(self, names):
        with self.log.open("a") as log:
            log.write("x")
        while self.log.read_text() == "x":  # the first try takes until it is interrupted
            time.sleep(0.02)

    def stop(self):
        return len(self.log.read_text())
"""


def test_a_preempted_job_is_queued_again_and_continues(tmp_path, monkeypatch):
    module = tmp_path / "interrupted_engine.py"
    module.write_text(INTERRUPTED)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(slurm_launcher.__file__).parents[2]}")
    from interrupted_engine import FakeEngine

    order = '{"name": "", "folder": "", "manifest": "", "factors": [], "config": {}, "runs": [], "server_python": null}'
    executor = submitit.AutoExecutor(tmp_path / "jobs", cluster="local")
    executor.update_parameters(timeout_min=60)
    job = executor.submit(UnitJob(order, 0, ("a",), FakeEngine))
    tries = tmp_path / "tries"
    deadline = time.monotonic() + 60
    while not tries.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    (process,) = psutil.Process(int(job.job_id)).children()
    process.send_signal(signal.SIGUSR2)  # as Slurm does before it takes the machine away
    assert job.result() == 2


def test_what_jobs_spent_one_after_another_adds_up():
    parts = [EngineCost({"episodes/computed": 2}, 1.0, 3.0), EngineCost({"episodes/asked": 4}, 2.0, 1.0)]
    assert sum_of(parts) == EngineCost({"episodes/computed": 2, "episodes/asked": 4}, 3.0, 3.0)
