"""What the page shows before one reads: chips, curves, tasks."""

import re
from dataclasses import replace

import pytest

from harness.records.load import load_sweep
from harness.report.chips import WIDTH, bar_of, chips_html
from harness.report.curve_figure import curve_figure
from harness.report.figures import arm_colours
from harness.report.task_grid import task_columns, task_grid
from harness.stats.effects import Effect, analyse
from tests.synthetic import factorial, leave_one_out, make_invalid, write_status, write_sweep

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


ARROWS = [
    ((0.2, 0.8), []),
    ((-1.4, 0.8), [("left", "<")]),
    ((0.2, 1.1), [("right", ">")]),
    ((-1.4, 2.4), [("left", "<"), ("right", ">")]),
]


@pytest.mark.parametrize(("interval", "arrows"), ARROWS)
def test_an_arrow_stands_at_the_end_that_goes_on_and_points_outwards(tmp_path, interval, arrows):
    low, high = interval
    sweep = load_sweep(write_sweep(tmp_path / "s"))
    effects = analyse(sweep)
    changed = tuple(replace(e, low=low, high=high) if e.factors == ("tools",) else e for e in effects.effects)
    text = chips_html(sweep, replace(effects, effects=changed))
    (line,) = (part for part in text.split("<li>") if "<b>tools</b>" in part)
    drawn = re.findall(r'class="cut" d="M(\d+) \d+L(\d+) \d+L', line)  # from the arrow's foot to its tip
    assert arrows == [
        ("left" if int(tip) < WIDTH / 2 else "right", "<" if int(tip) < int(foot) else ">") for foot, tip in drawn
    ]


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


def test_the_legend_names_each_line_beside_its_own_colour_and_its_last_reward(tmp_path):
    text = curve_figure(load_sweep(write_sweep(tmp_path / "s")))
    drawn = {}
    group = r'<g [^>]*data-line="(\d+)" style="--c:(#\w+)">(.*?)</g>'
    for line, colour, inside in re.findall(group, text, re.S):
        name, last = re.findall(r"<title>(.*?), step \d+: (\S+)</title>", inside)[-1]
        drawn[line] = (colour, name, last)
    entry = r'<li data-line="(\d+)" [^>]*><i [^>]*style="--c:(#\w+)"></i> (.*?) <span class="figure">(.*?)</span>'
    assert {line: tuple(rest) for line, *rest in re.findall(entry, text)} == drawn
    assert len({colour for colour, _, _ in drawn.values()}) == len(drawn) > 3


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


LEFT_OUT = {
    "INVALID": {"validity": "INVALID", "invalid": [{"factor": "tools", "reading": "…"}]},
    "running": {"state": "running"},
    "failed": {"state": "failed", "error": "killed"},
}


@pytest.mark.parametrize("changes", LEFT_OUT.values(), ids=LEFT_OUT)
def test_a_run_that_is_invalid_or_has_not_completed_is_not_in_the_grid(tmp_path, changes):
    folder = write_sweep(tmp_path / "s", seeds=(0, 1))
    write_status(folder, "without_tools", seed=1, **changes)
    sweep = load_sweep(folder)
    (column,) = (column for column in task_columns(sweep) if "without_tools" in column.arms)
    last = {run.seed: run.validations[-1].by_task for run in sweep.runs_of("without_tools")}
    assert (column.seeds, column.means) == (1, last[0]) and last[0] != last[1]


def test_a_column_of_the_grid_has_the_colour_of_its_arms(tmp_path):
    sweep = load_sweep(write_sweep(tmp_path / "s"))
    heads = re.findall(r'<th [^>]*data-arms="([^"]+)"><i [^>]*style="--c:(#\w+)">', task_grid(sweep, {}))
    assert len({colour for _, colour in heads}) > 3
    assert all(arm_colours(sweep)[arm] == colour for arms, colour in heads for arm in arms.split())


def test_tasks_on_which_all_arms_end_alike_are_folded(tmp_path):
    text = task_grid(load_sweep(write_sweep(tmp_path / "s")), {})
    assert "tasks on which arms differ most</h3>" in text
    assert re.search(r"<summary>\d+ tasks on which all arms end alike</summary>", text)


def test_one_arm_alone_has_no_grid(tmp_path):
    assert task_grid(load_sweep(write_sweep(tmp_path / "s", arms=leave_one_out()[:1])), {}) == ""
