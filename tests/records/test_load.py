"""A sweep folder can be read at any moment of its life."""

import pytest

from harness.env import load_domain
from harness.errors import ConfigError
from harness.records.load import load_sweep
from tests.synthetic import make_invalid, run_folder, write_json, write_status, write_sweep


@pytest.fixture
def sweep(tmp_path):
    return write_sweep(tmp_path / "s", steps=3)


def run(sweep, arm):
    (found,) = load_sweep(sweep).runs_of(arm)
    return found


def test_a_finished_sweep_has_every_run_in_plan_order(sweep):
    records = load_sweep(sweep)
    assert records.arms[:2] == ("all_on", "without_endpoint")
    assert records.factors == ("endpoint", "tools", "exploration", "reward", "logprobs", "split")
    assert {r.state for r in records.runs} == {"completed"}
    assert [v.step for v in run(sweep, "all_on").validations] == [0, 1, 2, 3]


def test_a_torn_last_line_is_skipped_and_counted(sweep):
    path = run_folder(sweep, "all_on") / "validation.jsonl"
    path.write_text(path.read_text()[:-40])
    assert [v.step for v in run(sweep, "all_on").validations] == [0, 1, 2]
    assert run(sweep, "all_on").unreadable_lines == 1


def test_a_step_that_a_replay_wrote_again_counts_once(sweep):
    path = run_folder(sweep, "all_on") / "validation.jsonl"
    path.write_text(path.read_text() * 2)
    assert [v.step for v in run(sweep, "all_on").validations] == [0, 1, 2, 3]


def test_nan_is_no_reading(sweep):
    path = run_folder(sweep, "all_on") / "validation.jsonl"
    path.write_text('{"step": 0, "reference": {"mean": NaN}, "reported": null}\n')
    assert run(sweep, "all_on").validations[0].reference is None


def test_a_run_that_never_started_is_missing(sweep):
    folder = run_folder(sweep, "all_on")
    for file in folder.iterdir():
        file.unlink()
    (folder / "config.yaml").write_text("planned: true")
    assert run(sweep, "all_on").state == "missing"


def test_a_running_or_failed_run_has_no_verdict_and_is_not_invalid(sweep):
    write_json(run_folder(sweep, "all_on") / "status.json", {"run": "all_on/seed=0", "state": "running"})
    assert run(sweep, "all_on").valid
    assert run(sweep, "all_on").state == "running"


def test_a_half_written_status_reads_as_running(sweep):
    (run_folder(sweep, "all_on") / "status.json").write_text('{"run": "all_on/se')
    assert run(sweep, "all_on").state == "running"


def test_invalid_runs_keep_the_reading_that_shows_it(sweep):
    make_invalid(sweep, "without_tools", "tools", "equal contexts 1.0")
    assert run(sweep, "without_tools").invalid == (("tools", "equal contexts 1.0"),)
    write_status(sweep, "all_on", state="failed", error="EngineError: gone")
    assert run(sweep, "all_on").error == "EngineError: gone"


def test_a_missing_manifest_is_no_obstacle(sweep):
    (sweep / "manifest.json").unlink()
    assert load_sweep(sweep).name == "s"
    assert load_sweep(sweep).total_steps is None


@pytest.mark.parametrize(
    ("folder", "says"),
    [("nowhere", "There is no folder"), (".", "Sweeps nearby"), ("s/runs", "no plan.jsonl")],
)
def test_a_folder_that_is_no_sweep_says_what_one_is(sweep, folder, says):
    with pytest.raises(ConfigError, match=says):
        load_sweep(sweep.parent / folder)
    with pytest.raises(ConfigError, match="manifest.json and runs/"):
        load_sweep(sweep.parent / folder)


def test_an_empty_plan_is_refused(sweep):
    (sweep / "plan.jsonl").write_text('{"run": "all')
    with pytest.raises(ConfigError, match="no readable run"):
        load_sweep(sweep)


def test_a_sweep_keeps_which_tasks_are_variants_of_one_another(tmp_path):
    groups = {"task-00": "kind", "task-01": "kind"}
    assert load_sweep(write_sweep(tmp_path / "s", task_groups=groups)).task_groups == groups
    assert load_sweep(write_sweep(tmp_path / "other")).task_groups == {}


@pytest.mark.parametrize(("domain", "grouped"), [("mock", True), ("retail", False)])
def test_an_older_sweep_of_generated_tasks_has_the_groups_that_a_newer_one_records(tmp_path, domain, grouped):
    made = load_domain("mock")
    ids = {"train_ids": list(made.train_ids), "reference_ids": list(made.test_ids)}
    older = load_sweep(write_sweep(tmp_path / "s", config={"env": {"domain": domain}}, **ids))
    assert older.task_groups == (made.task_groups if grouped else {})
