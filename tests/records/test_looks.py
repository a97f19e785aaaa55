"""The manifest holds the seeds that were planned and the looks; what is no look adds none."""

import json

import pytest

from harness.errors import ConfigError
from harness.launch.work_order import digest_of_manifest
from harness.records.layout import SweepFiles
from harness.records.load import load_sweep
from harness.records.looks import looks_of, record_look
from harness.records.run_records import RunRecords
from harness.sweep.manifest import write_plan
from tests.synthetic import write_sweep

CONTENT = {"policy": "p1", "domain": "d1"}


def start(config, folder, *completed):
    """A start as far as its report: the plan, these runs completed, a look."""
    write_plan(folder, "s", config, ["a"], ["b"], CONTENT)
    complete(folder, *completed)
    record_look(folder)


def complete(folder, *runs):
    for run in runs:
        RunRecords(SweepFiles(folder).run(run).folder).set_status(run=run, state="completed")


def seeds(*numbers):
    return [f"all_on/seed={n}" for n in numbers]


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def recorded(folder):
    return [look["seeds"] for look in manifest(folder).get("looks", [])]


def asked(sweep_config, *numbers, options=()):
    return sweep_config(*options, runs=[[f"seed={n}"] for n in numbers])


def test_a_sweep_that_ran_as_planned_was_looked_at_once(sweep_config, tmp_path):
    start(asked(sweep_config, 0, 1, 2), tmp_path, *seeds(0, 1, 2))
    assert manifest(tmp_path)["seeds_planned"] == [0, 1, 2]
    assert recorded(tmp_path) == [[0, 1, 2]]


def test_the_same_command_and_the_same_report_again_are_no_further_looks(sweep_config, tmp_path):
    for _ in range(2):
        start(asked(sweep_config, 0, 1), tmp_path, *seeds(0, 1))
    record_look(tmp_path)
    assert recorded(tmp_path) == [[0, 1]]


def test_a_refused_command_adds_no_look_and_plans_nothing(sweep_config, tmp_path):
    start(asked(sweep_config, 0, 1), tmp_path, *seeds(0, 1))
    before = manifest(tmp_path)
    with pytest.raises(ConfigError):
        start(asked(sweep_config, 2, options=["train.steps=9"]), tmp_path, *seeds(2))
    assert manifest(tmp_path) == before


def test_more_seeds_are_a_further_look_and_not_the_plan(sweep_config, tmp_path):
    start(asked(sweep_config, 0, 1), tmp_path, *seeds(0, 1))
    start(asked(sweep_config, 2), tmp_path, *seeds(2))
    assert manifest(tmp_path)["seeds_planned"] == [0, 1]
    assert recorded(tmp_path) == [[0, 1], [0, 1, 2]]


def test_the_plan_may_grow_until_two_seeds_were_looked_at(sweep_config, tmp_path):
    start(asked(sweep_config, 0), tmp_path, *seeds(0))
    start(asked(sweep_config, 0, 1, 2), tmp_path, *seeds(1, 2))
    assert manifest(tmp_path)["seeds_planned"] == [0, 1, 2]
    assert recorded(tmp_path) == [[0], [0, 1, 2]]


def test_a_sweep_before_its_first_run_was_not_looked_at(sweep_config, tmp_path):
    start(asked(sweep_config, 0, 1), tmp_path)
    assert recorded(tmp_path) == []


def test_a_look_at_a_sweep_that_is_under_way_counts_its_complete_seeds(sweep_config, tmp_path):
    start(asked(sweep_config, 0, 1, 2, 3), tmp_path, *seeds(0, 1))
    looks = looks_of(load_sweep(tmp_path))
    assert looks.planned == 4 and [look.whole for look in looks.at] == [2]


def test_a_plan_of_looks_reaches_to_the_last_of_them(sweep_config, tmp_path):
    start(asked(sweep_config, 0, 1, options=["stats.looks_planned=[2,4]"]), tmp_path, *seeds(0, 1))
    assert looks_of(load_sweep(tmp_path)).planned == 4
    with pytest.raises(ConfigError, match=r"stats.looks_planned"):
        start(asked(sweep_config, 2, options=["stats.looks_planned=[2,6]"]), tmp_path)


@pytest.mark.parametrize("wrong", ["[1,2]", "[4,2]", "[2,3,4,5,6]", "[]"])
def test_looks_are_one_to_four_rising_numbers_of_seeds(wrong, sweep_config):
    with pytest.raises(ConfigError, match="rising from at least 2"):
        sweep_config(f"stats.looks_planned={wrong}")


def test_looks_without_an_end_have_no_plan(sweep_config):
    with pytest.raises(ConfigError, match="Drop one"):
        sweep_config("stats.looks_planned=[2,4]", "stats.looks=open")


def test_a_manifest_that_names_no_seeds_was_looked_at_once(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=(0, 1))
    before = manifest(folder)
    record_look(folder)
    assert manifest(folder) == before and looks_of(load_sweep(folder)).at == ()


def test_more_seeds_for_an_older_sweep_are_its_second_look(sweep_config, tmp_path):
    write_plan(tmp_path, "s", asked(sweep_config, 0, 1), ["a"], ["b"], CONTENT)
    complete(tmp_path, *seeds(0, 1))
    older = manifest(tmp_path)
    del older["seeds_planned"]
    SweepFiles(tmp_path).write_manifest(older)
    start(asked(sweep_config, 2, 3), tmp_path, *seeds(2, 3))
    assert manifest(tmp_path)["seeds_planned"] == [0, 1]
    assert recorded(tmp_path) == [[0, 1], [0, 1, 2, 3]]


def test_an_engine_knows_the_folder_although_a_report_was_made_meanwhile(sweep_config, tmp_path):
    start(asked(sweep_config, 0, 1), tmp_path, *seeds(0))
    before = digest_of_manifest(tmp_path / "manifest.json")
    complete(tmp_path, *seeds(1))
    record_look(tmp_path)
    assert digest_of_manifest(tmp_path / "manifest.json") == before
