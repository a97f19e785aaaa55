"""`harness.load`: a sweep as pandas frames, and docs/notebook.md, whose blocks run as they stand there."""

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness.errors import ConfigError
from harness.records.json_files import read_lines
from harness.records.load import load_sweep
from harness.report.command import report_data
from harness.report.frames import COLUMNS
from harness.stats.sweep_statistics import statistics_of
from tests.synthetic import keep_rollouts, leave_one_out, rollout, write_sweep

ROOT = Path(harness.__file__).parent.parent
PAGE = ROOT / "docs" / "notebook.md"
BLOCKS = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
HEAVY = {"torch", "art", "vllm", "litellm", "transformers", "peft"}


@pytest.fixture
def sweep(tmp_path):
    folder = write_sweep(tmp_path / "s", arms=leave_one_out(), seeds=(0, 1), steps=3)
    keep_rollouts(folder, [rollout("without_tools/seed=0", served=[1, 2, 3], trained=[1, 3])])
    return harness.load(folder)


def test_every_column_is_documented_and_in_its_order(sweep):
    for name, columns in COLUMNS.items():
        expected = [c for column in columns for c in (sweep.records.factors if column == "<factor>" else (column,))]
        assert list(getattr(sweep, name).columns) == expected, name


def test_frames_have_a_row_a_thing(sweep):
    assert len(sweep.runs) == 8 * 2
    assert len(sweep.curves) == 16 * 4
    assert len(sweep.tasks) == 16 * 4 * 30
    assert len(sweep.checks) == 16 * 3 * 6
    assert len(sweep.rollouts) == 1


def test_numbers_are_those_of_the_records(sweep):
    run = load_sweep(sweep.folder).runs_of("without_tools")[0]
    row = sweep.runs.query("arm == 'without_tools' and seed == 0").iloc[0]
    assert (row["first"], row["last"]) == (run.validations[0].reference, run.validations[-1].reference)
    assert row.gap == pytest.approx(row.reported - row["last"])
    assert (row.tools, row.split) == ("off", "on")


def test_each_validation_is_at_its_step_of_its_run(sweep):
    for run in sweep.runs.run:
        curve, tasks = (frame[frame.run == run] for frame in (sweep.curves, sweep.tasks))
        lines = read_lines(sweep.folder / "runs" / run / "validation.jsonl")
        assert list(zip(curve.step, curve.reference, curve.reported, strict=True)) == [
            (line["step"], line["reference"]["mean"], line["reported"]["mean"]) for line in lines
        ]
        assert list(zip(tasks.step, tasks.task, tasks.reward, strict=True)) == [
            (line["step"], task, reward) for line in lines for task, reward in line["reference"]["by_task"].items()
        ]


def test_the_verdict_is_word_for_word_the_one_of_the_report(sweep):
    said = sweep.verdict()
    records = load_sweep(sweep.folder)
    assert said.splitlines() == list(report_data(records, statistics_of(records))["verdict"])
    assert "logprobs" in said


def test_effects_and_verdict_are_those_of_the_report(sweep):
    tools = sweep.effects.query("kind == 'leave_one_out' and outcome == 'final' and factors == 'tools'").iloc[0]
    assert tools.seeds == 2 and tools.low < tools.value < tools.high
    assert "Not known" in sweep.verdict()


def test_to_ask_for_effects_is_a_look_and_to_load_is_none(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=(0, 1), seeds_planned=[0, 1])
    looks = lambda: load_sweep(folder).manifest.get("looks", [])  # noqa: E731
    sweep = harness.load(folder)
    assert len(sweep.runs) and looks() == []
    assert len(sweep.effects) and [look["seeds"] for look in looks()] == [[0, 1]]


def test_a_rollout_says_whether_it_was_trained_on_as_served(sweep):
    (row,) = sweep.rollouts.itertuples()
    assert (row.served, row.trained, row.as_served) == ((1, 2, 3), (1, 3), False)


def test_figures_are_shown_by_a_notebook(sweep):
    for drawing in (sweep.plot.curves(), sweep.plot.effects(), sweep.plot.gaps()):
        assert drawing._repr_png_().startswith(b"\x89PNG")


def test_a_sweep_that_has_not_begun_has_empty_frames(tmp_path):
    folder = write_sweep(tmp_path / "s")
    for path in folder.glob("runs/*/*/*"):
        path.unlink()
    sweep = harness.load(folder)
    assert set(sweep.runs.state) == {"missing"}
    assert len(sweep.curves) == len(sweep.rollouts) == 0


def test_what_is_no_sweep_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no sweep folder"):
        harness.load(tmp_path)


def test_harness_is_cheap_to_import_and_loads_no_model_library():
    code = (
        "import sys, harness; early = sorted({'numpy', 'pandas', 'matplotlib'} & set(sys.modules))\n"
        "sweep = harness.load('results/cpu_8_steps'); sweep.effects, sweep.rollouts, sweep.verdict()\n"
        f"print(early, sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[] []"


def test_the_example_runs_and_prints_what_stands_there(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = PAGE.read_text(encoding="utf-8")
    assert text.count("```python") == len(BLOCKS.findall(text)) > 4
    assert filled(text) == text


def filled(text: str) -> str:
    """The page with what its blocks print now."""
    there: dict[str, object] = {}

    def run(block: re.Match[str]) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(block[1], there)
        return f"```python\n{block[1]}```\n\n```text\n{printed.getvalue()}```"

    return BLOCKS.sub(run, text)


def test_the_example_documents_every_column():
    text = PAGE.read_text(encoding="utf-8")
    for name, columns in COLUMNS.items():
        rows = "\n".join(f"| `{column}` | {meaning} |" for column, meaning in columns.items())
        assert f"### {name}\n\n| column | what it is |\n|---|---|\n{rows}\n" in text, name


if __name__ == "__main__":  # from the clone's root, when the page is to say what is printed now
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
