"""Ranks as probabilities, and agreement with a given order."""

import numpy as np
import pytest

from harness.fixes.registry import note
from harness.stats.bootstrap import calibrated_draws, resample
from harness.stats.contrasts import Contrast
from harness.stats.effects import joint_draws
from harness.stats.intervals import crossed_spread
from harness.stats.measured import measure
from harness.stats.outcomes import Outcomes
from harness.stats.ranking import kendall, rank_probabilities, spearman

NOTE = note()


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


def two_fixes(seeds, lacks, rng=0, alike=1.0, tasks=45):
    """Two fixes that are worth the same; the arm without the second lacks the runs of some seeds. alike: the share of
    episodes in which the arms without them come out the same"""
    random, arms = np.random.default_rng(rng), [NOTE.with_off(), *map(NOTE.with_off, ("exploration", "logprobs"))]
    luck = random.normal(size=(3, seeds, 1, tasks)) + 0.7 * random.normal(size=(1, seeds, 1, 1))
    luck = luck + random.normal(size=(1, 1, 1, tasks))
    luck[0] += 1.5
    luck[2] = np.where(random.random(luck.shape[1:]) < alike, luck[1], luck[2])
    rewards = (luck > 0.5).astype(float)
    rewards[2, :lacks] = np.nan
    counted = ~np.isnan(rewards).any(axis=(2, 3))
    names = tuple(f"task-{t}" for t in range(tasks))
    sweep = Outcomes(NOTE, tuple(arms), tuple(range(seeds)), (0,), names, rewards, counted, ())
    family = [Contrast("leave_one_out", (a.at("off")[0],), np.array([1.0, -(n == 0), -(n == 1)]))
              for n, a in enumerate(arms[1:])]  # fmt: skip
    return joint_draws([measure(sweep, c, "final") for c in family])


@pytest.mark.parametrize("lacks", [0, 1, 2, 3])
def test_two_gates_that_are_alike_in_every_seed_they_share_are_as_likely_to_be_first(lacks):
    joint = two_fixes(5, lacks)
    assert rank_probabilities(joint.draws_F_B) == pytest.approx(np.full((2, 2), 0.5))
    assert joint.seeds == 5 - lacks and joint.estimates[0] == joint.estimates[1]


def test_of_two_equal_effects_none_is_surely_the_first_where_one_lacks_a_run():
    first = np.array([rank_probabilities(two_fixes(5, 1, n, alike=0.95).draws_F_B)[0, 0] for n in range(100)])
    assert first.mean() == pytest.approx(0.5, abs=0.06)
    assert np.mean(np.abs(first - 0.5) > 0.475) <= 0.05


def test_effects_that_share_one_of_several_seeds_are_not_ranked():
    assert two_fixes(3, 1, alike=0.0).seeds == 2 and two_fixes(3, 2, alike=0.0) is None
    assert two_fixes(1, 0, alike=0.0).seeds == 1


def test_an_effect_that_came_out_zero_by_luck_may_have_any_rank_near_that_of_zero():
    values = np.zeros((3, 2, 45))
    spreads = [crossed_spread(values[0], smallest=1.0), crossed_spread(values[1], smallest=1.0)]
    exact = crossed_spread(values[2])  # the same weights and episodes: zero without a doubt
    draws = calibrated_draws(values, [*spreads, exact], resample(2, 45))
    assert 1.96 * draws[:2].std(axis=1) == pytest.approx([s.half_width() for s in spreads], rel=1e-3)
    assert not draws[2].any()
    assert rank_probabilities(draws)[0] == pytest.approx([3 / 8, 1 / 4, 3 / 8], abs=0.03)
