"""What a reader is told of placebos and negative controls, and what they keep out of."""

import json

import pytest

from harness.records.load import load_sweep
from harness.report import formats
from harness.report.arm_table import report
from harness.report.control_figure import control_figure
from harness.report.control_text import DISTRUST, control_line, control_section
from harness.report.curves import arm_curves
from harness.report.page import write_report
from harness.report.verdict import verdict_sentences
from harness.stats.controls import controls_of
from harness.stats.effects import analyse
from tests import synthetic
from tests.stats.test_controls import CONTROLS, NAMES, controls, folder, plant
from tests.synthetic import write_sweep

__all__ = ["folder"]  # the sweep of tests/stats/test_controls.py


def printed(folder):
    return "\n".join(str(getattr(part, "plain", "")) for part in report(load_sweep(folder)))


def cells(folder, title):
    section = control_section(controls(folder))
    return dict((row[0], row[1:]) for caption, grid in section.grids if caption == title for row in grid.rows)


def test_a_sound_sweep_says_so_in_one_sentence(folder):
    (line,) = control_line(controls(folder))
    assert line == (
        f"Controls: placebo is not shown to matter ({cells(folder, 'Placebo')['placebo'][1]}); of 3 negative controls "
        "3 not shown to learn and 3 lose to all_on."
    )


@pytest.mark.usefixtures("undrawn")
def test_a_control_that_rises_is_said_loudly_before_the_verdict_everywhere(folder):
    plant(folder, NAMES["shuffled_rewards"], lambda seed, step: 6 + step + seed % 2 * (step > 0))
    loud = f"{DISTRUST}: shuffled_rewards rose ("
    write_report(load_sweep(folder))
    for text in (printed(folder), (folder / "report.md").read_text()):
        assert text.index(loud) < text.index("With all fixes on")
    page = (folder / "report.html").read_text()
    assert page.index(loud.replace("'", "&#x27;")) < page.index("With all fixes on")
    assert cells(folder, "Negative controls")["shuffled_rewards"][2] == "FAILS: it rose"


def test_a_placebo_that_matters_is_said_loudly(folder):
    plant(folder, "without_placebo", lambda seed, step: 6)
    (line,) = control_line(controls(folder))
    assert line.startswith(f"{DISTRUST}: placebo seems to matter (") and "at most 5 % of cases" in line
    assert cells(folder, "Placebo")["placebo"][-1] == "FAILS"


def test_at_one_seed_it_is_luck_that_makes_a_difference_of_that_size(folder):
    lines = (folder / "plan.jsonl").read_text().splitlines()
    (folder / "plan.jsonl").write_text("\n".join(line for line in lines if '"seed": 0' in line) + "\n")
    plant(folder, NAMES["rate_0"], lambda seed, step: 6 + 2 * step, seeds=(0,))
    plant(folder, "without_placebo", lambda seed, step: 6, seeds=(0,))
    (line,) = control_line(controls(folder))
    assert line.count("means nothing at one seed") == 2


def test_that_all_on_learns_nothing_is_said(folder):
    for arm in ("all_on", "without_placebo"):
        plant(folder, arm, lambda seed, step: 6)
    assert "all_on itself is not shown to learn" in control_line(controls(folder))[0]


def test_the_verdict_says_nothing_of_the_placebo_and_the_correction_counts_it(folder):
    sweep = load_sweep(folder)
    what, sure, unknown = verdict_sentences(sweep, analyse(sweep))
    assert "placebo" not in what and "placebo" not in unknown
    assert "the placebo among them" in sure or "Holm" not in sure


@pytest.mark.usefixtures("undrawn")
def test_control_arms_are_in_the_tables_and_in_no_figure_of_the_fixes(folder):
    sweep = load_sweep(folder)
    write_report(sweep)
    text = (folder / "report.md").read_text()
    rows = [line for line in text.partition("## Arms")[2].splitlines() if line.startswith("| all_on")]
    assert {f"| {name} |" in "".join(rows) for name in NAMES.values()} == {True}
    assert formats.headline(sweep.with_controls).startswith("6 arms, 24 runs")
    assert {curve.arms[0] for curve in arm_curves(sweep)} == {"all_on", "without_tools", "without_placebo"}


@pytest.mark.usefixtures("undrawn")
def test_an_invalid_control_is_listed_with_the_invalid_runs(folder):
    synthetic.make_invalid(folder, NAMES["rate_0"], "signal", "the weights moved")
    assert "the weights moved" in printed(folder)
    write_report(load_sweep(folder))
    assert "the weights moved" in (folder / "report.md").read_text().partition("## Curves")[0]


def test_the_figure_holds_all_on_the_placebo_and_the_controls_by_their_level(folder):
    (axes,) = control_figure(load_sweep(folder)).axes
    assert {text.get_text() for text in axes.texts} == {"all_on", "placebo off", *CONTROLS}


def test_the_section_and_its_figure_are_in_page_and_twin(folder):
    write_report(load_sweep(folder))
    text = (folder / "report.md").read_text()
    assert "## Controls" in text and "![controls](figures/controls.png)" in text
    assert (folder / "figures" / "controls.png").is_file()
    page = (folder / "report.html").read_text()
    assert '<h2 id="controls">' in page and 'id="controls-wide-' in page
    assert json.loads((folder / "effects.json").read_text())["controls"]["sound"] is True


@pytest.mark.usefixtures("undrawn")
def test_a_sweep_without_controls_has_no_word_of_them(tmp_path):
    folder = write_sweep(tmp_path / "s")
    write_report(load_sweep(folder))
    text = (folder / "report.md").read_text()
    assert "## Controls" not in text and "Controls:" not in text and not (folder / "figures" / "controls.png").exists()
    assert "Controls:" not in printed(folder)


@pytest.mark.parametrize("of", ["controls alone", "nothing ran"])
def test_a_report_can_be_made_of_control_runs_alone_and_before_they_ran(folder, of):
    lines = (folder / "plan.jsonl").read_text().splitlines()
    if of == "controls alone":
        lines = [line for line in lines if '"signal"' in line]
    else:
        (folder / "runs").rename(folder / "elsewhere")
    (folder / "plan.jsonl").write_text("\n".join(lines) + "\n")
    sweep = load_sweep(folder)
    write_report(sweep)
    found = controls_of(sweep, analyse(sweep))
    assert (found.sound, found.failed) == (None, ()) and printed(folder)
    assert len(sweep.with_controls.runs) == len(lines)


def test_a_sweep_of_negative_controls_alone_has_a_report(folder):
    lines = (folder / "plan.jsonl").read_text().splitlines()
    (folder / "plan.jsonl").write_text("".join(line + "\n" for line in lines if "rate_0" in line))
    write_report(load_sweep(folder))
    assert "1 arm, 4 runs" in printed(folder)
