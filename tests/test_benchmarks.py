"""The benchmarks run, and what they print is what was measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.synthetic import write_sweep

ROOT = Path(__file__).parent.parent


def run(program: str, *arguments: str, out: Path) -> dict:
    argv = [sys.executable, str(ROOT / "experiments" / "benchmarks" / f"{program}.py"), *arguments, "--out", str(out)]
    done = subprocess.run(argv, cwd=ROOT, env=_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (out / f"{program}.md").read_text().splitlines()[-1] in done.stdout
    return json.loads((out / f"{program}.json").read_text())


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def test_the_environments_rate_is_held_against_tau2s_own_way(tmp_path):
    (mock,) = run("env_speed", "--domains", "mock", "--processes", "1", "--seconds", "0.1", out=tmp_path)["domains"]
    assert mock["episodes_per_second"] > mock["naive_episodes_per_second"] > 0
    assert mock["episodes_per_second_processes"] > 0


def test_the_clients_ceiling_is_read_without_a_model(tmp_path):
    found = run("rollout_speed", "--answers", "--concurrent", "4", "--seconds", "1", out=tmp_path)
    (level,) = found["levels"]
    assert level["calls"] > level["episodes"] > 0
    assert level["failed"] == 0 and level["generated_tokens"] == level["tokens_per_call"] * level["calls"]


def test_the_trainers_rate_is_read_and_a_part_that_needs_a_gpu_is_left_out_without_one(tmp_path):
    parts = ("--device", "cpu", "--groups", "1", "--repeats", "1", "--parts", "attention", "tiles")
    (row,) = run("train_speed", *parts, out=tmp_path)["rows"]
    assert row["part"] == "attention" and row["tokens_per_s"] > row["trained_tokens_per_s"] > 0


def test_training_curves_are_means_over_passes_and_seeds(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=(0, 1))
    for seed in (0, 1):
        steps = folder / "runs" / "all_on" / f"seed={seed}" / "steps.jsonl"
        steps.write_text("".join(json.dumps({"step": n, "raw_reward": (n + seed) / 10}) + "\n" for n in range(1, 6)))
    program = [sys.executable, str(ROOT / "experiments" / "training_curves.py"), str(folder), "--pass-steps", "2"]
    done = subprocess.run(program, env=_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("| all_on |")]
    assert line.startswith("| all_on | 0.20 0.40 |") and line.endswith("| – |")  # the fifth step makes no pass


def test_silent_bugs_are_named_in_a_recorded_run_and_sound_runs_have_no_symptom(tmp_path):
    found = run("silent_bugs", "--runs", "1", "--sound", "2", out=tmp_path)
    unseen = [bug["bug"] for bug in found["bugs"] if not bug["within_two"]]
    assert unseen == [] and len(found["bugs"]) >= 24
    assert {name: any(runs) for name, runs in found["sound"].items()} == dict.fromkeys(found["sound"], False)
    named = sum(bool(bug["within_two"]) for bug in found["others"])
    assert named == len(found["others"]) == 28
    further = [bug["bug"] for bug in found["further"] if bug["within_two"]]
    assert len(found["further"]) == 12 and "calls masked as if cut" in further
    assert "slow rollouts not waited for" in further, "by a symptom that was written since"
    third = [bug["bug"] for bug in found["third"] if bug["within_two"]]
    assert len(found["third"]) == 12 and "newline lost where turns are joined" in third
    fourth = [bug["bug"] for bug in found["fourth"] if bug["within_two"]]
    assert len(found["fourth"]) == 12 and len(fourth) >= 10
