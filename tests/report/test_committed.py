"""The committed sweeps: what is committed beside their records is what the analysis makes of them, to the byte."""

import json
import lzma
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


def documents():
    """Each committed JSON text, by its file."""
    for path in RESULTS.rglob("*.json"):
        yield path, path.read_text(encoding="utf-8")
    for path in RESULTS.rglob("*.jsonl"):
        yield from ((path, line) for line in path.read_text(encoding="utf-8").splitlines())
    for path in RESULTS.rglob("*.jsonl.xz"):
        yield from ((path, line) for line in lzma.decompress(path.read_bytes()).decode().splitlines())


def test_what_is_committed_as_json_is_json_to_every_other_reader():
    """A browser, jq and pandas know neither NaN nor Infinity."""
    seen = set()
    for path, text in documents():
        if path not in seen or "NaN" in text or "Infinity" in text:
            json.loads(text, parse_constant=lambda word, path=path: pytest.fail(f"{path} holds {word}"))
        seen.add(path)
    assert len(seen) > 50


@pytest.mark.parametrize("folder", SWEEPS, ids=lambda folder: folder.name)
def test_a_committed_report_follows_from_its_committed_records(folder):
    sweep = load_sweep(folder)
    found = statistics_of(sweep)
    assert effects_json(found) == (folder / "effects.json").read_text(encoding="utf-8")
    assert markdown(sweep, found) == (folder / "report.md").read_text(encoding="utf-8")
