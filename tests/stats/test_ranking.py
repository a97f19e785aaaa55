"""Ranks as probabilities, and agreement with a given order."""

import numpy as np
import pytest

from harness.stats.bootstrap import calibrated_draws, resample
from harness.stats.intervals import crossed_spread
from harness.stats.ranking import kendall, rank_probabilities, spearman


def test_a_certain_order_has_probabilities_of_one():
    draws = np.array([[3.0], [1.0], [2.0]]).repeat(10, axis=1)
    assert rank_probabilities(draws) == pytest.approx(np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]]))


def test_tied_factors_share_their_ranks_evenly():
    draws = np.array([[0.5], [0.5], [0.5], [0.1]]).repeat(4, axis=1)
    found = rank_probabilities(draws)
    assert found[:3, :3] == pytest.approx(np.full((3, 3), 1 / 3))
    assert found[3] == pytest.approx([0, 0, 0, 1])


def test_probabilities_sum_to_one_over_ranks_and_over_factors():
    found = rank_probabilities(np.random.default_rng(0).normal(size=(6, 500)))
    assert found.sum(axis=0) == pytest.approx(np.ones(6))
    assert found.sum(axis=1) == pytest.approx(np.ones(6))


@pytest.mark.parametrize("correlation", [kendall, spearman])
def test_rank_correlation_is_one_for_the_same_order_and_minus_one_for_its_reverse(correlation):
    draws = np.array([[6.0, 1], [5, 2], [4, 3], [3, 4], [2, 5], [1, 6]])
    assert correlation(range(6), draws) == pytest.approx([1, -1])


def test_three_gates_tied_at_the_top_agree_with_the_note_by_half():
    # endpoint, tools, exploration, reward, logprobs, split: 9 pairs in order, 3 against it, 3 tied
    draws = np.array([[0.8], [0.2], [0.8], [0.1], [0.8], [0.0]])
    assert kendall(range(6), draws) == pytest.approx((9 - 3) / np.sqrt(15 * 12))


def test_all_tied_is_no_agreement():
    assert kendall(range(3), np.zeros((3, 1))) == 0
    assert spearman(range(3), np.zeros((3, 1))) == 0


def test_the_draws_are_as_wide_as_the_calibrated_interval():
    values = np.random.default_rng(0).normal(size=(1, 5, 45)) + np.random.default_rng(1).normal(size=(1, 5, 1))
    spread = crossed_spread(values[0])
    draws = calibrated_draws(values, [spread], resample(5, 45))
    assert 1.96 * draws.std() == pytest.approx(spread.half_width(), rel=1e-3)
    assert draws.mean() == pytest.approx(spread.mean, abs=0.1)


def test_the_same_seed_draws_the_same():
    assert all(np.array_equal(a, b) for a, b in zip(resample(5, 45), resample(5, 45), strict=True))


def test_an_effect_with_more_seeds_than_are_shared_is_drawn_about_its_own_estimate():
    own = np.random.default_rng(2).normal(size=(5, 45)) + np.array([0.2, 0.2, 0.2, 0.2, 4.0])[:, None]
    spread = crossed_spread(own)
    draws = calibrated_draws(own[None, :4], [spread], resample(4, 45))
    assert draws.mean() == pytest.approx(spread.mean, abs=0.1 * spread.half_width())
    assert 1.96 * draws.std() == pytest.approx(spread.half_width(), rel=1e-3)


def test_an_effect_that_came_out_zero_by_luck_may_have_any_rank_near_that_of_zero():
    values = np.zeros((3, 2, 45))
    spreads = [crossed_spread(values[0], smallest=1.0), crossed_spread(values[1], smallest=1.0)]
    exact = crossed_spread(values[2])  # the same weights and episodes: zero without a doubt
    draws = calibrated_draws(values, [*spreads, exact], resample(2, 45))
    assert 1.96 * draws[:2].std(axis=1) == pytest.approx([s.half_width() for s in spreads], rel=1e-3)
    assert not draws[2].any()
    assert rank_probabilities(draws)[0] == pytest.approx([3 / 8, 1 / 4, 3 / 8], abs=0.03)
