"""Further validation sets in a report: shown apart, and part of no effect."""

import json

import pytest

from harness.records.load import load_sweep
from harness.report.markdown import markdown
from harness.report.page import page
from harness.stats.effects import to_json
from harness.stats.sweep_statistics import statistics_of
from tests.synthetic import run_folder, write_sweep


@pytest.mark.usefixtures("undrawn")
def test_further_sets_stand_in_a_section_of_their_own_and_in_no_effect(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=(0, 1), bounds=[0.0, 0.975])
    before = statistics_of(load_sweep(folder))
    assert "Further validation sets" not in markdown(load_sweep(folder), before)
    for arm, seed in ((arm, seed) for arm in load_sweep(folder).arms for seed in (0, 1)):
        path = run_folder(folder, arm, seed) / "validation.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for number in (0, -1):
            lines[number]["also"] = {"retail": {"5": 0.0, "9": -float(number), "17": None}}
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    sweep = load_sweep(folder)
    found = statistics_of(sweep)
    text, html = markdown(sweep, found), page(sweep, found)
    assert "| retail | all_on | 3 | 2 | 0.000 | 0.500 |" in text
    assert "Further validation sets" in html and to_json(found.effects, {}) == to_json(before.effects, {})
    assert "an agent that does nothing earns 0.000, one that makes no mistake 0.975" in text
