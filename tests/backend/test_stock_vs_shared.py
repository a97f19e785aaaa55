"""What the comparison makes of records: seconds, projections, a table."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import harness
from harness.launch.command_line import understood
from harness.launch.plugins import register
from harness.launch.run import main
from harness.stats.intervals import crossed_spread

PATH = Path(harness.__file__).parent.parent / "experiments" / "benchmarks" / "stock_vs_shared.py"
spec = importlib.util.spec_from_file_location("stock_vs_shared", PATH)
benchmark = importlib.util.module_from_spec(spec)
sys.modules["stock_vs_shared"] = benchmark
spec.loader.exec_module(benchmark)


def record(
    folder,
    name="all_on/seed=0",
    steps=((4.0, 52.0), (3.0, 32.0), (3.0, 34.0)),
    state="completed",
    first=(0.25, 0.25),
    last=(0.5, 0.5),
    tasks="ab",
):
    """A run's folder with these (rollout, train) seconds, and a validation of 2 s before and after."""
    run = folder / "runs" / name
    run.mkdir(parents=True)
    arm, seed = name.split("/seed=")
    with open(folder / "plan.jsonl", "a") as plan:
        plan.write(json.dumps({"run": name, "arm": arm, "levels": {}, "seed": int(seed)}) + "\n")
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
            json.dumps({"step": i, "seconds": 2.0, "reference": {"mean": 0.5, "by_task": by_task}}) + "\n"
            for i, by_task in ((0, dict(zip(tasks, first, strict=True))), (3, dict(zip(tasks, last, strict=True))))
        )
    )


def part(name, folder, seconds=300.0, cut=False):
    machine = {"gpus": ["H100"], "cores": 16}
    facts = {"command": ["-m", "harness"], "machine": machine, "seconds": seconds, "exit_code": 0, "cut": cut}
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


def test_one_gpu_with_several_stock_runs_is_not_projected_from_the_first(tmp_path):
    for seed in range(2):
        record(tmp_path, f"all_on/seed={seed}")
    found = benchmark.summary(part("stock", tmp_path), project=8)
    assert found["per_gpu_hour"] == 24 and "start" not in found and "projected_seconds" not in found


def sweeps(folder, **other):
    """Stock ART's part and another one's, two seeds each, and in the other one what must not count."""
    for seed, last in enumerate([(0.0, 0.5), (1.0, 0.5)]):
        record(folder / "stock", f"all_on/seed={seed}", last=last)
    for seed, last in enumerate([(1.0, 0.5), (1.0, 1.0)]):
        record(folder / "sweep", f"all_on/seed={seed}", **{"last": last} | other)
        record(folder / "sweep", f"all_off/seed={seed}", last=(0.0, 0.0))
    record(folder / "sweep", "all_on/seed=7", last=(0.0, 0.0))  # stock has no such seed
    return [part(name, folder / name) for name in ("stock", "sweep")]


def test_rewards_of_the_same_arm_and_seeds_are_compared_task_by_task(tmp_path):
    (found,) = benchmark.agreement(sweeps(tmp_path))
    assert found["runs"] == ["all_on/seed=0", "all_on/seed=1"] and (found["step"], found["tasks"]) == (3, 2)
    spread = crossed_spread(np.array([[1.0, 0.0], [0.0, 0.5]]))  # other - stock by seed and task
    assert found["difference"] == pytest.approx(spread.mean) == 0.375
    assert found["interval"] == pytest.approx([0.375 - spread.half_width(), 0.375 + spread.half_width()])
    assert found["gain"] == pytest.approx(0.625) and found["gain_of_stock"] == pytest.approx(0.25)


def test_a_task_that_somebody_misses_is_left_out_and_counted(tmp_path):
    (found,) = benchmark.agreement(sweeps(tmp_path, last=(1.0, None)))
    assert (found["tasks"], found["missing"]) == (1, 1) and found["difference"] == pytest.approx(0.5)


@pytest.mark.parametrize("other", [{"state": "running"}, {"tasks": "cd"}], ids=["cut", "other tasks"])
def test_what_cannot_be_compared_is_not(other, tmp_path):
    assert benchmark.agreement(sweeps(tmp_path, **other)) == []


def test_a_sweep_that_cannot_be_set_beside_stock_is_refused(tmp_path):
    sweeps(tmp_path, tasks="cd")
    file = tmp_path / "stock.json"
    file.write_text(json.dumps(part("stock", tmp_path / "stock")))
    with pytest.raises(SystemExit, match="sweep has no completed all_on run"):
        benchmark.merge([file], tmp_path, 8, against=[tmp_path / "sweep"])


def test_what_stock_is_spared_is_taken_from_its_seconds(tmp_path):
    record(tmp_path / "stock", steps=((4.0, 50.0), (10.0, 30.0)))  # 300 s: 94 in steps, 4 in validations, 202 to start
    record(tmp_path / "sweep", "all_on/seed=0", steps=((1.0, 1.0), (1.0, 1.0)))
    record(tmp_path / "sweep", "all_off/seed=0", steps=((1.0, 0.0), (1.0, 0.0)))
    idle = part("sweep", tmp_path / "sweep", seconds=100.0)
    for step in next(run for run in idle["runs"] if run["name"].startswith("all_off"))["steps"]:
        step["gradient_steps"] = 0
    found = benchmark.allowances(part("stock", tmp_path / "stock"), idle, steps=2, seconds=100.0)
    assert found == pytest.approx({"nothing": 6.0, "training": 5.2, "slow rollouts": 5.88, "both": 5.08})
    longer = benchmark.allowances(part("stock", tmp_path / "stock"), idle, steps=4, seconds=100.0)
    assert longer["nothing"] == pytest.approx(2 * (300 + 2 * 40) / 100)


def test_several_stock_runs_with_a_gpu_each_count_by_their_mean(tmp_path):
    record(tmp_path / "stock", "all_on/seed=0", steps=((4.0, 50.0), (10.0, 30.0)))
    record(tmp_path / "stock", "all_on/seed=1", steps=((4.0, 50.0), (20.0, 40.0)))  # the slowest leaves 182 s to start
    record(tmp_path / "sweep", steps=((1.0, 1.0), (1.0, 1.0)))
    stock, sweep = part("stock", tmp_path / "stock"), part("sweep", tmp_path / "sweep", seconds=100.0)
    found = benchmark.allowances(stock, sweep, steps=2, seconds=100.0)
    assert found["nothing"] == pytest.approx(((182 + 94 + 4) + 300) / 2 / 100)
    assert benchmark._allowance_text([stock], [benchmark.summary(stock, 2)]) == ""  # two runs took turns on one GPU
    stock["machine"]["gpus"] = ["H100", "H100"]
    parts = [stock, sweep]
    text = benchmark._allowance_text(parts, [benchmark.summary(each, 2) for each in parts])
    assert "1 of 1 runs of 2 steps, times stock by what stock is spared: nothing 2.9" in text


def test_programs_of_one_part_side_by_side_are_one_part(tmp_path):
    for seed, seconds in ((0, 300.0), (1, 310.0)):
        record(tmp_path / f"{seed}", f"all_on/seed={seed}")
        (tmp_path / f"{seed}.json").write_text(json.dumps(part("stock", tmp_path / f"{seed}", seconds)))
    benchmark.merge([tmp_path / "0.json", tmp_path / "1.json"], tmp_path, project=8)
    (found,) = json.loads((tmp_path / "stock_vs_shared.json").read_text())["parts"]
    assert [run["name"] for run in found["runs"]] == ["all_on/seed=0", "all_on/seed=1"]
    assert (found["seconds"], found["machine"]["gpus"]) == (310.0, ["H100", "H100"])


def test_a_part_that_has_records_is_not_run_again(tmp_path):
    record(tmp_path / "results" / "stock")
    with pytest.raises(SystemExit, match="holds a run already"):
        benchmark.run_part("stock", [sys.executable, "-c", ""], tmp_path, None)


def test_runs_of_other_lengths_have_no_factor_as_measured(tmp_path):
    record(tmp_path / "stock")
    record(tmp_path / "sweep", steps=((4.0, 52.0), (3.0, 32.0)))
    for name in ("stock", "sweep"):
        (tmp_path / f"{name}.json").write_text(json.dumps(part(name, tmp_path / name)))
    text = benchmark.merge([tmp_path / "stock.json", tmp_path / "sweep.json"], tmp_path, project=8)
    assert "| times stock | 1.0 | – |" in " ".join(text.split())


def test_every_part_is_a_real_program_with_its_own_results(tmp_path):
    commands = {name: benchmark.command(name, tmp_path, 2, "smoke", ["env=mock"]) for name in benchmark.PARTS}
    assert all(argv[1:3] == ["-m", "harness"] and f"sweep={name}" in argv for name, argv in commands.items())
    assert "backend=art_local" in commands["stock"] and "+ablation=smoke" not in commands["stock"]
    assert "+ablation=smoke" in commands["sweep"] and "reuse=off" in commands["sweep"]
    assert "reuse=on" in commands["sweep_reuse"]
    assert "seed=0,1,2,3" in commands["shared_4"] and "+ablation=smoke" not in commands["shared_4"]


@pytest.mark.parametrize(
    ("part", "options", "runs"), [("shared", [], 1), ("shared_2", [], 2), ("shared", ["seed=3,4"], 2)]
)
def test_single_runs_and_several_seeds_are_commands_that_the_harness_takes(
    part, options, runs, tmp_path, monkeypatch, capsys
):
    argv = benchmark.command(part, tmp_path, 2, "smoke", [*options, "plan_only=true"])
    assert argv[1:3] == ["-m", "harness"]
    register()
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(sys, "argv", ["harness", *understood(argv[3:])])
    main()
    assert f"{runs} to do" in capsys.readouterr().out
