"""The numbers of an arm, and the table that a terminal shows."""

import io
import json

import pytest
from rich.console import Console

from harness.records.load import load_sweep
from harness.report import formats
from harness.report.arm_rows import area, arm_rows, reuse_rows, slope
from harness.report.arm_table import print_report
from harness.report.markdown import markdown
from harness.report.page import page
from harness.stats.sweep_statistics import statistics_of
from tests.synthetic import factorial, make_invalid, run_folder, unshown, write_status, write_sweep


def shown(sweep, width=100):
    file = io.StringIO()
    print_report(load_sweep(sweep), Console(file=file, width=width))
    return file.getvalue()


def row(sweep, arm):
    return next(r for r in arm_rows(load_sweep(sweep)) if r.arm == arm)


@pytest.mark.parametrize(
    ("curve", "per_step", "height"),
    [
        ([(0, 0.2), (1, 0.3), (2, 0.4)], 0.1, 0.3),
        ([(0, 0.5), (4, 0.5)], 0.0, 0.5),
        ([(0, 0.0), (1, 0.0), (3, 0.3)], 0.3 * (5 / 3) / (14 / 3), 0.1),
        ([(0, 0.2)], None, None),
        ([], None, None),
    ],
)
def test_slope_is_least_squares_per_step_and_area_is_mean_height(curve, per_step, height):
    assert slope(curve) == (per_step if per_step is None else pytest.approx(per_step))
    assert area(curve) == (height if height is None else pytest.approx(height))


def test_the_fully_fixed_arm_is_first_then_the_best(tmp_path):
    rows = arm_rows(load_sweep(write_sweep(tmp_path / "s")))
    assert rows[0].arm == "all_on"
    assert [r.last for r in rows[1:]] == sorted((r.last for r in rows[1:]), reverse=True)


def test_an_invalid_run_does_not_stand_for_its_arm(tmp_path):
    sweep = write_sweep(tmp_path / "s", seeds=(0, 1))
    alone = row(write_sweep(tmp_path / "one", seeds=(0,)), "all_on").last
    flat = (run_folder(sweep, "all_off", 1) / "validation.jsonl").read_text()
    (run_folder(sweep, "all_on", 1) / "validation.jsonl").write_text(flat)
    assert row(sweep, "all_on").last < alone - 0.1
    make_invalid(sweep, "all_on", "endpoint", "adapter never answered", seed=1)
    assert row(sweep, "all_on").invalid_runs == 1
    assert row(sweep, "all_on").last == pytest.approx(alone)


def test_the_gap_is_reported_minus_reference(tmp_path):
    split = row(write_sweep(tmp_path / "s"), "without_split")
    assert split.gap == pytest.approx(split.reported - split.last)
    assert split.gap < -0.2


def test_sixty_four_arms_fit_one_line_each_at_100_columns(tmp_path):
    text = shown(write_sweep(tmp_path / "s", arms=factorial()))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert sum("○" in line or "●" in line for line in lines) == 64 + 1  # and the legend
    assert "only_endpoint_tools " in text


@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_terminal_gets_a_table_for_each_block_with_nothing_cut(tmp_path, width):
    sweep = write_sweep(tmp_path / "s", blocks={"learning_rate=0.0075": 0.0075, "learning_rate=1.0": 1.0})
    lines = shown(sweep, width).splitlines()
    assert max(map(len, lines)) <= width
    heads = [n for n, line in enumerate(lines) if line.startswith("arm ")]
    assert [lines[n - 1].strip() for n in heads] == ["learning rate 0.0075", "learning rate 1.0"]
    rows = [line for n in heads for line in lines[n + 1 : n + 10]]
    assert not any("…" in line for line in rows)
    assert sum(line.rstrip().endswith("done") for line in rows) == 16
    assert "".join(line.split(" ")[0] for line in rows).count("without_exploration") == 2


def test_invalid_and_failed_runs_say_why_and_how_to_go_on(tmp_path):
    sweep = write_sweep(tmp_path / "s")
    make_invalid(sweep, "without_tools", "tools", "equal contexts 1.0, expected 0.0")
    write_status(sweep, "without_reward", state="failed", error="Traceback …\nEngineError: vLLM died")
    text = shown(sweep, 120)
    assert "without_tools/seed=0  tools: equal contexts 1.0, expected 0.0" in text
    assert "without_reward/seed=0  EngineError: vLLM died" in text
    assert "python -m harness +ablation=leave_one_out" in text
    assert "INVALID t" in text


@pytest.mark.usefixtures("undrawn")
def test_a_run_whose_switch_was_not_shown_is_not_called_valid(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=(0, 1))
    for seed in (0, 1):
        unshown(folder, "without_logprobs", "endpoint", seed)
    unshown(folder, "without_logprobs", "tools", 1)
    said, letters = "not shown 2/2 endpoint,tools", "not shown 2/2 e,t"
    sweep = load_sweep(folder)
    assert next(line for line in shown(folder, 120).splitlines() if line.startswith("without_logprobs")).count(letters)
    found = statistics_of(sweep)
    for text in (markdown(sweep, found), page(sweep, found)):
        assert text.count(said) == 1 and "such a run is neither valid nor INVALID" in text
    assert formats.validity(row(folder, "all_on")) == "valid"


def test_an_invalid_run_is_named_first_and_a_run_under_way_hides_nothing_yet(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=(0, 1))
    unshown(folder, "all_off", "endpoint", 0)
    make_invalid(folder, "all_off", "tools", "0 % equal", seed=1)
    assert formats.validity(row(folder, "all_off")) == "INVALID 1/2 tools"
    unshown(folder, "all_on", "endpoint", 0)
    write_status(folder, "all_on", 0, state="running")
    assert formats.validity(row(folder, "all_on")) == "valid"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_what_was_not_shown_fits_a_narrow_terminal(width, tmp_path):
    folder = write_sweep(tmp_path / "s", steps=3)
    unshown(folder, "without_tools", "endpoint")
    lines = shown(folder, width).splitlines()
    line = next(line for line in lines if line.startswith("without_tools"))
    assert max(map(len, lines)) <= width and "not shown" in line and line.split()[-1] == "done"


def test_it_ends_with_the_verdict_in_three_sentences(tmp_path):
    text = " ".join(shown(write_sweep(tmp_path / "s", seeds=(0, 1)), 120).split())
    end = text[text.index("Verdict With all fixes on") :]
    assert "How sure: " in end and "Not known: " in end


def test_the_state_says_how_far_a_running_arm_is(tmp_path):
    sweep = write_sweep(tmp_path / "s", seeds=(0, 1))
    write_status(sweep, "all_on", 0, state="running")
    assert formats.state(row(sweep, "all_on"), 6) == "1 running"
    write_status(sweep, "all_on", 1, state="running")
    assert formats.state(row(sweep, "all_on"), 6) == "at 6/6"
    assert formats.state(row(sweep, "all_off"), 6) == "done"


def test_reuse_comes_from_the_store_where_it_counted_and_else_from_the_steps(tmp_path):
    sweep = write_sweep(tmp_path / "s", steps=6)
    episodes, updates = reuse_rows(load_sweep(sweep))
    assert (episodes.asked, episodes.computed + episodes.shared) == (8 * 6 * 36, episodes.asked)
    assert (updates.asked, updates.computed, updates.shared) == (48, 24, 24)
    counts = {"episodes": {"asked": 9, "computed": 3, "shared": 6}, "seconds": {"wall": 1.0}}
    (sweep / "reuse.json").write_text(json.dumps(counts))
    assert formats.reuse_cells(reuse_rows(load_sweep(sweep))[0]) == ("episodes", "9", "3", "6", "67%")


def test_what_a_continued_sweep_asked_for_twice_counts_once(tmp_path):
    sweep = write_sweep(tmp_path / "s", steps=6)
    once = reuse_rows(load_sweep(sweep))[0].asked
    held = once + sum(v.asked for run in load_sweep(sweep).runs for v in run.validations)
    counts = {"asked": 3 * held, "computed": 3, "shared": 3 * held - 3}
    (sweep / "reuse.json").write_text(json.dumps({"episodes": counts}))
    episodes = reuse_rows(load_sweep(sweep))[0]
    assert (episodes.asked, episodes.computed, episodes.shared) == (held, 3, held - 3)


@pytest.mark.parametrize(
    ("value", "text"), [(0.25, "+0.250"), (-0.1, "−0.100"), (1e-9, "0.000"), (-1e-9, "0.000"), (None, "–")]
)
def test_signed_numbers(value, text):
    assert formats.signed(value) == text


@pytest.mark.parametrize(("values", "text"), [([0], "0"), ([2, 0, 1], "0-2"), ([0, 3], "0,3"), ([0, 1], "0,1")])
def test_seeds(values, text):
    assert formats.seeds(values) == text


def test_each_factor_has_a_letter_of_its_own():
    letters = formats.letters(("endpoint", "tools", "exploration", "reward", "logprobs", "split", "tokens"))
    assert len(set(letters.values())) == 7
    assert letters["exploration"] == "x"


def test_the_last_digits_of_a_processor_do_not_change_what_is_written():
    apart = -0.0025 * (1 - 1e-15), -0.0025 * (1 + 1e-15)  # on both sides of what rounds down and up
    assert f"{apart[0]:.3f}" != f"{apart[1]:.3f}"
    assert formats.signed(apart[0]) == formats.signed(apart[1])
    assert formats.reward(-1e-17) == formats.reward(0.0)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_on_a_narrow_terminal_columns_are_left_out_and_no_number_is_cut(width, tmp_path):
    lines = shown(write_sweep(tmp_path / "s", steps=3), width).splitlines()
    assert max(map(len, lines)) <= width
    row = next(line for line in lines if line.startswith("without_tools"))
    assert "…" not in row and "done" in row
    assert ("slope" in next(line for line in lines if line.startswith("arm "))) == (width == 120)
    assert any("Left out on" in line for line in lines) == (width < 120)
