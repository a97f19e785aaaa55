"""An engine in a process of its own: what it is told, and how it ends. No server is started."""

import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import psutil
import pytest

from harness.errors import ConfigError, EngineError
from harness.launch.engine_process import EngineProcess, LoggedProgress
from harness.launch.work_order import WorkOrder, digest_of_manifest
from harness.sweep.plan import prepare


@pytest.fixture
def order(sweep_config):
    sweep = prepare(sweep_config("sweep=s", runs=[["fix/tools=off"], []]))
    return WorkOrder.of(sweep, sweep.config.runs)


def test_an_order_gives_the_same_runs_on_the_other_side(order, sweep_config):
    sweep = WorkOrder.from_json(order.to_json()).load()
    assert [config.run.name for config in sweep.config.runs] == ["without_tools/seed=0", "all_on/seed=0"]
    config = sweep_config()
    assert sweep.config.resolved(sweep.config.runs[1]) == config.resolved(config.runs[0])
    assert str(sweep.folder) == order.folder


def test_a_folder_that_is_not_shared_is_named_and_nothing_is_made_there(order, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.launch.work_order.PATIENCE", 0.3)
    elsewhere = tmp_path / "another-disk"
    with pytest.raises(ConfigError, match="Results must lie on a path that all machines share"):
        EngineProcess(0).start(replace(order, folder=str(elsewhere)))
    assert not elsewhere.exists()


def test_a_folder_of_another_sweep_is_not_taken_for_the_shared_one(order, monkeypatch):
    monkeypatch.setattr("harness.launch.work_order.PATIENCE", 0.3)
    with pytest.raises(ConfigError, match="is missing or another one"):
        replace(order, manifest="0" * 64).check_shared()


def test_a_machine_with_other_versions_is_refused_with_the_difference(order, tmp_path):
    path = tmp_path / "s" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["sources"][manifest["source"]]["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(manifest))
    engine = EngineProcess(0)
    try:
        with pytest.raises(ConfigError, match="cannot take part") as error:
            engine.start(replace(order, manifest=digest_of_manifest(path)))
    finally:
        spent = engine.stop()
    assert "torch: 1.0 there" in str(error.value)
    assert spent is not None and spent.counts == {}


def test_a_killed_engine_is_lost_and_its_log_is_named(order):
    engine = EngineProcess(3)

    def kill():
        while engine._process is None:
            time.sleep(0.01)
        engine._process.kill()

    threading.Thread(target=kill).start()
    with pytest.raises(EngineError, match=r"engine 3 on .* ended.*engine-3/harness.log"):
        engine.start(order)
    assert engine.stop() is None


def test_what_an_engine_notes_reaches_its_starter_between_the_answers():
    lines: list[str] = []
    engine = EngineProcess(0)
    engine.note, engine._process = lines.append, SimpleNamespace(poll=lambda: None)
    with LoggedProgress(1, 1, lambda line: engine._answers.put(json.dumps({"note": line}))) as progress:
        progress.note("GPU 1 has no room")
    engine._answers.put('{"ready": "node-7"}')
    assert engine._answer() == {"ready": "node-7"}
    assert lines == ["GPU 1 has no room"]


def test_an_engine_ends_when_its_starter_is_gone(order):
    starter = (
        "import sys\n"
        "from harness.launch.engine_process import EngineProcess\n"
        "from harness.launch.work_order import WorkOrder\n"
        "EngineProcess(0).start(WorkOrder.from_json(sys.stdin.read()))"
    )
    process = subprocess.Popen([sys.executable, "-c", starter], stdin=subprocess.PIPE, text=True)
    process.stdin.write(order.to_json())
    process.stdin.close()
    deadline = time.monotonic() + 60
    while not (below := psutil.Process(process.pid).children(recursive=True)) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert below
    _, alive = psutil.wait_procs(below, timeout=60)
    assert not alive
