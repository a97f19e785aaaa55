"""The W&B dashboard: what would be sent is compared offline; what is missing is said. No network."""

import json
import socket
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from harness.commands import run_command
from harness.paths import CLONE
from harness.records.json_files import read_lines
from harness.records.load import load_sweep
from harness.report.page import write_report
from harness.stats.sweep_statistics import statistics_of
from harness.tracking.dashboard import command as dashboard_command
from harness.tracking.dashboard.build import report, workspace
from harness.tracking.dashboard.spec import dashboard
from harness.tracking.metrics import check_rows, train_row, validation_row
from harness.tracking.report_run import end
from harness.tracking.tracker import PROJECT, run_id
from tests.synthetic import FACTORS, factorial, make_invalid, run_folder, write_sweep
from tests.tracking.fake_wandb import FakeRun


@pytest.fixture(autouse=True)
def no_wandb_environment(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.fixture
def spec(tmp_path):
    sweep = load_sweep(write_sweep(tmp_path / "s"))
    return dashboard(sweep, statistics_of(sweep), "team", "tau")


def section(sections, factor):
    return next(each for each in sections if each.name.startswith(f"{factor}:"))


class Recorder:
    """Stands for a module of wandb-workspaces: every class keeps its name and arguments."""

    def __getattr__(self, name):
        return lambda *positional, **named: Recorded(name, positional, named)


class Recorded(SimpleNamespace):
    def __init__(self, kind, positional, named):
        super().__init__(kind=kind, positional=positional, **named)


def test_every_factor_has_reference_and_reported_curves_by_its_level_and_its_check(spec):
    sections = {s.name.split(":")[0]: s for s in spec.sections}
    for factor in FACTORS:
        panels = sections[factor].panels
        assert {p.group for p in panels} == {f"fix.{factor}"}
        keys = [key for p in panels for key in p.keys]
        assert keys[:3] == ["val/reward", "reported/reward", f"check/{factor}/took_effect"]


def test_a_panel_shows_only_what_tracking_writes(spec, tmp_path):
    folder = run_folder(tmp_path / "s", "all_on")
    lines = {n: read_lines(folder / f"{n}.jsonl") for n in ("steps", "validation", "checks")}
    rows = [train_row(lines["steps"][0]), validation_row(lines["validation"][0]), *check_rows(lines["checks"])]
    sweep = load_sweep(tmp_path / "s")
    write_report(sweep)
    report = {next(iter(call)): next(iter(call.values())) for call in end(sweep, runs_ended=False)}
    levels = {f"fix.{factor}" for factor in sweep.factors}
    written = {
        "line": {key for row in rows for key in row},
        "bar": set(report["finish"]),
        "media": set(report["media"]["images"]),
        "parallel": levels | {"area", "last"},
    }
    for panel in (p for s in spec.sections for p in s.panels):
        assert set(panel.keys) <= written[panel.kind], panel.title


def test_of_many_arms_no_plot_has_a_line_for_each(tmp_path):
    sweep = load_sweep(write_sweep(tmp_path / "s", arms=factorial(), steps=2))
    spec = dashboard(sweep, statistics_of(sweep), "team", "tau")
    lines = [p.group for s in spec.sections for p in s.panels if p.kind == "line"]
    assert len(sweep.arms) == 64 and "arm" not in lines
    assert set(lines) == {"sweep", *(f"fix.{factor}" for factor in FACTORS)}
    first, second = spec.sections[:2]
    assert [p.kind for p in first.panels] == ["bar", "media"]
    assert second.panels[0].keys == (*(f"fix.{factor}" for factor in sweep.factors), "area", "last")


def test_the_report_opens_with_the_verdict(spec):
    assert "go" in spec.text[1] and "matter" in spec.text[1]


def test_a_command_of_the_report_can_be_copied_as_it_stands(spec):
    blocks = report(spec, Recorder()).blocks
    commands = [b.code for b in blocks if b.kind == "CodeBlock"]
    assert commands == ["python -m harness +ablation=leave_one_out", "python -m harness report results/s"]
    texts = [text for b in blocks if b.kind == "P" for text in b.positional]
    assert texts and not any("python -m" in text for text in texts)


def test_the_workspace_holds_the_runs_of_the_sweep_only(spec):
    made = workspace(spec, Recorder(), Recorder())
    assert (made.entity, made.project, made.name) == ("team", "tau", "Ablation: s")
    assert made.runset_settings.filters == "Metric('Group') == 's'"
    assert [s.name for s in made.sections] == [s.name for s in spec.sections]
    panel = section(made.sections, "tools").panels[0]
    assert (panel.x, panel.y, panel.groupby.positional) == ("step", ["val/reward"], ("fix.tools",))


def test_an_invalid_run_is_drawn_in_no_panel_as_in_no_curve_of_the_report(tmp_path, monkeypatch):
    from wandb_workspaces import workspaces
    from wandb_workspaces.reports import v2 as reports

    monkeypatch.setattr(reports.interface, "_get_api", lambda: None)
    monkeypatch.setattr(reports.interface, "execute_graphql", lambda *_: {"project": {"internalId": "abc"}})
    folder = write_sweep(tmp_path / "s")
    make_invalid(folder, "without_tools", "tools", "no")
    sweep = load_sweep(folder)
    spec = dashboard(sweep, statistics_of(sweep), "team", "tau")
    hidden = [run_id("s", "without_tools/seed=0", sweep.manifest["created"])]
    (shown,) = workspace(spec, workspaces, reports)._to_model().spec.section.run_sets
    assert shown.selections.tree == hidden
    grids = [b for b in report(spec, reports).blocks if isinstance(b, reports.PanelGrid)]
    for runs in (runs for grid in grids for runs in grid.runsets):
        told = runs._to_model().selections
        assert (told.root, told.tree) == (1, hidden)
    assert "Runs that the panels leave out: 1 (INVALID)." in spec.text


def test_a_negative_control_is_drawn_in_no_panel():
    sweep = load_sweep(CLONE / "results" / "cpu_controls")
    hidden = dashboard(sweep, statistics_of(sweep), "team", "tau").hidden
    assert set(hidden) == {run_id(sweep.name, run.name, sweep.manifest["created"]) for run in sweep.controls} != set()


@pytest.mark.parametrize("group", ["s/rate=1", "it's", "a == 'b' and c"])
def test_the_real_library_looks_for_the_group_as_it_is_called(group, spec, monkeypatch):
    from wandb_workspaces import workspaces
    from wandb_workspaces.reports import v2 as reports

    monkeypatch.setattr(reports.interface, "_get_api", lambda: None)
    monkeypatch.setattr(reports.interface, "execute_graphql", lambda *_: {"project": {"internalId": "abc"}})
    spec = replace(spec, group=group)
    (shown,) = workspace(spec, workspaces, reports)._to_model().spec.section.run_sets
    grid = next(b for b in report(spec, reports).blocks if isinstance(b, reports.PanelGrid))
    for runs in (shown, grid.runsets[0]._to_model()):
        assert [each["value"] for each in runs.filters["filters"]] == [group]


def test_the_report_groups_each_factors_runs_by_its_level(spec):
    made = report(spec, Recorder())
    grids = [b for b in made.blocks if b.kind == "PanelGrid"]
    by_level = [[f"config.fix.{factor}"] for factor in FACTORS]
    assert [g.runsets[0].groupby for g in grids] == [[], [], *by_level, ["config.arm"]]
    assert {g.runsets[0].filters for g in grids} == {"Metric('Group') == 's'"}


def test_the_real_library_takes_both(spec, monkeypatch):
    """What would be sent, as the library itself writes it; only its look-up of the project is replaced."""
    from wandb_workspaces import workspaces
    from wandb_workspaces.reports import v2 as reports

    monkeypatch.setattr(reports.interface, "_get_api", lambda: None)
    found = {"project": {"internalId": "abc"}}
    monkeypatch.setattr(reports.interface, "execute_graphql", lambda *_: found)
    sent = workspace(spec, workspaces, reports)._to_model().model_dump(by_alias=True)["spec"]["section"]
    filters = sent["runSets"][0]["filters"]["filters"]
    assert [(f["key"]["name"], f["op"], f["value"]) for f in filters] == [("group", "=", "s")]
    assert sent["settings"]["xAxis"] == "step"
    sections = sent["panelBankConfig"]["sections"]
    first = section([SimpleNamespace(**each) for each in sections], "tools").panels[0]["config"]
    assert (first["metrics"], first["groupBy"], first["groupAgg"]) == (["val/reward"], "fix.value.tools", "mean")
    bar, parallel = (sections[n]["panels"][0]["config"] for n in (0, 1))
    assert bar["metrics"] == [f"effects/{factor}" for factor in FACTORS]
    assert [c["accessor"] for c in parallel["columns"]] == [
        *(f"config:fix.value.{factor}" for factor in FACTORS),
        "summary:area",
        "summary:last",
    ]
    text = json.dumps(report(spec, reports)._to_model().model_dump(by_alias=True), default=str)
    assert '"fix.value.tools"' in text and "reported/reward" in text


@pytest.mark.parametrize(("seeds", "shown"), [((0,), 100), ((0, 1), 129)])
def test_of_more_runs_than_a_panel_shows_by_itself_none_is_left_out(seeds, shown, tmp_path, monkeypatch):
    from wandb_workspaces import workspaces
    from wandb_workspaces.reports import v2 as reports

    monkeypatch.setattr(reports.interface, "_get_api", lambda: None)
    monkeypatch.setattr(reports.interface, "execute_graphql", lambda *_: {"project": {"internalId": "abc"}})
    sweep = load_sweep(write_sweep(tmp_path / "s", arms=factorial(), seeds=seeds, steps=2))
    spec = dashboard(sweep, statistics_of(sweep), "team", "tau")
    section = workspace(spec, workspaces, reports)._to_model().model_dump(by_alias=True)["spec"]["section"]
    assert section["settings"]["maxRuns"] == spec.runs == shown
    ours = [panel for each in section["panelBankConfig"]["sections"] for panel in each["panels"]]
    grids = [block for block in report(spec, reports).blocks if isinstance(block, reports.PanelGrid)]
    theirs = [panel._to_model().model_dump(by_alias=True) for grid in grids for panel in grid.panels]
    for panels in (ours, theirs):
        limits = [p["config"]["limit"] for p in panels if p["viewType"] in ("Run History Line Plot", "Bar Chart")]
        assert len(limits) > 10 and set(limits) == {shown}


def test_a_dry_run_prints_the_spec_and_needs_nothing(tmp_path, capsys):
    assert run_command("dashboard", [str(write_sweep(tmp_path / "s")), "--entity", "team", "--dry-run"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["entity"], printed["group"], len(printed["sections"])) == ("team", "s", 9)


def test_all_that_is_missing_is_said_at_once(tmp_path, capsys, monkeypatch):
    for name in ("wandb_workspaces", "wandb_workspaces.workspaces", "wandb_workspaces.reports.v2"):
        monkeypatch.setitem(sys.modules, name, None)
    assert run_command("dashboard", [str(write_sweep(tmp_path / "s"))]) == 2
    said = capsys.readouterr().err
    assert "wandb-workspaces==0.4.5" in said
    assert "WANDB_API_KEY" in said
    assert "--dry-run" in said


@pytest.mark.parametrize("listens", [False, True])
def test_where_wandb_does_not_answer_it_ends_with_one_line(listens, tmp_path, capsys, monkeypatch):
    """Nobody listens; or somebody does, and never answers."""
    monkeypatch.setattr(dashboard_command, "ANSWERS_WITHIN", 0.2)
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
        if not listens:
            silent.close()
        assert run_command("dashboard", [str(write_sweep(tmp_path / "s"))]) == 1
    said = capsys.readouterr().err
    assert f"W&B at 127.0.0.1:{port} is not reached: " in said and "Traceback" not in said


def test_a_folder_that_is_no_sweep_is_refused(tmp_path, capsys):
    assert run_command("dashboard", [str(tmp_path)]) == 2
    assert "no sweep folder" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:Read the `app_url` setting")  # wandb's own advice to wandb-workspaces
def test_a_sweep_has_one_workspace_and_one_report_however_often_it_is_asked_for(server, tmp_path, capsys):
    folder = write_sweep(tmp_path / "s")
    server.runs["x"] = FakeRun("x", {"groupName": "s", "project": PROJECT})
    server.views["other"] = {"name": "nw-x-v", "displayName": "Somebody's", "type": "project-view", "spec": "{}"}
    for _ in range(2):
        assert run_command("dashboard", [str(folder)]) == 0
    assert [(v["displayName"], v["type"]) for v in server.views.values()] == [
        ("Somebody's", "project-view"),
        ("Ablation: s", "project-view"),
        ("Ablation: s", "runs"),
    ]
    first, second = (line for line in capsys.readouterr().out.splitlines() if line.startswith("workspace: "))
    assert first == second
