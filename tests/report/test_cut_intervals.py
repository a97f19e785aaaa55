"""What a report prints of an interval that goes beyond what rewards can be: cut, with an arrow. The numbers stay."""

import io
import json
import re

import numpy as np
import pytest
from rich.console import Console

from harness.paths import CLAIMS
from harness.records.load import load_sweep
from harness.report.arm_table import print_report
from harness.report.effect_figures import forest_figure
from harness.report.markdown import markdown
from harness.report.page import page
from harness.report.seeds_command import parts
from harness.report.step_figures import steps_figure
from harness.stats.claims import load_claims, verdicts
from harness.stats.command import verdict_table
from harness.stats.effects import analyse
from harness.stats.more_seeds import needs
from harness.stats.outcomes import outcomes_of
from harness.stats.reward_range import CUT
from harness.stats.sweep_statistics import effects_json, statistics_of
from tests.synthetic import TASKS, run_folder, write_sweep

INTERVAL = re.compile(r"[+−]?(\d\.\d{3}) \[←?−?(\d\.\d{3}), −?(\d\.\d{3})→?\]")


@pytest.fixture
def wide(tmp_path):
    """Two seeds of all_on that have nothing in common: one ends at 1, the other at .2."""
    folder = write_sweep(tmp_path / "s", seeds=(0, 1))
    for seed, solved in ((0, len(TASKS)), (1, len(TASKS) // 5)):
        path = run_folder(folder, "all_on", seed) / "validation.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        by_task = {task: float(i < solved) for i, task in enumerate(TASKS)}
        for line in lines[2:]:
            line["reference"] |= {"by_task": by_task, "mean": solved / len(TASKS)}
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return load_sweep(folder)


@pytest.mark.usefixtures("undrawn")
def test_no_printed_interval_of_a_reward_goes_beyond_what_rewards_can_be(wide):
    found = statistics_of(wide)
    (exploration,) = [e for e in found.effects.of("leave_one_out") if e.factors == ("exploration",)]
    assert exploration.high > 1.5 and exploration.low < -1
    assert f'"high": {exploration.high:.6f}' in effects_json(found)  # the whole of it
    for text in (markdown(wide, found), page(wide, found), terminal(wide)):
        assert f"+{exploration.value:.3f} [←−1.000, 1.000→]" in text and CUT in text
        reference = text.rpartition("Effects on the reported reward")[0] or text
        ends = [float(end) for each in INTERVAL.findall(reference) for end in each]
        assert ends and max(ends) <= 1


def terminal(sweep):
    file = io.StringIO()
    print_report(sweep, Console(file=file, width=400))
    return file.getvalue()


def test_the_figures_are_cut_with_arrowheads(wide):
    effects = analyse(wide)
    (axes,) = forest_figure(effects).axes
    assert max(np.abs(line.get_xdata()).max() for line in axes.lines if len(line.get_xdata()) == 2) <= 1
    assert {"<", ">"} <= {line.get_marker() for line in axes.lines}
    panels = steps_figure(effects).axes
    bands = [band.get_paths()[0].vertices[:, 1] for axes in panels for band in axes.collections]
    assert max(np.abs(ys[np.isfinite(ys)]).max() for ys in bands) <= 1
    assert {"v", "^"} <= {line.get_marker() for axes in panels for line in axes.lines}


@pytest.mark.usefixtures("undrawn")
def test_a_report_without_such_an_interval_says_nothing_of_arrows(tmp_path):
    sweep = load_sweep(write_sweep(tmp_path / "s", seeds=range(5)))
    assert CUT not in markdown(sweep, statistics_of(sweep))


def test_the_counts_of_missing_seeds_and_the_claims_explain_their_arrows(wide):
    effects = analyse(wide)
    lines = parts(wide, effects, needs(outcomes_of(wide), "leave_one_out", effects.effects))
    assert CUT in [line for line in lines if isinstance(line, str)]
    found = verdicts(wide, load_claims(CLAIMS))
    assert any("→" in v.evidence for v in found) and verdict_table(found, "note").caption == CUT
