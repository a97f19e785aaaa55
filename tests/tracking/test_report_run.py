"""The W&B run that shows a sweep's report: its effects, its sample of rollouts, its files, at a server of ours."""

import shutil

import pytest

from harness.commands import run_command
from harness.paths import CLONE
from harness.records.load import load_sweep
from harness.report.page import write_report
from harness.stats.sweep_statistics import effects_json, statistics_of
from harness.tracking import Background
from harness.tracking.arm_effects import read_effects, run_effects
from harness.tracking.command import write_run
from harness.tracking.report_run import ReportRun, artifact_name, begin, effects_summary, end
from harness.tracking.tables import conversation, effects_table, rollout_table
from harness.tracking.tracker import run_id
from tests.synthetic import keep_rollouts, leave_one_out, rollout, write_sweep
from tests.tracking.test_served import sync
from tests.tracking.test_tracking import PATIENCE, needs_core


@pytest.fixture
def swept(tmp_path):
    """A sweep with a sample of rollouts and a report."""
    folder = tmp_path / "cpu_quick_start"
    shutil.copytree(CLONE / "results" / "cpu_quick_start", folder)
    return folder


@pytest.fixture
def reported(tmp_path):
    folder = write_sweep(tmp_path / "s", arms=leave_one_out()[:2], steps=2)
    write_report(load_sweep(folder))
    return folder


@needs_core
def test_track_shows_the_report_its_effects_and_the_sample(server, swept, capsys):
    assert run_command("track", [str(swept)]) == 0
    assert "8 runs of cpu_quick_start and its report written to W&B" in capsys.readouterr().out
    run = server.named("report")
    assert (run.said["jobType"], run.said["groupName"], run.exit_code) == ("report", "cpu_quick_start", 0)
    assert run.summary["effects/logprobs_verdict"] == "raises" and run.summary["effects_kind"] == "leave_one_out"
    rows = server.table(run, "rollouts")
    assert len(rows) == len(load_sweep(swept).rollouts()) > 0
    assert {row["arm"] for row in rows} == set(load_sweep(swept).arms)
    (artifact,) = server.artifacts["cpu_quick_start-report"]
    assert (artifact.type, artifact.run) == ("report", run.id)
    for name in ("report.html", "report.md", "effects.json", "figures/curves.png"):
        assert artifact.files[name] == (swept / name).read_bytes()


@needs_core
def test_offline_and_synced_it_is_the_same(server, reported, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert run_command("track", [str(reported)]) == 0
    assert not server.artifacts
    sync(reported)
    (artifact,) = server.artifacts["s-report"]
    assert artifact.files["report.html"] == (reported / "report.html").read_bytes()
    assert server.table(server.named("report"), "effects")


@needs_core
def test_at_the_end_of_a_sweep_its_runs_are_told_what_their_arms_do(server, reported):
    sweep = load_sweep(reported)
    background = Background(reported, pytest.fail)
    for run in sweep.runs:
        assert background.wait_written(write_run(run, sweep, "online", background).id, PATIENCE)
    before = server.named("without_endpoint/seed=0").summary
    ReportRun(sweep, "online", "tau-bench-ablation", background).finish(runs_ended=True)
    assert background.close(PATIENCE)
    effects = run_effects(sweep)["without_endpoint/seed=0"]
    assert effects.keys() >= {"vs_all_on/last", "effect/fix"} and not effects.keys() & before.keys()
    assert server.named("without_endpoint/seed=0").summary == before | effects


def test_each_run_is_told_of_its_own_arm(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=(0, 1), steps=3)
    sweep = load_sweep(folder)
    (folder / "effects.json").write_text(effects_json(statistics_of(sweep)))
    told = next(end(sweep, runs_ended=True))["summaries"]
    last = {run.name: run.validations[-1].reference for run in sweep.runs}
    for factor in sweep.factors:
        for seed in (0, 1):
            own = told[run_id("s", run := f"without_{factor}/seed={seed}", sweep.manifest["created"])]
            difference = pytest.approx(last[run] - last[f"all_on/seed={seed}"])
            assert (own["effect/fix"], own["vs_all_on/last"]) == (factor, difference)


def test_a_report_that_cannot_be_read_ends_wandb_and_not_the_sweep(reported, tmp_path):
    (reported / "rollouts.jsonl").write_text('{"run": "all_on/seed=0"}\n')
    said = []
    background = Background(tmp_path, said.append)
    background.send = lambda *_, **__: None
    ReportRun(load_sweep(reported), "offline", "p", background).finish()
    assert len(said) == 1 and "KeyError" in said[0]


def test_a_sweep_without_a_report_says_how_to_get_one(tmp_path, capsys):
    assert run_command("track", [str(write_sweep(tmp_path / "s", arms=leave_one_out()[:1], steps=1))]) == 0
    assert "`python -m harness report" in capsys.readouterr().out


def test_a_row_of_a_rollout_has_its_reward_its_end_and_whether_it_was_trained_as_served(swept):
    table = rollout_table(load_sweep(swept))
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.data]
    of_arm = {
        arm: {r["trained_as_served"] for r in rows if r["arm"] == arm and r["kind"] == "training"}
        for arm in ("all_on", "without_tools", "without_logprobs")
    }
    assert of_arm == {"all_on": {"yes"}, "without_tools": {"no"}, "without_logprobs": {"nothing trained"}}
    assert {row["trained_as_served"] for row in rows if row["kind"] == "validation"} == {"validation"}
    assert all((row["first_difference"] is not None) == (row["trained_as_served"] == "no") for row in rows)
    row = rows[0]
    assert "user: " in row["conversation"] and "assistant calls " in row["conversation"]
    assert row["end"] and row["actions_matched"] <= row["actions_total"]
    assert {key: {r["task"] for r in rows if r["arm"] == "all_on" and r["step"] == key} for key in (0, 15)}


def test_a_row_of_a_rollout_is_of_the_run_that_played_it(tmp_path):
    blocks = {"rate=1": 1.0, "rate=2": 2.0}
    folder = write_sweep(tmp_path / "s", arms=leave_one_out()[:2], seeds=(0, 1), steps=1, blocks=blocks)
    runs = load_sweep(folder).runs
    keep_rollouts(folder, [rollout(r.name) | {"messages": [{"role": "user", "content": r.name}]} for r in runs])
    table = rollout_table(load_sweep(folder))
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.data]
    shown = [tuple(row[key] for key in ("run", "arm", "seed", "block", "conversation")) for row in rows]
    assert shown == [(r.name, r.arm, r.seed, r.block, f"user: {r.name}") for r in runs]
    assert len(runs) == 8


def test_a_conversation_is_a_line_for_each_message_and_call():
    messages = [
        {"role": "user", "content": "Add it."},
        {"role": "assistant", "content": None, "tool_calls": [{"name": "add", "arguments": '{"n": 1}'}]},
        {"role": "tool", "content": "ok"},
    ]
    assert conversation(messages) == 'user: Add it.\nassistant calls add({"n": 1})\ntool: ok'


def test_a_sweep_without_a_sample_has_no_table_of_rollouts(reported):
    sweep = load_sweep(reported)
    told = [*begin(sweep, "id", "offline", "p"), *end(sweep, runs_ended=True)]
    assert [next(iter(call)) for call in told] == ["start", "summaries", "artifact", "media", "finish"]
    assert set(told[3]["media"]["tables"]) == {"effects"}


def test_off_starts_nothing(reported, tmp_path):
    background = Background(tmp_path, pytest.fail)
    ReportRun(load_sweep(reported), "off", "p", background).finish()
    assert background._writing is None


def test_the_effects_are_those_of_the_kind_that_answers_most(reported):
    effects = read_effects(load_sweep(reported))
    (told,) = (
        e
        for e in effects["effects"]
        if (e["kind"], e["outcome"], e["factors"]) == ("leave_one_out", "final", ["endpoint"])
    )
    found = effects_summary(effects)
    assert (found["effects_kind"], found["effects/endpoint"]) == ("leave_one_out", told["value"])
    assert effects_summary({}) == {}


def test_an_effect_that_is_mixed_with_others_is_shown_with_their_names():
    mixed = {"kind": "main", "outcome": "final", "factors": ["split"], "verdict": "mixed", "value": 0.1}
    mixed |= {"low": 0.0, "high": 0.2, "aliases": ["tools × reward", "−logprobs"]}
    assert effects_summary({"effects": [mixed]})["effects/split_mixed_with"] == "tools × reward, −logprobs"
    table = effects_table({"effects": [mixed]})
    row = dict(zip(table.columns, table.data[0], strict=True))
    assert (row["factors"], row["aliases"]) == ("split", "tools × reward, −logprobs")


@pytest.mark.parametrize(("sweep", "name"), [("a b/ü", "a-b---report"), ("x" * 200, "x" * 121 + "-report")])
def test_an_artifact_has_a_name_that_wandb_takes(sweep, name):
    assert artifact_name(sweep) == name
