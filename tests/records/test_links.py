"""Whatever lies in a sweep's folder, nothing outside of it is written."""

import os

import pytest

from harness.commands import run_command
from harness.errors import ConfigError
from harness.records.links import refuse_links
from tests.synthetic import run_folder, write_sweep

COMMANDS = ["report", "claims", "seeds", "archive", "track"]


@pytest.fixture
def outside(tmp_path):
    """A file and a folder that are somebody else's."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("root\n")
    return tmp_path / "etc"


def placed(sweep, name, target):
    path = sweep / name
    if path.exists():
        path.rename(path.with_name("before"))
    path.symlink_to(target)


LINKS = [
    ("report.md", "passwd"),
    ("figures", ""),
    ("manifest.json.new", "passwd"),
    ("runs/all_on/seed=0/steps.jsonl", "passwd"),
    ("runs/all_off", ""),
    ("store", "not/there/yet"),
]


@pytest.mark.parametrize(("name", "target"), LINKS)
def test_a_link_that_leads_out_is_refused_with_a_sentence(tmp_path, outside, name, target):
    sweep = write_sweep(tmp_path / "s")
    placed(sweep, name, outside / target)
    with pytest.raises(ConfigError, match=f"{name} is a link that leads out of the sweep's folder, to {outside}"):
        refuse_links(sweep)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_writes_through_it(tmp_path, outside, command, capsys):
    sweep = write_sweep(tmp_path / "s")
    for name in ("report.md", "report.html", "manifest.json.new", ".lock", "records.jsonl.xz", "wandb"):
        placed(sweep, name, outside / "passwd")
    before = {path: path.stat().st_mtime_ns for path in (outside, outside / "passwd")}
    assert run_command(command, [str(sweep)]) == 2
    assert "is a link that leads out" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_sweep_with_such_a_link_is_not_continued(sweep_config, outside, tmp_path):
    from harness.sweep.plan import prepare

    config = sweep_config("sweep=mine")
    prepare(config)
    placed(tmp_path / "mine", "store", outside)
    with pytest.raises(ConfigError, match="store is a link"):
        prepare(config)


def test_the_sweeps_folder_may_be_a_link_and_so_may_what_stays_inside(tmp_path, outside):
    sweep = write_sweep(outside / "s")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "s").symlink_to(sweep)
    (sweep / "latest").symlink_to("runs/all_on")
    (sweep / "wandb" / "run").mkdir(parents=True)
    (sweep / "wandb" / "run" / "debug-core.log").symlink_to(outside / "passwd")  # as W&B makes them
    (run_folder(sweep, "all_on") / "itself").symlink_to("itself")  # leads nowhere
    refuse_links(tmp_path / "results" / "s")
    refuse_links(tmp_path / "not there")


def test_a_link_to_a_folder_whose_name_begins_alike_leads_out(tmp_path):
    sweep = write_sweep(tmp_path / "s")
    (tmp_path / "s2").mkdir()
    os.symlink("../s2", sweep / "figures")
    with pytest.raises(ConfigError, match="figures is a link"):
        refuse_links(sweep)
