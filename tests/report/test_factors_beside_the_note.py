"""A sweep of all factors that are known here, those that the note does not name included, is read and shown."""

import pytest

from harness.designs import design
from harness.factors import Arm, Factors
from harness.fixes import registry
from harness.records.load import load_sweep
from harness.report import formats
from harness.report.arm_rows import arm_rows
from harness.report.markdown import markdown
from harness.stats.effects import analyse
from harness.stats.sweep_statistics import statistics_of
from tests import synthetic

BESIDE = tuple(factor for factor in registry.own() if factor.rank is None)
ALL = Factors((*registry.note(), *BESIDE))


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "arm_name", lambda levels: Arm.of(levels).name)
    arms = [arm.as_dict for arm in design("leave_one_out", ALL)]
    declared = [factor.record() for factor in ALL]
    return load_sweep(synthetic.write_sweep(tmp_path / "s", arms=arms, seeds=range(3), factors=declared))


def test_each_has_a_letter_of_its_own_and_a_row_without_it(sweep):
    assert len(set(formats.letters(sweep.factors).values())) == len(ALL)
    assert {f"without_{factor.name}" for factor in BESIDE} <= {row.arm for row in arm_rows(sweep)}


def test_each_has_an_effect_and_a_line_of_the_report(sweep):
    effects = {effect.factors[0]: effect for effect in analyse(sweep).of("leave_one_out")}
    text = markdown(sweep, statistics_of(sweep))
    for factor in BESIDE:
        assert effects[factor.name].value is not None and f"without_{factor.name}" in text


def test_a_sentence_that_factors_share_is_said_once(sweep):
    text = markdown(sweep, statistics_of(sweep))
    assert "tools, toolcalls and toolorder no, in RL the server's own prompt ids are trained" in text
