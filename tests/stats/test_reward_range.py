"""What an estimate can be at all, and an interval that is cut there for print."""

import pytest

from harness.stats.reward_range import brackets, cut, reach, reach_of

STEPS = (0, 2, 4)


@pytest.mark.parametrize(
    ("kind", "outcome", "most"),
    [
        ("leave_one_out", "final", 1.0),
        ("main", "area", 1.0),
        ("interaction", "final", 2.0),  # a difference of two differences
        ("added_alone", "slope", 0.5),  # one arm falls from 1 to 0 and the other rises, in four steps
    ],
)
def test_an_effect_is_a_difference_of_rewards(kind, outcome, most):
    assert reach_of(kind, outcome, STEPS) == (pytest.approx(-most), pytest.approx(most))


def test_an_arm_by_itself_is_a_reward():
    assert reach((1.0,), (0.0, 0.0, 1.0)) == (0.0, 1.0)
    assert reach((1.0, -0.5), (1.0,)) == (-0.5, 1.0)


def test_what_lies_inside_stays_and_what_goes_on_has_an_arrow():
    assert cut(-0.2, 0.3, (-1, 1)) == (-0.2, 0.3, "", "")
    assert cut(-1.0, 1.0, (-1, 1)) == (-1.0, 1.0, "", "")
    assert brackets(-1.4, 1.2, (-1, 1)) == "[←-1.000, 1.000→]"
    assert brackets(0.2, 1.2, (-1, 1)) == "[0.200, 1.000→]"
