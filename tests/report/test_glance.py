"""What the page shows before one reads: chips, curves, tasks."""

import re
from dataclasses import replace

import pytest

from harness.records.load import load_sweep
from harness.report.chips import bar_of, chips_html
from harness.report.curve_figure import curve_figure
from harness.report.task_grid import task_columns, task_grid
from harness.stats.effects import Effect, analyse
from tests.synthetic import factorial, leave_one_out, make_invalid, write_sweep

VERDICTS = [
    ("raises", "Matters"),
    ("lowers", "Matters"),
    ("depends", "Matters"),
    ("no effect", "Makes no difference"),
    ("undecided", "Undecided"),
    ("not shown", "Undecided"),
    ("not answered", "Undecided"),
]


@pytest.mark.parametrize(("verdict", "chip"), VERDICTS)
def test_every_verdict_has_its_chip(tmp_path, verdict, chip):
    sweep = load_sweep(write_sweep(tmp_path / "s"))
    effects = analyse(sweep)
    changed = tuple(replace(e, verdict=verdict) if e.factors == ("tools",) else e for e in effects.effects)
    text = chips_html(sweep, replace(effects, effects=changed))
    (section,) = (part for part in text.split("<section")[1:] if "<b>tools</b>" in part)
    assert f'aria-label="{chip}"' in section
    assert "1 seed" in section


BARS = [
    ((0.5, 0.2, 0.8), (False, False)),
    ((0.5, -1.4, 2.4), (True, True)),
    ((0.9, 0.7, 1.1), (False, True)),
]


@pytest.mark.parametrize(("numbers", "cut"), BARS)
def test_an_interval_is_drawn_as_far_as_a_reward_can_change(numbers, cut):
    value, low, high = numbers
    bar = bar_of(Effect("leave_one_out", "final", ("tools",), "undecided", value, low, high, seeds=2))
    assert (bar.cut_low, bar.cut_high) == cut
    assert 0 <= bar.low <= bar.point <= bar.high <= 120


def test_an_interval_beyond_all_rewards_is_called_unusable(tmp_path):
    sweep = load_sweep(write_sweep(tmp_path / "s"))
    effects = analyse(sweep)
    wide = tuple(replace(e, low=-1.7, high=2.7, seeds=2) if e.factors == ("tools",) else e for e in effects.effects)
    assert "no usable interval from 2 seeds" in chips_html(sweep, replace(effects, effects=wide))


def test_each_curve_is_one_line_with_all_its_arms_and_its_numbers(tmp_path):
    text = curve_figure(load_sweep(write_sweep(tmp_path / "s", arms=factorial(), steps=3)))
    lines = re.findall(r'<g class="line (\w+)"', text)
    assert lines.count("best") == 1 and len(lines) == 5
    arms = [names.split() for names in re.findall(r'data-arms="([^"]+)"', text)]
    assert sum(map(len, arms)) == 64
    assert text.count("<circle") == 5 * 4
    assert re.search(r"<title>all_on = without_split, step 3: 0\.\d{3}</title>", text)


def test_an_invalid_arm_is_called_so_beside_its_curve(tmp_path):
    folder = write_sweep(tmp_path / "s")
    make_invalid(folder, "without_tools", "tools", "…")
    assert "without_tools INVALID" in curve_figure(load_sweep(folder))


def test_a_column_of_the_grid_is_the_mean_over_the_seeds_of_arms_that_end_alike(tmp_path):
    sweep = load_sweep(write_sweep(tmp_path / "s", seeds=(0, 1)))
    columns = {arm: column for column in task_columns(sweep) for arm in column.arms}
    assert columns["all_on"].arms == ("all_on", "without_split")
    expected = [run.validations[-1].by_task["task-20"] for run in sweep.runs_of("all_on")]
    assert columns["all_on"].means["task-20"] == sum(expected) / 2
    assert columns["all_on"].seeds == 2


def test_tasks_on_which_all_arms_end_alike_are_folded(tmp_path):
    text = task_grid(load_sweep(write_sweep(tmp_path / "s")), {})
    assert "tasks on which arms differ most</h3>" in text
    assert re.search(r"<summary>\d+ tasks on which all arms end alike</summary>", text)


def test_one_arm_alone_has_no_grid(tmp_path):
    assert task_grid(load_sweep(write_sweep(tmp_path / "s", arms=leave_one_out()[:1])), {}) == ""
