"""A factor of another package is a factor like any other: it plans, runs, is checked, analysed and reported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.records.load import load_sweep
from harness.stats.effects import analyse

ELSEWHERE = Path(__file__).with_name("elsewhere")
CONF = ["--config-dir", str(ELSEWHERE / "mine" / "conf")]
SWEEP = [
    "fix/scale=on,off",
    "train.steps=4",
    "train.val_tasks=15",
    "validation.every=4",
    "sweep=scale",
    "tracking=off",
]


def harness(results: Path, *overrides: str) -> str:
    paths = [str(ELSEWHERE), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "harness", *CONF, "-m", f"results={results}", *overrides],
        capture_output=True,
        text=True,
        timeout=400,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_crossed_with_the_fixes_that_are_named_beside_it(tmp_path):
    shown = harness(tmp_path, "+ablation=leave_one_out", "factors=[tools,scale]", "plan_only=true")
    assert [line.strip() for line in shown.splitlines() if line.startswith("  ") and "/seed=" in line] == [
        "all_on/seed=0",
        "only_scale/seed=0",
        "only_tools/seed=0",
        "all_off/seed=0",
    ]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Both levels of it and the fully broken loop, on the real engine."""
    results = tmp_path_factory.mktemp("results")
    harness(results, *SWEEP)
    return results / "scale"


@pytest.mark.engine
def test_it_runs_and_its_check_confirms_both_levels(sweep):
    runs = {run.arm: run for run in load_sweep(sweep).runs}
    assert set(runs) == {"all_on", "without_scale"}
    for run in runs.values():
        assert (run.state, run.valid) == ("completed", True)
        assert [c.took_effect for c in run.checks if c.factor == "scale"] == [True] * 4


@pytest.mark.engine
def test_with_all_fixes_on_the_policy_really_learns(sweep):
    (run,) = load_sweep(sweep).runs_of("all_on")
    assert run.validations[-1].reference > run.validations[0].reference + 0.3


@pytest.mark.engine
def test_it_trains_another_policy_than_its_other_level(sweep):
    on, off = (load_sweep(sweep).runs_of(arm)[0] for arm in ("all_on", "without_scale"))
    assert on.steps[0]["update"] != off.steps[0]["update"]


@pytest.mark.engine
def test_its_effect_is_estimated_and_reported(sweep):
    found = load_sweep(sweep)
    (effect,) = [e for e in analyse(found).of("leave_one_out") if e.factors == ("scale",)]
    assert effect.value is not None and effect.seeds == 1
    report = (sweep / "report.md").read_text()
    assert "scale" in report and "without_scale" in report


@pytest.mark.engine
def test_the_sweep_keeps_the_factors_that_it_was_made_with(sweep):
    kept = json.loads((sweep / "manifest.json").read_text())["factors"]
    assert [factor["name"] for factor in kept][-1] == "scale"
    assert load_sweep(sweep).declared.all[-1].proof == "what the trainer was called with"


@pytest.mark.engine
def test_the_same_command_finds_it_finished(sweep):
    shown = harness(sweep.parent, *SWEEP)
    assert "2 runs planned, 0 to do" in shown
