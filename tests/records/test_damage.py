"""Files that a crash, a full disk or a copy damaged: what is lost is made again, and nothing wrong is merged."""

import json

import pytest

from harness.errors import StoreError
from harness.records.json_files import read_lines
from harness.records.layout import SweepFiles
from harness.records.load import load_sweep
from harness.records.run_records import RunRecords
from harness.report.formats import notes
from harness.sweep.manifest import write_plan
from tests.synthetic import run_folder, write_status, write_sweep

CONTENT = {"policy": "p1", "domain": "d1"}
RUN = "all_on/seed=0"


@pytest.fixture
def sweep(tmp_path):
    """Completed runs that say how many lines they have."""
    folder = write_sweep(tmp_path / "s", steps=3)
    files = run_folder(folder, "all_on")
    lines = {name: len(read_lines(files / f"{name}.jsonl")) for name in ("steps", "validation", "checks")}
    write_status(folder, "all_on", lines=lines)
    return folder


def damaged(path, how):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(how(lines))


DAMAGES = {
    "a torn middle line": lambda lines: b"".join([lines[0], lines[1][:20] + b"\n", *lines[2:]]),
    "two lines run together": lambda lines: b"".join([lines[0], lines[1][:20], *lines[2:]]),
    "zeros of a power cut": lambda lines: b"".join([lines[0], b"\0" * 64 + b"\n", *lines[2:]]),
    "bytes of another file": lambda lines: b"".join([lines[0], lines[1].replace(b'"step"', b'"st\xe9p"'), *lines[2:]]),
    "a line without a step": lambda lines: b"".join([lines[0], b"{}\n", *lines[2:]]),
    "a line that is gone": lambda lines: b"".join([lines[0], *lines[2:]]),
    "an empty file": lambda lines: b"",
}


@pytest.mark.parametrize("how", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", ["steps", "validation"])
def test_a_completed_run_that_lost_lines_is_open_again_and_a_replay_repairs_it(name, how, sweep):
    files = SweepFiles(sweep)
    path = run_folder(sweep, "all_on") / f"{name}.jsonl"
    whole = read_lines(path)
    assert files.is_completed(RUN)
    damaged(path, how)
    assert not files.is_completed(RUN)
    said = [note for note in notes(load_sweep(sweep)) if "torn line" in note]
    assert len(said) == 1 and "The same command makes these runs again" in said[0]

    replay = RunRecords(run_folder(sweep, "all_on"))
    for line in whole:
        replay.add(name, line)
    assert files.is_completed(RUN)
    assert getattr(files.content(RUN), name) == whole == replay.lines(name)


def test_a_damaged_status_opens_its_run_again(sweep):
    (run_folder(sweep, "all_on") / "status.json").write_text("")
    assert not SweepFiles(sweep).is_completed(RUN)
    assert any("1 torn line" in note for note in notes(load_sweep(sweep)))


@pytest.mark.parametrize("left", ["", '{"sweep": "s", "config": {'], ids=["empty", "half"])
def test_a_damaged_manifest_is_named_and_nothing_is_judged_or_merged(left, sweep_config, tmp_path):
    folder, config = tmp_path / "s", sweep_config()
    write_plan(folder, "s", config, ["a"], ["b"], CONTENT)
    (folder / "manifest.json").write_text(left)
    for read in (load_sweep, lambda _: write_plan(folder, "s", config, ["a"], ["b"], CONTENT)):
        with pytest.raises(StoreError, match="manifest.json is damaged: .*from a backup or from git"):
            read(folder)


def test_a_plan_whose_manifest_is_gone_is_not_continued(sweep_config, tmp_path):
    folder, config = tmp_path / "s", sweep_config()
    write_plan(folder, "s", config, ["a"], ["b"], CONTENT)
    (folder / "manifest.json").unlink()
    with pytest.raises(StoreError, match="a plan and no manifest.json"):
        write_plan(folder, "s", config, ["a"], ["b"], CONTENT)


def test_a_damaged_manifest_without_a_plan_is_the_first_write_and_written_anew(sweep_config, tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "manifest.json").touch()
    write_plan(folder, "s", sweep_config(), ["a"], ["b"], CONTENT)
    assert SweepFiles(folder).manifest()["sweep"] == "s"


def test_a_torn_line_of_the_plan_is_said_and_written_anew_by_its_command(sweep_config, tmp_path, capsys):
    folder, config = tmp_path / "s", sweep_config(runs=[[], ["fix/tools=off"], ["fix/reward=off"]])
    write_plan(folder, "s", config, ["a"], ["b"], CONTENT)
    whole = (folder / "plan.jsonl").read_bytes()
    damaged(folder / "plan.jsonl", lambda lines: b"".join([lines[0], lines[1][:30] + b"\n", lines[2]]))
    torn = load_sweep(folder)
    assert len(torn.runs) == 2 and any("1 torn line in plan.jsonl" in note for note in notes(torn))
    write_plan(folder, "s", config, ["a"], ["b"], CONTENT)
    assert "had 1 torn line, written anew" in capsys.readouterr().out
    assert sorted((folder / "plan.jsonl").read_bytes().splitlines()) == sorted(whole.splitlines())


@pytest.mark.parametrize("left", ["", "train: {steps", "\x00", "- 1"], ids=["empty", "half", "zeros", "a list"])
def test_a_damaged_configuration_of_a_run_is_written_anew(left, sweep_config, tmp_path):
    folder, config = tmp_path / "s", sweep_config()
    write_plan(folder, "s", config, ["a"], ["b"], CONTENT)
    path = folder / "runs" / RUN / "config.yaml"
    whole = path.read_text()
    path.write_text(left)
    assert SweepFiles(folder).config(RUN) == {}
    write_plan(folder, "s", config, ["a"], ["b"], CONTENT)
    assert path.read_text() == whole


def test_what_other_programs_leave_beside_the_records_is_not_read(sweep):
    before = load_sweep(sweep)
    for stray in ("manifest.json.tmp", "plan.jsonl~", "runs/all_on/seed=0/steps.jsonl.tmp", "runs/all_on/seed=9.tmp"):
        (sweep / stray).write_text(json.dumps({"run": "x", "arm": "x", "seed": 0}))
    assert load_sweep(sweep) == before
