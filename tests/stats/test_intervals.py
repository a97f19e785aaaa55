"""Intervals over seeds and tasks."""

import numpy as np
import pytest
from scipy.special import stdtrit

from harness.stats.intervals import crossed_spread, holm


def table(seed_sd, task_sd, rest_sd, seeds=5, tasks=45, mean=0.0, rng=0):
    random = np.random.default_rng(rng)
    return (
        mean
        + seed_sd * random.normal(size=(seeds, 1))
        + task_sd * random.normal(size=(1, tasks))
        + rest_sd * random.normal(size=(seeds, tasks))
    )


def test_the_components_of_the_variance_are_found_again():
    found = np.mean([crossed_spread(table(0.5, 0.3, 0.8, rng=n)).components for n in range(400)], axis=0)
    assert found == pytest.approx([0.25, 0.09, 0.64], abs=0.04)


def test_where_only_seeds_differ_the_interval_is_students_t_over_seeds():
    by_seed = np.array([0.1, 0.3, 0.2, 0.6, 0.4])
    spread = crossed_spread(np.tile(by_seed[:, None], (1, 45)))
    expected = stdtrit(4, 0.975) * by_seed.std(ddof=1) / np.sqrt(5)
    assert spread.half_width() == pytest.approx(expected, rel=1e-3)


def test_where_only_tasks_differ_the_interval_is_students_t_over_tasks():
    by_task = np.arange(45) % 2 * 1.0
    spread = crossed_spread(np.tile(by_task, (5, 1)))
    expected = stdtrit(44, 0.975) * by_task.std(ddof=1) / np.sqrt(45)
    assert spread.half_width() == pytest.approx(expected, rel=1e-3)


def test_the_interval_holds_exactly_the_means_that_the_test_does_not_reject():
    values = table(0.3, 0.3, 1.0, rng=3)
    half = crossed_spread(values).half_width(0.95)
    assert crossed_spread(values - values.mean() + half).p_value == pytest.approx(0.05, abs=1e-4)


@pytest.mark.parametrize("sds", [(0.0, 0.0, 1.0), (0.2, 0.2, 1.0), (1.0, 0.1, 0.5)])
def test_three_seeds_keep_their_promise(sds):
    values = [table(*sds, seeds=3, rng=n) for n in range(400)]
    covered = np.mean([abs(v.mean()) <= crossed_spread(v).half_width() for v in values])
    assert covered >= 0.93


def test_one_seed_gives_an_interval_over_tasks():
    values = table(0, 1.0, 0, seeds=1)
    expected = stdtrit(44, 0.975) * values.std(ddof=1) / np.sqrt(45)
    assert crossed_spread(values).half_width() == pytest.approx(expected)


def test_a_single_number_has_no_finite_interval():
    assert crossed_spread(np.array([[0.4]])).half_width() == np.inf


def test_no_difference_at_all_is_no_evidence_of_an_effect():
    assert crossed_spread(np.zeros((5, 45))).p_value == 1.0


def test_hardly_any_difference_is_at_least_as_uncertain_as_the_rule_of_three():
    assert crossed_spread(np.zeros((5, 45)), smallest=1.0).half_width() == pytest.approx(3 / 225, rel=0.08)


def test_an_empty_table_is_refused():
    with pytest.raises(ValueError, match="No seed or no task"):
        crossed_spread(np.zeros((0, 45)))


def test_holm_multiplies_the_smallest_by_the_number_of_tests_and_never_decreases():
    assert holm(np.array([0.01, 0.04, np.nan, 0.03])) == pytest.approx([0.03, 0.06, np.nan, 0.06], nan_ok=True)


def null_table(random, seeds, tasks):
    """Two arms that are equally good, success by success: what a contrast of them looks like where there is none."""
    skill = 0.6 * random.normal(size=(2, seeds, 1)) + random.normal(size=tasks)
    wins = skill + 0.6 * random.normal(size=(2, seeds, tasks)) > 0
    return wins[0] * 1.0 - wins[1]


@pytest.mark.parametrize("tasks", [15, 27, 45])
def test_two_seeds_that_agree_by_luck_are_no_evidence(tasks):
    random = np.random.default_rng(tasks)
    tables = [null_table(random, 2, tasks) for _ in range(3000)]
    rejected = [crossed_spread(v, smallest=1.0).p_value < 0.05 / 6 for v in tables]  # Holm's first step
    assert np.mean(rejected) <= 0.0007


def test_the_floor_under_the_seeds_is_what_one_step_of_the_grid_lets_two_means_differ():
    values = np.zeros((2, 27))
    values[0, :10] = values[1, 5:15] = 1.0  # both seed means are 10/27, on other tasks
    assert crossed_spread(values, smallest=1.0).by_seed == pytest.approx((1 / 27) ** 2 / 12)
    assert crossed_spread(values, smallest=1.0).p_value > 0.01 > crossed_spread(values).p_value


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_seeds_that_differ_keep_their_interval(seeds):
    random = np.random.default_rng(seeds)
    for values in (null_table(random, seeds, 45) for _ in range(200)):
        if np.ptp(values.mean(axis=1)) > 1 / 45 + 1e-9:
            assert crossed_spread(values, smallest=1.0).by_seed == crossed_spread(values).by_seed


def test_means_of_one_number_a_seed_that_tie_by_luck_have_a_floor_too():
    spread = crossed_spread(np.array([[0.5], [0.5], [0.5]]), smallest=1 / 6)  # shares of six groups
    assert spread.half_width() == pytest.approx(stdtrit(2, 0.975) * (1 / 6) / np.sqrt(18))
