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
    assert crossed_spread(np.zeros((5, 45)), smallest=1.0).half_width() == pytest.approx(3 / 225, rel=0.03)


def test_an_empty_table_is_refused():
    with pytest.raises(ValueError, match="No seed or no task"):
        crossed_spread(np.zeros((0, 45)))


def test_holm_multiplies_the_smallest_by_the_number_of_tests_and_never_decreases():
    assert holm(np.array([0.01, 0.04, np.nan, 0.03])) == pytest.approx([0.03, 0.06, np.nan, 0.06], nan_ok=True)
