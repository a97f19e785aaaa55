"""The mark of a switch follows the verdict on its run, not the reading of one step."""

import json

import pytest

from harness.records.load import load_sweep
from harness.report.check_marks import LEGEND, mark
from harness.report.markdown import markdown
from harness.report.page import page
from harness.stats.sweep_statistics import statistics_of
from tests.synthetic import leave_one_out, make_invalid, run_folder, write_jsonl, write_sweep

ARM = "without_reward"


@pytest.fixture
def folder(tmp_path):
    return write_sweep(tmp_path / "s", arms=leave_one_out(), seeds=(0, 1))


def read(folder, took_effect):
    """The checks of `reward` in one run, as they came out step by step."""
    path = run_folder(folder, ARM) / "checks.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line["factor"] == "reward":
            line["took_effect"] = took_effect[line["step"] - 1]
    write_jsonl(path, lines)


def marks(folder, factor="reward"):
    return [mark([run], factor) for run in load_sweep(folder).runs_of(ARM)]


def test_a_valid_run_has_no_cross_though_its_last_check_failed(folder):
    read(folder, [True, None, False, False, False, False])
    assert marks(folder) == ["✓", "✓"]


def test_an_invalid_run_has_one_at_the_factor_that_it_names(folder):
    make_invalid(folder, ARM, "reward", "one level only")
    assert marks(folder) == ["✗", "✓"]
    assert mark(load_sweep(folder).runs_of(ARM), "reward") == "✗"  # of an arm: in one of its runs
    assert marks(folder, "tools") == ["✓", "✓"]


def test_what_no_step_could_judge_has_neither(folder):
    read(folder, [None] * 6)
    assert marks(folder) == ["–", "✓"]


@pytest.mark.usefixtures("undrawn")
def test_the_report_and_its_page_say_what_the_marks_mean(folder):
    sweep = load_sweep(folder)
    found = statistics_of(sweep)
    assert LEGEND in markdown(sweep, found) and LEGEND in page(sweep, found)
