"""The placebo: other luck of the same kind, and the proof that it was another one."""

import pytest

from harness.factors import PLACEBO
from harness.fixes import placebo
from harness.seams import Seams, Submitted
from tests.fakes import SEAMS


def further(*strategies):
    return Seams(**{**vars(SEAMS), "further": strategies})


def test_on_is_the_loop_without_a_placebo():
    seams = further(placebo.On())
    assert seams.stream("train") == SEAMS.stream("train") == "train"
    assert seams.batch([1, 2, 3]) == [1, 2, 3]


def test_off_draws_from_another_stream_and_hands_groups_over_in_the_opposite_order():
    seams = further(placebo.Off())
    assert seams.stream("train") not in ("train", "reported", "order")
    assert seams.batch([1, 2, 3]) == [3, 2, 1]


def test_it_is_a_placebo_and_no_fault_of_a_loop():
    assert (placebo.FACTOR.role, placebo.FACTOR.baselines, placebo.FACTOR.rank) == (PLACEBO, (), None)


OWN, OTHER = [True] * 6, [False] * 6
CASES = [
    # seeds of the loop's own stream, groups as they were handed over, on, off
    (OWN, "abc", True, False),
    (OTHER, "cba", False, True),
    (OTHER, "abc", False, False),
    (OWN, "cba", False, False),
    ([True, False], "cba", False, False),
    (OWN, "a", None, False),
    (OTHER, "a", False, None),
    ([None] * 6, "abc", None, None),
    ([], "", None, None),
    (OWN, "ac", True, False),  # another fix has left one out
]


@pytest.mark.parametrize(("streams", "handed", "on", "off"), CASES)
def test_it_took_effect_if_seeds_and_order_are_the_levels(streams, handed, on, off, evidence):
    step = evidence(tasks=list("abc"), own_stream_N=streams, submitted=[Submitted(t, {}, {}) for t in handed])
    for level, took_effect in ((placebo.On(), on), (placebo.Off(), off)):
        check = level.check(step)
        assert check.took_effect is took_effect
        assert check.text.startswith("not shown: ") == (took_effect is None)
