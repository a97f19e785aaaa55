"""Which weights answered, from log-probs alone: how two are compared, and when the comparison decides."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student_t

from harness.answering import LEAST_TOKENS, TOLERANCE_16_BIT, TOLERANCE_EXACT, compared, explained
from harness.seams import Scores


def comparison(served, answering, rival, reply=None):
    """Each token a reply of its own, if no more is said."""
    arrays = (np.array(each, float) for each in (served, answering, rival))
    return compared(*arrays, np.arange(len(served)) if reply is None else np.array(reply))


def test_the_comparison_is_paired_by_token():
    found = comparison([-1.0, -2.0, -3.0], [-1.1, -2.0, -3.0], [-1.0, -1.9, -3.1])
    better = [-1.0, 1.0, 1.0]
    assert found.gap == pytest.approx(0.1 / 3) and found.rival_gap == pytest.approx(0.2 / 3)
    assert found.apart == pytest.approx(0.1)
    assert found.preference == pytest.approx(np.mean(better))
    assert found.error == pytest.approx(np.std(better, ddof=1) / 3**0.5)
    assert math.isnan(comparison([-1.0], [-1.1], [-1.0]).error)


def test_a_token_counts_by_how_much_nearer_one_is_and_not_by_how_far_both_are_off():
    found = comparison([0.0, 0.0], [1.0, 8.0], [3.0, 10.0])
    assert found.preference == pytest.approx((2.0 / 4.0 + 2.0 / 18.0) / 2)


def test_a_token_on_which_the_two_weights_hardly_differ_is_not_asked():
    found = comparison([-1.0, -2.0, -1e-5], [-1.01, -2.01, -2e-5], [-1.2, -2.2, -1e-5])
    assert (found.preference, found.tokens, found.replies) == (pytest.approx(0.19 / 0.21), 3, 2)


def test_tokens_of_one_reply_are_no_independent_witnesses():
    """Sixty tokens in three replies, of which each speaks with one voice, say no more than three tokens do."""
    voices = np.repeat([1.0, 1.0, -1.0], 20)
    rival = np.where(voices > 0, -1.2, -1.0)
    answering = np.where(voices > 0, -1.0, -1.2)
    alone = comparison(-np.ones(60), answering, rival)
    together = comparison(-np.ones(60), answering, rival, np.repeat([0, 1, 2], 20))
    assert together.preference == alone.preference == pytest.approx(1 / 3)
    assert together.error == pytest.approx(np.std([1, 1, -1], ddof=1) / 3**0.5)
    assert together.error > 4 * alone.error


def test_equal_weights_are_not_apart():
    found = comparison([-1.1, -2.2], [-1.0, -2.0], [-1.0, -2.0])
    assert (found.apart, found.preference, found.error) == (0.0, 0.0, 0.0)


# Twelve replies agree on who answered: 0.9 is 45 standard errors from 0.
CLEAR = Scores(gap=1e-6, rival_gap=0.2, apart=0.2, preference=0.9, error=0.02, tokens=60, replies=12)


def test_the_weights_that_explain_the_replies_better_have_answered():
    assert explained(CLEAR, exact=True) is True
    assert explained(replace(CLEAR, preference=-0.9), exact=True) is False


@pytest.mark.parametrize(("exact", "limit"), [(True, TOLERANCE_EXACT), (False, TOLERANCE_16_BIT)])
def test_a_gap_that_rounding_does_not_make_is_of_other_weights(exact, limit):
    assert explained(replace(CLEAR, gap=limit), exact) is True
    for gap in (limit * 1.01, math.nan):
        assert explained(replace(CLEAR, gap=gap), exact) is False


def test_nobody_knows_where_nothing_was_scored_or_too_little():
    assert explained(None, exact=True) is None
    assert explained(replace(CLEAR, tokens=LEAST_TOKENS), exact=True) is True
    assert explained(replace(CLEAR, tokens=LEAST_TOKENS - 1), exact=True) is None
    assert explained(replace(CLEAR, replies=1, error=0.0), exact=True) is None
    assert explained(replace(CLEAR, rival_gap=math.nan, preference=math.nan, error=math.nan), exact=True) is None


@pytest.mark.parametrize("replies", [2, 3, 12, 200])
def test_a_preference_decides_if_chance_makes_one_as_large_in_one_of_30_000_checks(replies):
    """To either side, with the replies as witnesses: two need a far larger one than two hundred."""
    errors = student_t(replies - 1).isf(1 / 60_000)
    for sign in (1, -1):
        clear, unclear = (
            replace(CLEAR, replies=replies, error=0.5 / (n * errors), preference=sign * 0.5) for n in (1.01, 0.99)
        )
        assert explained(clear, exact=True) is (sign > 0)
        assert explained(unclear, exact=True) is None
