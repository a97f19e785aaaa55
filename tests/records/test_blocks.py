"""A sweep may have blocks: the same arms and seeds at several values of other options."""

import pytest

from harness.records.load import load_sweep
from tests.synthetic import leave_one_out, write_sweep

RATES = {"learning_rate=0.5": 0.5, "learning_rate=1.0": 1.0}


@pytest.fixture
def blocked(tmp_path):
    config, arms = {"train": {"steps": 6}}, leave_one_out()[:2]
    folder = write_sweep(tmp_path / "s", arms, (0, 1), blocks=RATES, config=config, main_block="learning_rate=1.0")
    return load_sweep(folder)


def test_a_sweep_without_blocks_has_one_without_a_name(tmp_path):
    sweep = load_sweep(write_sweep(tmp_path / "s"))
    assert sweep.blocks == ("",) and sweep.main_block == "" and {run.block for run in sweep.runs} == {""}
    assert sweep.of_block("") == sweep == sweep.main


def test_each_run_knows_its_block(blocked):
    assert blocked.blocks == tuple(RATES)
    assert [run.name for run in blocked.runs[:3]] == [
        "all_on/learning_rate=0.5/seed=0", "all_on/learning_rate=0.5/seed=1", "all_on/learning_rate=1.0/seed=0",
    ]  # fmt: skip
    assert {run.state for run in blocked.runs} == {"completed"}


def test_a_block_is_a_sweep_with_its_own_runs_and_values(blocked):
    block = blocked.of_block("learning_rate=0.5")
    assert block.blocks == ("learning_rate=0.5",)
    assert [run.name for run in block.runs_of("all_on")] == [f"all_on/learning_rate=0.5/seed={n}" for n in (0, 1)]
    assert block.manifest["config"] == {"train": {"steps": 6, "learning_rate": 0.5}}
    assert block.options_of("learning_rate=0.5") == {"train.learning_rate": 0.5}
    assert block.of_block("learning_rate=0.5") == block
    with pytest.raises(KeyError, match="no block 'learning_rate=2'"):
        blocked.of_block("learning_rate=2")


def test_the_main_block_is_the_one_that_the_manifest_names_else_the_first(blocked):
    assert blocked.main_block == "learning_rate=1.0"
    assert {run.block for run in blocked.main.runs} == {"learning_rate=1.0"}
    del blocked.manifest["main_block"]
    assert blocked.main_block == "learning_rate=0.5"
