"""A verdict of few seeds says what it is worth where runs take off or fail by chance."""

import re

import pytest

from harness.paths import CONF
from harness.records.load import load_sweep
from harness.report.verdict import verdict_sentences
from harness.stats.by_chance import ENOUGH, WRONG, wrong_by_chance
from harness.stats.effects import analyse
from tests.synthetic import factorial, write_sweep

CALIBRATION = CONF.parent / "results" / "calibration.md"
CELL = re.compile(
    r"^\| null, half of all runs collapse, alike otherwise, (\d) seeds \| leave one out \| final \|(?:[^|]*\|){4} "
    r"([\d.]+) ± [\d.]+ % \|",
    re.MULTILINE,
)


def test_the_numbers_are_those_of_the_calibration():
    measured = {int(seeds): float(wrong) / 100 for seeds, wrong in CELL.findall(CALIBRATION.read_text())}
    assert pytest.approx(measured) == WRONG


@pytest.mark.parametrize(
    ("kind", "seeds"), [("leave_one_out", 1), ("leave_one_out", ENOUGH), ("leave_one_out", 9), ("main", 3)]
)
def test_nothing_is_said_where_it_is_rare_or_was_not_planted(kind, seeds):
    assert wrong_by_chance(kind, seeds) is None


def sure(folder):
    sweep = load_sweep(folder)
    return verdict_sentences(sweep, analyse(sweep))[1]


@pytest.mark.parametrize(("seeds", "share"), [(3, "11.5"), (4, "5.5")])
def test_a_verdict_that_some_fix_matters_says_it(seeds, share, tmp_path):
    said = sure(write_sweep(tmp_path / "s", seeds=range(seeds)))
    assert said.endswith(
        f" Where runs take off or fail by chance, {share} % of sweeps of {seeds} seeds find an effect that is not "
        "there (5 seeds: 1.5 %)."
    )


def test_nothing_is_said_beside_five_seeds_one_seed_or_no_verdict(tmp_path):
    assert "by chance" not in sure(write_sweep(tmp_path / "five", seeds=range(5)))
    assert "by chance" not in sure(write_sweep(tmp_path / "one"))
    flat = [arm for arm in factorial() if arm["logprobs"] == "off"]
    assert "by chance" not in sure(write_sweep(tmp_path / "flat", arms=flat, seeds=range(3)))
