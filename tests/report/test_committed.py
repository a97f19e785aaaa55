"""The committed sweeps: what is committed beside their records is what the analysis makes of them, to the byte."""

from pathlib import Path

import pytest

import harness
from harness.records.load import load_sweep
from harness.report.markdown import markdown
from harness.stats.sweep_statistics import effects_json, statistics_of

RESULTS = Path(harness.__file__).parent.parent / "results"
SWEEPS = sorted(path.parent for path in RESULTS.glob("*/effects.json"))


def test_the_sweeps_of_the_answer_are_committed():
    assert {"cpu_all", "cpu_gate_aware", "cpu_leave_one_out", "cpu_short_term"} <= {path.name for path in SWEEPS}


KEPT = {"plan.jsonl", "manifest.json", "records.jsonl.xz", "effects.json", "report.md", "report.html", "figures"}


def test_a_committed_sweep_keeps_its_records_in_one_file():
    archived = [folder for folder in SWEEPS if (folder / "records.jsonl.xz").exists()]  # not one that runs here
    assert len(archived) > 10
    assert {path.name for folder in archived for path in folder.iterdir()} == KEPT
    here = {plan.parent for plan in RESULTS.glob("*/plan.jsonl")} - set(archived)
    files = [path for path in RESULTS.rglob("*") if path.is_file() and not here & set(path.parents)]
    assert len(files) <= 300


@pytest.mark.parametrize("folder", SWEEPS, ids=lambda folder: folder.name)
def test_a_committed_report_follows_from_its_committed_records(folder):
    sweep = load_sweep(folder)
    found = statistics_of(sweep)
    assert effects_json(found) == (folder / "effects.json").read_text(encoding="utf-8")
    assert markdown(sweep, found) == (folder / "report.md").read_text(encoding="utf-8")
