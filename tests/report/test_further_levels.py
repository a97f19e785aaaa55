"""A sweep in which a factor has a third level is read, judged and shown like any other."""

import pytest

from harness.fixes.registry import note
from harness.records.load import load_sweep
from harness.report import formats
from harness.report.arm_rows import arm_rows
from harness.report.markdown import markdown
from harness.stats.effects import analyse
from harness.stats.sweep_statistics import statistics_of
from tests.synthetic import write_sweep

NOTE = note()
ALL_ON = NOTE.with_off()
ARMS = [ALL_ON, NOTE.with_off("reward"), ALL_ON.but(reward="mine"), NOTE.with_off("tools"), NOTE.with_on()]
CROSSED = [ALL_ON.but(reward=r, tools=t) for r in ("on", "off", "mine") for t in ("on", "off")]


@pytest.fixture
def sweep(tmp_path):
    def make(arms):
        return load_sweep(write_sweep(tmp_path / "s", arms=[arm.as_dict for arm in arms], seeds=range(3)))

    return make


def by_name(effects, kind):
    return {e.factors[0]: e for e in effects.of(kind)}


def test_a_further_level_has_an_effect_of_its_own_beside_that_of_off(sweep):
    found = by_name(analyse(sweep(ARMS)), "leave_one_out")
    assert found["reward"].value is not None and found["reward=mine"].value is not None
    assert found["exploration"].value is None
    assert found["reward=mine"].note.startswith("on against mine")


def test_a_further_level_is_compared_with_the_baseline_level_and_the_note_says_so(sweep):
    found = by_name(analyse(sweep(CROSSED)), "main")
    assert "reward=mine against off" in found["reward=mine"].note
    assert found["reward"].value is not None and found["tools"].value is not None


def test_without_the_baseline_level_it_is_compared_with_on(sweep):
    arms = [arm for arm in CROSSED if arm.level("reward") != "off"]
    found = by_name(analyse(sweep(arms)), "main")
    assert "reward=mine against on" in found["reward=mine"].note
    assert found["reward"].value is None


def test_the_table_shows_a_further_level_by_a_sign_of_its_own(sweep):
    found = sweep(ARMS)
    (row,) = [row for row in arm_rows(found) if row.arm == "all_on_with_reward=mine"]
    assert formats.dots(row, found.factors) == ["●", "●", "●", "◐", "●", "●"]
    assert "◐ as the name says" in formats.legend(found)


def test_the_report_names_the_arm_and_its_effect(sweep):
    found = sweep(ARMS)
    text = markdown(found, statistics_of(found))
    assert "all_on_with_reward=mine" in text and "| reward=mine |" in text
