"""The command line, as a user types it: help, plans, multiruns and mistakes. No engine is started."""

import subprocess
import sys

import pytest


def harness(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "harness", *arguments], capture_output=True, text=True)


def planned(*arguments: str) -> list[str]:
    done = harness(*arguments, "plan_only=true")
    assert done.returncode == 0, done.stderr
    return [line.strip() for line in done.stdout.splitlines() if "/seed=" in line]


def test_a_plan_writes_nothing(tmp_path):
    assert harness("+ablation=smoke", "plan_only=true", f"results={tmp_path}").returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_cfg_job_prints_the_composed_configuration():
    assert "_target_: harness.fixes.tools.Off" in harness("fix/tools=off", "--cfg", "job").stdout


@pytest.mark.parametrize(
    ("arguments", "runs"),
    [
        (["+ablation=leave_one_out"], 8),
        (["+ablation=smoke", "seed=0,1,2"], 6),
        (["-m", "fix/tools=off,on"], 2),
        (["-m", "fix/tools=off,on", "seed=0,1"], 4),
        (["fix/tools=off"], 1),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_a_command_plans_its_runs(arguments, runs, tmp_path):
    names = planned(*arguments, f"results={tmp_path}")
    assert len(set(names)) == len(names) == runs


def test_the_full_factorial_is_halved_by_one_override(tmp_path):
    names = planned("+ablation=all", "fix/tools=on", f"results={tmp_path}")
    assert len(names) == 32


MISTAKES = [
    (["+ablation=leave_one_ou"], "Did you mean 'leave_one_out'"),
    (["fix/tool=off"], "Did you mean 'tools'"),
    (["-m", "fix/tool=off,on"], "Did you mean 'tools'"),
    (["fix/tools=of"], "Did you mean 'off'"),
    (["env=retial"], "Did you mean 'retail'"),
    (["fix.exploration.temperature=-1"], "fix.exploration.temperature is -1"),
    (["train.train_tasks=0"], "training set is empty"),
    (["train.step=3"], "train.step"),
    (["env.domain=retial"], "Did you mean 'retail'"),
    (["env.tasks=30"], "Raise env.tasks"),
    (["-m", "env.tasks=30"], "Raise env.tasks"),
    (["hydra/launcher=slurm", "hydra.launcher.cluster=here"], "expected one of slurm, local"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_a_mistake_is_answered_with_what_was_meant_and_no_traceback(arguments, message, tmp_path):
    done = harness(*arguments, f"results={tmp_path}")
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.startswith("ConfigError: ") and "Error " not in done.stderr  # nothing of Hydra's own
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
