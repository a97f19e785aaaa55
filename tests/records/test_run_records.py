"""Records are append-only, survive a torn line, and are not written twice by a replay."""

import json
import math

import pytest

from harness.errors import StoreError
from harness.records.json_files import read_lines
from harness.records.run_records import RunRecords


def test_a_replay_adds_nothing_that_is_there(tmp_path):
    for _ in range(2):
        records = RunRecords(tmp_path)
        records.add("steps", {"step": 1, "reward": 0.5})
        records.add("checks", {"step": 1, "factor": "tools"})
        records.add("checks", {"step": 1, "factor": "split"})
    assert len(read_lines(tmp_path / "steps.jsonl")) == 1
    assert len(read_lines(tmp_path / "checks.jsonl")) == 2


def test_a_torn_last_line_is_dropped_and_written_anew(tmp_path):
    RunRecords(tmp_path).add("steps", {"step": 1})
    with open(tmp_path / "steps.jsonl", "a") as file:
        file.write('{"step": 2, "rew')
    records = RunRecords(tmp_path)
    records.add("steps", {"step": 2, "reward": 1.0})
    assert [line["step"] for line in read_lines(tmp_path / "steps.jsonl")] == [1, 2]


def test_not_a_number_becomes_null(tmp_path):
    RunRecords(tmp_path).add("steps", {"step": 1, "loss": math.nan, "trainer": {"x": [math.inf, 1.0]}})
    line = json.loads((tmp_path / "steps.jsonl").read_text())
    assert line == {"step": 1, "loss": None, "trainer": {"x": [None, 1.0]}}


def test_a_replay_may_take_another_time_but_not_give_another_result(tmp_path):
    computed = {"seconds": {"train": 1.0}, "trainer": {"tokens_per_s": 9000.0}}
    found = {"seconds": {"train": 0.1}, "trainer": {}}
    RunRecords(tmp_path).add("steps", {"step": 1, "reward": 0.5, **computed})
    RunRecords(tmp_path).add("steps", {"step": 1, "reward": 0.5, **found})
    with pytest.raises(StoreError, match="another result for 1/"):
        RunRecords(tmp_path).add("steps", {"step": 1, "reward": 0.6})


def test_without_reuse_a_run_starts_from_empty_files(tmp_path):
    RunRecords(tmp_path).add("steps", {"step": 1, "reward": 0.5})
    RunRecords(tmp_path, anew=True).add("steps", {"step": 1, "reward": 0.6})
    assert [line["reward"] for line in read_lines(tmp_path / "steps.jsonl")] == [0.6]
