"""The smallest detectable effect is really detected in four of five sweeps."""

import numpy as np
import pytest

from harness.designs import design
from harness.fixes.registry import note
from harness.stats.intervals import crossed_spread
from harness.stats.power import Variance, power_lines, smallest_effect, variance_of
from tests.stats.test_effects import planted

NOTE = note()


VARIANCE = Variance()


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_an_effect_of_the_smallest_size_is_found_with_about_80_percent_power(seeds):
    size = smallest_effect(NOTE, design("leave_one_out", NOTE), "leave_one_out", seeds, 45, VARIANCE).paired
    random = np.random.default_rng(0)
    found = []
    for _ in range(600):
        seed_sd = np.sqrt(2 * VARIANCE.run) if seeds > 1 else 0.0
        values = (
            size
            + seed_sd * random.normal(size=(seeds, 1))
            + np.sqrt(2 * VARIANCE.task) * random.normal(size=(1, 45))
            + np.sqrt(2 * VARIANCE.rest) * random.normal(size=(seeds, 45))
        )
        found.append(crossed_spread(values).p_value < 0.05 / 6)
    assert 0.70 <= np.mean(found) <= 0.92


def test_more_seeds_more_tasks_and_pairing_each_help():
    def paired(seeds, tasks):
        return smallest_effect(NOTE, design("leave_one_out", NOTE), "leave_one_out", seeds, tasks, VARIANCE)

    assert paired(10, 45).paired < paired(5, 45).paired
    assert paired(5, 90).paired < paired(5, 45).paired
    assert paired(5, 45).paired < paired(5, 45).unpaired


def test_a_design_that_answers_no_main_effect_promises_none():
    assert smallest_effect(NOTE, design("leave_one_out", NOTE), "main", 5, 45) is None


def test_the_components_of_an_earlier_sweep_are_taken_from_arms_that_learn():
    variance = variance_of(planted(design("leave_one_out", NOTE)))
    assert variance.rest > 0 and variance.source == "an earlier sweep"
    assert variance_of(planted(design("smoke", NOTE))) is None


def test_the_plan_says_where_its_variances_come_from_and_what_is_flat_by_construction():
    assert "stated defaults" in power_lines(NOTE, design("gate_aware", NOTE), 5, 45)[0]
    assert "flat by construction" in power_lines(NOTE, design("one_at_a_time", NOTE), 5, 45)[1]
    assert "for that seed only" in power_lines(NOTE, design("leave_one_out", NOTE), 1, 45)[0]
