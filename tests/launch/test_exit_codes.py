"""How a command ends: 0 done, 1 a run failed, 2 wrong input, 3 a run is INVALID, 130 interrupted. No engine."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra.errors import HydraException

from harness.errors import ConfigError, EngineError, Exit, SetupError
from harness.launch.execute import execute
from harness.launch.run import errors_as_sentences
from harness.records.run_records import RunRecords

DONE = {"state": "completed", "validity": "valid"}
FAILED = {"state": "failed", "error": "out of memory"}
INVALID = {"state": "completed", "validity": "INVALID", "invalid": [{"factor": "tools", "reading": "absent"}]}

ENDINGS = [
    ([DONE, DONE], Exit.DONE),
    ([DONE, FAILED], Exit.FAILED),
    ([DONE, None], Exit.FAILED),  # the engine left it
    ([DONE, INVALID], Exit.INVALID),
    ([FAILED, INVALID], Exit.FAILED),
]


@pytest.mark.parametrize(("statuses", "code"), ENDINGS)
def test_a_sweep_ends_with_what_became_of_its_runs(statuses, code, sweep_config, monkeypatch):
    def train(sweep, runs):
        for run, status in zip(runs, statuses, strict=True):
            records = RunRecords(sweep.folder / "runs" / run.run.name)
            records.set_status(run=run.run.name, **(status or {"state": "running"}))

    monkeypatch.setattr("harness.launch.execute.report", lambda *_: None)
    config = sweep_config("sweep=s", runs=[[], ["fix/tools=off"]])
    assert execute(config, train) is code


@pytest.fixture(autouse=True)
def signals_as_before():
    """Who was stopped once ends at once from then on; not so the process of these tests."""
    heard = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in heard.items():
        signal.signal(number, handler)


WRONG = [
    (ConfigError("no"), 2, "ConfigError: no"),
    (HydraException("no"), 2, "ConfigError: no"),
    (SetupError("no network"), 1, "SetupError: no network"),  # the command is right
    (EngineError("gone"), 1, "EngineError: gone"),
    (KeyboardInterrupt(), 130, "The same command continues"),
]


@pytest.mark.parametrize(("error", "code", "text"), WRONG, ids=lambda v: str(v))
def test_what_goes_wrong_is_a_sentence_and_a_code(error, code, text, capsys):
    with pytest.raises(SystemExit) as ended, errors_as_sentences():
        raise error
    assert ended.value.code == code
    assert text in capsys.readouterr().err


def test_an_error_that_hydra_wraps_is_still_ours(capsys):
    with pytest.raises(SystemExit) as ended, errors_as_sentences():
        raise HydraException("wrapped") from EngineError("gone")
    assert ended.value.code == 1 and "EngineError: gone" in capsys.readouterr().err


# A sweep whose training takes for ever, in a process of its own, since Ctrl-C is a signal.
ENDLESS = """
import asyncio, sys
import harness.launch.local as local

async def forever(sweep, runs):
    (sweep.folder / "training").touch()
    await asyncio.sleep(600)

local.train_here = lambda sweep, runs: asyncio.run(forever(sweep, runs))
from harness.launch.run import run
sys.argv = ["harness", *sys.argv[1:]]
run()
"""


@pytest.mark.parametrize("sweep", ["+ablation=smoke", "seed=0"], ids=["a sweep", "one run"])
def test_ctrl_c_ends_with_130_and_no_traceback(sweep, tmp_path):
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", ENDLESS, sweep, "sweep=s", f"results={tmp_path}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    deadline = time.monotonic() + 120
    while not (tmp_path / "s" / "training").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "The same command continues where it stopped" in errors and "Traceback" not in errors
