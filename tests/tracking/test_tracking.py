"""W&B shows what the records hold. Real client, offline; its files are read back."""

import errno
import importlib.util
import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.commands import run_command
from harness.records.load import load_sweep
from harness.tracking import Background, Tracker
from harness.tracking.command import write_run
from harness.tracking.metrics import check_rows, train_row, validation_row
from harness.tracking.tracker import resolve_mode
from tests.synthetic import FACTORS, leave_one_out, run_folder, unshown, write_status, write_sweep

# a machine without a network may have the client's modules without the program that writes its files
CORE = Path(importlib.util.find_spec("wandb").submodule_search_locations[0], "bin", "wandb-core")
needs_core = pytest.mark.skipif(not CORE.is_file(), reason=f"no {CORE}")

PATIENCE = 120.0  # seconds that a busy machine may take to import wandb
LEVELS = dict.fromkeys(FACTORS, "on") | {"tools": "off"}


@pytest.fixture(autouse=True)
def no_wandb_environment(monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT", "WANDB_DIR", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def background(tmp_path):
    """Of one sweep whose W&B does not fail."""
    made = Background(tmp_path, pytest.fail)
    yield made
    made.close(PATIENCE)


def start(background, run="without_tools/seed=0", mode="offline", config=None):
    config = config or {"lr": 1e-4}
    return Tracker.start(background, run, run.split("/")[0], 0, "my_sweep", config, LEVELS, background.folder, mode)


def validation(step, reference=0.2, reported=0.1):
    return {
        "step": step,
        "reference": {"mean": reference, "by_task": {}, "missing": 0},
        "reported": {"mean": reported, "n": 85, "by_task": {}, "nonexistent": 55},
    }


def read_back(folder: Path):
    """name -> what W&B wrote for that run: group, config, history rows, summary, metrics, exit code."""
    runs = [read_run(path) for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"))]
    return {run["name"]: run for run in runs}


def read_run(path: Path):
    from wandb.proto import wandb_internal_pb2 as pb
    from wandb.sdk.internal.datastore import DataStore

    store, out = DataStore(), {"history": [], "summary": {}, "metrics": {}}
    store.open_for_scan(str(path))
    while (data := store.scan_data()) is not None:
        record = pb.Record()
        record.ParseFromString(data)
        if record.HasField("run"):
            out |= {"name": record.run.display_name, "group": record.run.run_group, "id": record.run.run_id}
            out |= {"job_type": record.run.job_type, "tags": list(record.run.tags), "notes": record.run.notes}
            out["project"] = record.run.project
            out["config"] = {i.key: json.loads(i.value_json) for i in record.run.config.update}
        if record.HasField("history"):
            out["history"].append({_key(i): json.loads(i.value_json) for i in record.history.item})
        if record.HasField("summary"):
            out["summary"] |= {_key(i): json.loads(i.value_json) for i in record.summary.update}
        if record.HasField("metric"):
            out["metrics"][record.metric.name or record.metric.glob_name] = record.metric.step_metric
        if record.HasField("exit"):
            out["exit"] = record.exit.exit_code
    store._fp.close()
    return out


def _key(item):
    return item.key or ".".join(item.nested_key)


@needs_core
def test_group_name_levels_and_step_axis_are_there(tmp_path, background):
    tracker = start(background, config={"lr": 1e-4, "fix": {"tools": {"_target_": "x"}}})
    tracker.validation(validation(0))
    tracker.finish("completed")
    assert background.close(PATIENCE)
    run = read_back(tmp_path)["without_tools/seed=0"]
    assert run["group"] == "my_sweep"
    assert run["config"]["fix"] == LEVELS
    assert run["config"]["fix_settings"] == {"tools": {"_target_": "x"}}
    assert (run["config"]["lr"], run["config"]["arm"], run["config"]["seed"]) == (1e-4, "without_tools", 0)
    assert {run["metrics"][k] for k in ("val/*", "reported/*", "val_gap", "train/*", "check/*")} == {"step"}
    assert run["exit"] == 0


@needs_core
def test_history_holds_reference_reported_and_their_gap(tmp_path, background):
    tracker = start(background)
    tracker.validation(validation(0, 0.2, 0.05))
    tracker.validation(validation(1, 0.4, 0.05))
    tracker.finish("completed", "valid")
    assert background.close(PATIENCE)
    run = read_back(tmp_path)["without_tools/seed=0"]
    rows = [(r["step"], r["val/reward"], r["reported/reward"], r["val_gap"]) for r in run["history"]]
    assert rows == [(0, 0.2, 0.05, pytest.approx(-0.15)), (1, 0.4, 0.05, pytest.approx(-0.35))]
    assert run["summary"]["validity"] == "valid"
    assert run["summary"]["state"] == "completed"


def test_missing_numbers_are_left_out_and_bools_become_numbers():
    row = train_row(
        {
            "step": 3,
            "loss": None,
            "entropy": math.nan,
            "advanced_without_training": True,
            "seconds": {"train": 2.5},
            "update": "abc",
        }
    )
    assert row == {"step": 3, "train/advanced_without_training": 1, "train/seconds_train": 2.5}
    assert validation_row(validation(1, reference=None))["reported/reward"] == 0.1
    assert "val_gap" not in validation_row(validation(1, reference=None))


def test_checks_of_a_step_are_one_row():
    line = {"step": 1, "level": "on", "text": "…"}
    rows = check_rows(
        [
            line | {"factor": "endpoint", "reading": {"share": 1.0}, "took_effect": True},
            line | {"factor": "reward", "reading": {"levels": 4, "odd": None}, "took_effect": None},
        ]
    )
    assert rows == [{"step": 1, "check/endpoint/share": 1.0, "check/endpoint/took_effect": 1, "check/reward/levels": 4}]


class Sent:
    """In the place of W&B's process: what it was told."""

    def __init__(self):
        self.calls = []

    def send(self, _, **call):
        self.calls.append(call)

    def all(self, kind):
        return [call[kind] for call in self.calls if kind in call]


@pytest.fixture
def sent(tmp_path):
    made = Sent()
    made.folder = tmp_path
    return made


def check(step, factor="endpoint"):
    return {"step": step, "factor": factor, "level": "on", "reading": {"share": 1.0}, "took_effect": True, "text": ""}


def test_a_step_is_one_row_with_its_metrics_checks_and_both_rewards(sent):
    tracker = start(sent)
    tracker.validation(validation(0))
    for step in (1, 2):
        tracker.step({"step": step, "loss": 0.5})
        tracker.checks([check(step)])
        tracker.checks([check(step, "reward")])
        if step == 2:  # validation.every=2
            tracker.validation(validation(step))
    tracker.finish("completed")
    rows = sent.all("log")
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert rows[1].keys() == {"step", "train/loss"} | {
        f"check/{factor}/{reading}" for factor in ("endpoint", "reward") for reading in ("share", "took_effect")
    }
    assert {"train/loss", "check/reward/share", "val/reward", "reported/reward", "val_gap"} < rows[2].keys()


def test_a_row_is_sent_with_its_validation_and_not_a_step_later(sent):
    tracker = start(sent)
    tracker.step({"step": 1, "loss": 0.5})
    assert sent.all("log") == []
    tracker.validation(validation(1))
    assert [row["step"] for row in sent.all("log")] == [1]


def test_a_run_that_is_stopped_loses_no_row(sent):
    tracker = start(sent)
    tracker.step({"step": 1, "loss": 0.5})
    tracker.finish("stopped")
    assert [row["step"] for row in sent.all("log")] == [1]


def test_the_summary_has_what_the_table_of_arms_has(sent):
    tracker = start(sent)
    for step, reward in ((0, 0.2), (1, 0.3), (2, 0.6)):
        tracker.validation(validation(step, reward))
    tracker.finish("completed", "valid")
    (summary,) = sent.all("finish")
    assert summary == {
        "state": "completed",
        "validity": "valid",
        "first": 0.2,
        "last": 0.6,
        "slope": pytest.approx(0.2),
        "area": pytest.approx(0.35),
    }


@needs_core
def test_a_run_has_a_job_type_tags_and_notes(tmp_path, background):
    (tmp_path / "manifest.json").write_text('{"command": "python -m harness +ablation=all"}')
    config = {"baseline": "note", "env": {"domain": "mock"}, "policy": {"name": "p" * 65}}
    start(background, config=config).finish("completed")
    assert background.close(PATIENCE)
    run = read_back(tmp_path)["without_tools/seed=0"]
    assert run["job_type"] == "train"
    assert run["tags"] == ["without_tools", "note", "mock"]  # W&B refuses a tag as long as that policy's name
    assert "made by `python -m harness +ablation=all`" in run["notes"]


def test_a_run_is_tagged_with_arm_block_loop_environment_and_policy(sent):
    config = {"baseline": "note", "env": {"domain": "mock"}, "policy": {"name": "micro"}}
    Tracker.start(sent, "a/rate=1/seed=0", "a", 0, "s", config, LEVELS, sent.folder, "offline", block="rate=1")
    assert sent.all("start")[0]["tags"] == ["a", "rate=1", "note", "mock", "micro"]


@pytest.mark.parametrize(("recorded", "now", "project"), [("theirs", "", "theirs"), ("theirs", "mine", "mine")])
def test_track_writes_where_wandb_project_says_else_where_the_sweep_did(recorded, now, project, tmp_path, monkeypatch):
    folder = write_sweep(tmp_path / "s", arms=leave_one_out()[:1], steps=1)
    (run_folder(folder, "all_on") / "config.yaml").write_text(f"tracking:\n  project: {recorded}\n")
    monkeypatch.setenv("WANDB_PROJECT", now)
    sent = Sent()
    sweep = load_sweep(folder)
    write_run(sweep.runs[0], sweep, "offline", sent)
    assert sent.all("start")[0]["project"] == project


def test_a_sweep_writes_where_wandb_project_says(sweep_config, monkeypatch):
    from tests import conftest

    conftest._composed.cache_clear()
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    assert sweep_config("sweep=s").tracking.project == "mine"
    assert sweep_config("sweep=s", "tracking.project=typed").tracking.project == "typed"
    conftest._composed.cache_clear()


@needs_core
def test_interleaved_runs_stay_apart(tmp_path, background):
    trackers = [start(background, f"arm{i}/seed=0") for i in range(3)]
    for step in range(2):
        for i, tracker in enumerate(trackers):
            tracker.validation(validation(step, reference=0.1 * i))
    for tracker in trackers:
        tracker.finish("completed")
    assert background.close(PATIENCE)
    runs = read_back(tmp_path)
    for i in range(3):
        assert [r["val/reward"] for r in runs[f"arm{i}/seed=0"]["history"]] == [pytest.approx(0.1 * i)] * 2


@needs_core
def test_what_a_shell_or_a_job_has_set_for_another_run_neither_merges_nor_renames_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    for name, value in {
        "WANDB_RUN_ID": "another",
        "WANDB_RESUME": "must",
        "WANDB_RUN_GROUP": "other",
        "WANDB_NAME": "name",
        "WANDB_JOB_TYPE": "j" * 80,  # longer than W&B takes
    }.items():
        monkeypatch.setenv(name, value)
    background = Background(tmp_path, pytest.fail)
    for run in ("all_on/seed=0", "without_tools/seed=0"):
        start(background, run).finish("completed")
    assert background.close(PATIENCE)
    found = read_back(tmp_path)
    assert found.keys() == {"all_on/seed=0", "without_tools/seed=0"}
    assert {run["group"] for run in found.values()} == {"my_sweep"}
    assert len({run["id"] for run in found.values()} - {"another"}) == 2


@needs_core
def test_a_replayed_run_replaces_its_earlier_view(tmp_path):
    for _ in range(2):
        background = Background(tmp_path, pytest.fail)
        tracker = start(background)
        tracker.validation(validation(0))
        tracker.finish("completed")
        assert background.close(PATIENCE)
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 1


def test_off_writes_nothing(tmp_path, background):
    tracker = start(background, mode="off")
    tracker.validation(validation(0))
    tracker.finish("completed")
    assert background.close(PATIENCE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("server", ["https://my.wandb.example", "http://localhost:8080"])
def test_auto_is_online_with_a_key_of_this_server_alone(server, monkeypatch, tmp_path):
    from wandb.sdk.lib.wbauth.wbnetrc import write_netrc_auth  # what `wandb login` does with a key

    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    write_netrc_auth(host=server, api_key="a" * 40)
    assert resolve_mode("auto") == "offline"
    monkeypatch.setenv("WANDB_BASE_URL", server)
    assert resolve_mode("auto") == "online"


@pytest.mark.parametrize(
    ("environment", "mode"),
    [
        ({}, "offline"),
        ({"WANDB_API_KEY": "k"}, "online"),
        ({"WANDB_API_KEY": "k", "WANDB_MODE": "offline"}, "offline"),
        ({"WANDB_MODE": "disabled"}, "off"),
    ],
)
def test_auto_is_online_only_with_a_key(monkeypatch, environment, mode):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert resolve_mode("auto") == mode


@needs_core
def test_a_crashed_sweep_is_written_again_from_its_records(tmp_path, capsys):
    sweep = write_sweep(tmp_path / "s", arms=leave_one_out()[:2], steps=3)
    write_status(sweep, "all_on", state="failed", error="killed")
    with open(run_folder(sweep, "all_on") / "validation.jsonl", "a") as file:
        file.write('{"step": 4, "refer')
    assert run_command("track", [str(sweep)]) == 0
    assert "wandb sync" in capsys.readouterr().out
    runs = read_back(sweep)
    assert set(runs) == {"all_on/seed=0", "without_endpoint/seed=0"}
    failed = runs["all_on/seed=0"]
    assert failed["exit"] == 1 and failed["summary"]["state"] == "failed"
    assert [r["step"] for r in failed["history"] if "val/reward" in r] == [0, 1, 2, 3]
    assert [r["step"] for r in failed["history"] if "train/reward" in r] == [1, 2, 3]
    assert [r["step"] for r in failed["history"] if "check/endpoint/share" in r] == [1, 2, 3]
    assert failed["config"]["train"] == {"steps": 3}
    assert failed["config"]["baseline"] == "note"  # of a sweep that was recorded without one


NO_FACTORS = {"kind": "leave_one_out", "outcome": "final", "factors": [], "value": 0.1, "verdict": "raises"}


@pytest.mark.parametrize(
    "text", ["{bad", "[1]", "5", '{"effects": [{}]}', '{"effects": 5}', json.dumps({"effects": [NO_FACTORS]})]
)
def test_effects_that_no_report_wrote_are_refused_before_a_run_is_sent(text, tmp_path, capsys):
    sweep = write_sweep(tmp_path / "s", steps=2)
    (sweep / "effects.json").write_text(text)
    assert run_command("track", [str(sweep)]) == 1
    said = capsys.readouterr()
    assert said.out == "" and f"{sweep / 'effects.json'} is not what a report writes" in said.err


def test_a_folder_that_is_no_sweep_is_refused(tmp_path, capsys):
    assert run_command("track", [str(tmp_path)]) == 2
    assert "no sweep folder" in capsys.readouterr().err


def test_a_sweep_on_a_read_only_disk_is_not_called_written(tmp_path, monkeypatch, capsys):
    """W&B would write to a temporary folder and say nothing."""

    def refuse(**_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("harness.disk.tempfile.TemporaryFile", refuse)
    sweep = write_sweep(tmp_path / "s", steps=2)
    assert run_command("track", [str(sweep)]) == 1
    said = capsys.readouterr()
    assert said.out == "" and f"Could not write {sweep / 'wandb'}: " in said.err


def test_a_run_whose_switch_was_not_shown_is_not_called_valid(tmp_path):
    folder = write_sweep(tmp_path / "s", arms=leave_one_out()[:2], steps=2)
    unshown(folder, "all_on", "endpoint")
    sent = []
    in_memory = SimpleNamespace(send=lambda _, **call: sent.append(call))
    for run in load_sweep(folder).runs:
        write_run(run, load_sweep(folder), "offline", in_memory)
    assert [call["finish"]["validity"] for call in sent if "finish" in call] == ["not shown", "valid"]
