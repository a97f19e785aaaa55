"""What the comparison makes of records: seconds, projections, a table."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

import harness

PATH = Path(harness.__file__).parent.parent / "experiments" / "benchmarks" / "stock_vs_shared.py"
spec = importlib.util.spec_from_file_location("stock_vs_shared", PATH)
benchmark = importlib.util.module_from_spec(spec)
sys.modules["stock_vs_shared"] = benchmark
spec.loader.exec_module(benchmark)


def record(folder, name="all_on/seed=0", steps=((4.0, 52.0), (3.0, 32.0), (3.0, 34.0)), state="completed", last=0.5):
    """A run's folder with these (rollout, train) seconds, and a validation of 2 s before and after, on two tasks."""
    run = folder / "runs" / name
    run.mkdir(parents=True)
    (run / "status.json").write_text(json.dumps({"run": name, "state": state, "seconds": 150.0}))
    line = {"reward": 0.5, "raw_reward": 0.25, "gradient_steps": 36, "trainable_tokens": 900, "missing": 0}
    (run / "steps.jsonl").write_text(
        "".join(
            json.dumps(line | {"step": i + 1, "seconds": {"rollout": r, "train": t}}) + "\n"
            for i, (r, t) in enumerate(steps)
        )
    )
    (run / "validation.jsonl").write_text(
        "".join(
            json.dumps({"step": i, "seconds": 2.0, "reference": {"mean": m, "by_task": {"a": m - 0.1, "b": m + 0.1}}})
            + "\n"
            for i, m in ((0, 0.25), (3, last))
        )
    )


def part(name, folder, seconds=300.0, cut=False):
    machine = {"gpus": ["H100"], "cores": 16}
    facts = {"command": ["-m", "harness"], "machine": machine, "seconds": seconds, "cut": cut}
    return {"part": name, **facts, "runs": benchmark.read_runs(folder)}


def test_start_is_what_steps_and_validations_leave_of_the_wall_clock(tmp_path):
    record(tmp_path)
    found = benchmark.summary(part("stock", tmp_path), project=8)
    assert found["start"] == 300 - (56 + 35 + 37) - 4
    assert (found["first_step"], found["later_step"]) == (56, 36)
    assert (found["later_rollout"], found["later_train"]) == (3, 33)
    assert found["projected_seconds"] == found["start"] + 56 + 7 * 36 + 4
    assert found["per_gpu_hour"] == 12


def test_a_sweep_counts_the_runs_that_it_completed(tmp_path):
    for seed in range(4):
        record(tmp_path, f"all_on/seed={seed}", state="failed" if seed == 3 else "completed")
    found = benchmark.summary(part("sweep", tmp_path, seconds=360.0), project=8)
    assert (found["runs"], found["completed"], found["per_gpu_hour"]) == (4, 3, 30)
    assert "later_step" not in found  # interleaved steps wait for each other


def test_a_whole_sweep_is_projected_by_the_later_steps_of_its_slowest_run(tmp_path):
    record(tmp_path, "all_on/seed=0", steps=((9.0, 9.0), (10.0, 10.0)))
    record(tmp_path, "all_off/seed=0", steps=((9.0, 0.0), (25.0, 0.0)))
    found = benchmark.summary(part("sweep", tmp_path, seconds=150.0), project=8)
    assert found["projected_seconds"] == 150 + 6 * 25
    assert found["projected_per_gpu_hour"] == 3600 * 2 / 300


def test_what_a_sweep_brings_is_told_as_a_multiple_of_stock(tmp_path):
    for name, seconds in (("stock", 300.0), ("sweep", 100.0)):
        record(tmp_path / name)
        (tmp_path / f"{name}.json").write_text(json.dumps(part(name, tmp_path / name, seconds)))
    text = benchmark.merge([tmp_path / "stock.json", tmp_path / "sweep.json"], tmp_path, project=8)
    assert "| times stock | 1.0 | 3.0 |" in " ".join(text.split())
    assert "raw success by step | 0.25 0.25 0.25 | 0.25 0.25 0.25 |" in text


def test_a_part_that_was_cut_is_not_projected(tmp_path):
    record(tmp_path, steps=((4.0, 52.0), (3.0, 32.0)), state="running")
    found = benchmark.summary(part("stock", tmp_path, cut=True), project=8)
    assert found["later_step"] == 35 and "projected_seconds" not in found and found["per_gpu_hour"] is None


@pytest.mark.parametrize("steps", [(), ((4.0, 52.0),)])
def test_a_part_with_too_few_steps_still_has_a_column(tmp_path, steps):
    record(tmp_path / "results", steps=steps)
    (tmp_path / "stock.json").write_text(json.dumps(part("stock", tmp_path / "results")))
    assert "| a later step, s | – |" in benchmark.merge([tmp_path / "stock.json"], tmp_path, project=8)


def test_parts_are_merged_in_one_order_into_json_and_markdown(tmp_path):
    record(tmp_path / "results")
    files = []
    for name in ("sweep", "stock"):
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps(part(name, tmp_path / "results")))
    text = benchmark.merge(files, tmp_path / "merged", project=8)
    assert "| | stock | sweep |" in text
    assert "experiments per GPU-hour, measured | 12.0 | 12.0 |" in text
    kept = json.loads((tmp_path / "merged" / "stock_vs_shared.json").read_text())
    assert [s["part"] for s in kept["summaries"]] == ["stock", "sweep"]


def test_a_step_of_runs_at_once_is_shared_by_them(tmp_path):
    for seed in range(4):
        record(tmp_path, f"all_on/seed={seed}", steps=((1.0, 1.0), (4.0, 8.0 + seed)))
    found = benchmark.summary(part("shared_4", tmp_path), project=8)
    assert (found["later_step"], found["later_step_per_run"]) == (15, 15 / 4)


def test_several_stock_runs_on_as_many_gpus_count_as_many_experiments(tmp_path):
    for seed in range(2):
        record(tmp_path, f"all_on/seed={seed}")
    two = part("stock", tmp_path) | {"machine": {"gpus": ["H100", "H100"], "cores": 16}}
    found = benchmark.summary(two, project=8)
    assert found["per_gpu_hour"] == 12 and found["later_step_per_run"] == 36
    assert found["projected_per_gpu_hour"] == 3600 / found["projected_seconds"]


def test_rewards_of_the_same_arm_and_seeds_are_compared_task_by_task(tmp_path):
    for seed in range(2):
        record(tmp_path / "stock", f"all_on/seed={seed}", last=0.5 + seed / 10)
        record(tmp_path / "sweep", f"all_on/seed={seed}", last=0.75 + seed / 10)
        record(tmp_path / "sweep", f"all_off/seed={seed}", last=0.0)
    record(tmp_path / "sweep", "all_on/seed=7", last=0.0)  # stock has no such seed
    (found,) = benchmark.agreement([part(name, tmp_path / name) for name in ("stock", "sweep")])
    assert found["runs"] == ["all_on/seed=0", "all_on/seed=1"] and (found["step"], found["tasks"]) == (3, 2)
    assert found["difference"] == pytest.approx(0.25) and found["interval"] == pytest.approx([0.25, 0.25])
    assert found["gain"] == pytest.approx(0.55) and found["gain_of_stock"] == pytest.approx(0.3)


def test_runs_that_were_cut_are_not_compared(tmp_path):
    record(tmp_path / "stock")
    record(tmp_path / "sweep", state="running")
    assert benchmark.agreement([part(name, tmp_path / name) for name in ("stock", "sweep")]) == []


def test_every_part_is_a_real_program_with_its_own_results(tmp_path):
    commands = {name: benchmark.command(name, tmp_path, 2, "smoke", ["env=mock"]) for name in benchmark.PARTS}
    assert all(argv[1:3] == ["-m", "harness"] and f"sweep={name}" in argv for name, argv in commands.items())
    assert "backend=art_local" in commands["stock"] and "+ablation=smoke" not in commands["stock"]
    assert "+ablation=smoke" in commands["sweep"] and "reuse=off" in commands["sweep"]
    assert "reuse=on" in commands["sweep_reuse"]
    assert "seed=0,1,2,3" in commands["shared_4"] and "+ablation=smoke" not in commands["shared_4"]
