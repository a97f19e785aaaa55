"""The smallest detectable effect is really detected in four of five sweeps, and the plan says how sure it is of it."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.benchmarks import planned_power
from experiments.benchmarks.simulated_sweeps import SimulatedWorld, simulated_sweep
from harness.designs import design
from harness.fixes.registry import note
from harness.stats.intervals import crossed_spread
from harness.stats.power import Variance, comparison, power_lines, smallest_effect, variance_of
from tests.stats.test_effects import planted

NOTE = note()


VARIANCE = Variance()


@pytest.mark.parametrize("seeds", [1, 3, 5, 10])
def test_an_effect_of_the_smallest_size_is_found_with_80_percent_power(seeds):
    known = planned_power.hardest("leave_one_out", "leave_one_out", seeds)
    size = known.detectable(VARIANCE)
    random = np.random.default_rng(0)
    tables = (size + planned_power.table(known, VARIANCE.where_lost(size), random) for _ in range(1000))
    assert 0.77 <= np.mean([crossed_spread(x, known.jump).p_value < 0.05 / 6 for x in tables]) <= 0.83


def test_an_effect_of_the_smallest_size_is_found_in_planted_sweeps_too():
    (row,) = planned_power.planted_rows(400, seed=1, cells=planned_power.PLANTED[1:2])
    assert 75 <= float(row[-1].split()[0]) <= 85


def test_a_plan_knows_what_its_pilot_does_not_know():
    """The size that the true variances give lies within the interval of nearly every pilot, and the interval of a
    pilot of two seeds is the wider one."""
    arms, random = design("leave_one_out", NOTE), np.random.default_rng(0)
    true = variance_of(simulated_sweep(NOTE, arms, SimulatedWorld(tasks=300), 300, random)[0])
    size = smallest_effect(NOTE, arms, "leave_one_out", 5, 45, true).paired
    wide = []
    for seeds in (2, 5):
        pilots = [variance_of(simulated_sweep(NOTE, arms, SimulatedWorld(), seeds, random)[0]) for _ in range(12)]
        planned = [smallest_effect(NOTE, arms, "leave_one_out", 5, 45, pilot) for pilot in pilots]
        assert sum(p.low <= size <= p.high for p in planned) >= 11
        wide.append(np.median([p.high / p.low for p in planned]))
    assert wide[0] > 2 * wide[1] > 2


def test_a_pilot_in_which_one_arm_collapses_knows_less():
    """Its variance between seeds rests on that one arm."""
    arms, random = design("leave_one_out", NOTE), np.random.default_rng(0)
    made, _ = simulated_sweep(NOTE, arms, SimulatedWorld(run_sd=0.02, seed_sd=0.02), 5, random)
    one = made.rewards_A_N_S_T.copy()
    one[[a.name for a in arms].index("without_reward"), :2, 1:] = 0.0
    collapsed = variance_of(replace(made, rewards_A_N_S_T=one)).pilot
    assert variance_of(made).pilot.df_seed > 1.5 * collapsed.df_seed
    assert collapsed.df_seed >= 4


def test_arms_that_differ_in_what_is_reported_alone_are_one_policy():
    """Twice the same runs do not make the mean over a factorial surer."""
    whole = design("full_factorial", NOTE)
    half = [arm for arm in whole if arm.level("split") == "on"]
    one, other = (comparison(NOTE, arms, "main", 5, 45)[0] for arms in (whole, half))
    assert (one.size, one.size_task, one.jump) == pytest.approx((other.size, other.size_task, other.jump))


def test_every_kind_is_corrected_for_the_effects_that_are_tested_together():
    found = {k: smallest_effect(NOTE, design("full_factorial", NOTE), k, 5, 45) for k in ("main", "interaction")}
    assert {k: s.corrected_for for k, s in found.items()} == {"main": 6, "interaction": 15}


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


def test_the_plan_says_what_its_brackets_rest_on():
    arms = design("leave_one_out", NOTE)
    assert "no measurement" in power_lines(NOTE, arms, 5, 45)[-1]
    pilot = variance_of(planted(arms))
    assert "5 seeds × 45 tasks" in power_lines(NOTE, arms, 5, 45, pilot)[-1]
