"""`harness report A B`: several sweeps side by side, judged each by itself."""

import json
from dataclasses import replace

import pytest

from harness.commands import run_command
from harness.records.load import load_sweep
from harness.report.compare import ComparedEffect, compare
from harness.stats.effects import Effect
from tests.synthetic import leave_one_out, write_sweep


@pytest.fixture
def two(tmp_path):
    """Two sweeps at two learning rates; the second one lacks an arm."""
    config = {"train": {"learning_rate": 0.001}}
    write_sweep(tmp_path / "slow", seeds=(0, 1), config=config)
    arms = [arm for arm in leave_one_out() if arm["split"] == "on" or arm["tools"] == "off"]
    write_sweep(tmp_path / "fast", arms=arms, seeds=(2,), config={"train": {"learning_rate": 0.002}})
    return tmp_path / "slow", tmp_path / "fast"


def test_each_arm_and_effect_has_a_place_for_each_sweep(two):
    found = compare([load_sweep(folder) for folder in two])
    assert (found.sweeps, found.seeds) == (("slow", "fast"), ((0, 1), (2,)))
    arms = {arm.arm: arm for arm in found.arms}
    slow = [run.validations[-1].reference for run in load_sweep(two[0]).runs_of("all_on")]
    assert arms["all_on"].last[0] == pytest.approx(sum(slow) / 2)
    assert arms["without_split"].present == (True, False) and arms["without_split"].last[1] is None
    effects = {(e.kind, e.factors): e for e in found.effects}
    assert [e.seeds for e in effects["leave_one_out", ("tools",)].effects] == [2, 1]


def test_what_their_configurations_differ_in_is_said(two):
    found = compare([load_sweep(folder) for folder in two])
    assert ("train.learning_rate", ("0.001", "0.002")) in found.differences


def effect(verdict):
    return Effect("leave_one_out", "final", ("tools",), verdict, 0.1)


DIFFER = [
    (("raises", "no effect"), True),
    (("raises", "lowers"), True),
    (("raises", "raises"), False),
    (("raises", "undecided"), False),
    (("undecided", "not shown"), False),
    (("raises", None), False),
]


@pytest.mark.parametrize(("verdicts", "differ"), DIFFER)
def test_decided_here_and_undecided_there_is_no_difference(verdicts, differ):
    row = ComparedEffect("leave_one_out", ("tools",), tuple(v and effect(v) for v in verdicts))
    assert row.differ is differ


def test_the_command_prints_both_and_writes_nothing(two, capsys):
    before = {path: path.read_bytes() for folder in two for path in folder.rglob("*") if path.is_file()}
    assert run_command("report", list(map(str, two))) == 0
    said = capsys.readouterr().out
    for part in ("A: slow", "B: fast", "train.learning_rate: 0.001 / 0.002", "1 further arm is in one sweep alone"):
        assert part in said
    assert "Where verdicts differ" in said
    assert {path: path.read_bytes() for folder in two for path in folder.rglob("*") if path.is_file()} == before


def test_a_difference_is_named(two, monkeypatch, capsys):
    found = compare([load_sweep(folder) for folder in two])
    row = replace(found.effects[0], kind="leave_one_out", effects=(effect("raises"), effect("no effect")))
    monkeypatch.setattr("harness.report.command.compare", lambda _: replace(found, effects=(row,)))
    assert run_command("report", list(map(str, two))) == 0
    assert "A raises reward, B no effect" in capsys.readouterr().out


def test_for_a_program_it_is_json(two, capsys):
    assert run_command("report", [*map(str, two), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == 1 and found["sweeps"] == ["slow", "fast"]
    assert {effect["differ"] for effect in found["effects"]} <= {True, False}
