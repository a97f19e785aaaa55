"""The planted-effect simulator: what is planted is what its truth says, and a short run keeps the promises."""

import numpy as np
import pytest

from experiments.benchmarks import calibration
from experiments.benchmarks.simulated_sweeps import SimulatedWorld, simulated_sweep, truth
from harness.designs import design
from harness.fixes.registry import note

NOTE = note()


def setting(name):
    return next(s for s in calibration.SETTINGS if s.name == name)


@pytest.mark.parametrize("name", ["leave_one_out, 5 seeds", "leave_one_out, 5 seeds, 15 % of runs collapse"])
def test_the_truth_is_the_mean_of_many_planted_sweeps(name):
    chosen, arms, random = setting(name), design("leave_one_out", NOTE), np.random.default_rng(0)
    sweeps = [simulated_sweep(NOTE, arms, chosen.world, chosen.seeds, random) for _ in range(300)]
    mean = np.mean([made.rewards_A_N_S_T.mean(axis=(1, 3)) for made, _ in sweeps], axis=0)
    assert mean == pytest.approx(sweeps[0][1], abs=0.025)


def test_planted_sweeps_start_where_the_micro_policy_starts_and_end_where_it_ends():
    planted = truth(NOTE, design("smoke", NOTE), SimulatedWorld(), None)
    assert planted[:, 0] == pytest.approx([0.17, 0.17], abs=0.02)
    on, off = planted
    assert on[-1] > 0.8 and off[-1] == off[0]


def test_a_short_calibration_keeps_its_promises():
    counts = calibration.run(setting("leave_one_out, 5 seeds"), 60, seed=1)
    assert counts
    for count in counts.values():
        assert count.covered / count.intervals > 0.90
        assert count.false_alarms <= 6


def test_an_invalid_arm_is_never_called_no_effect():
    counts = calibration.run(setting("INVALID runs, leave_one_out, 5 seeds"), 40, seed=1)
    assert {(c.invalid, c.invalid_as_none) for c in counts.values()} == {(40, 0)}


def test_a_main_effect_that_lacks_an_invalid_arm_is_never_called_no_effect():
    counts = calibration.run(setting("INVALID runs, full factorial, 3 seeds"), 5, seed=1)
    assert {kind for kind, _ in counts} == {"main", "leave_one_out"}
    assert all(c.invalid == 5 and c.invalid_as_none == 0 for c in counts.values())


def test_with_one_seed_and_runs_alike_every_planted_effect_is_exactly_zero():
    counts = calibration.run(setting("null effects, leave_one_out, 1 seed, runs alike"), 5, seed=1)
    assert {c.null_sweeps for c in counts.values()} == {5}


@pytest.mark.parametrize("rows", [row for _, _, row in calibration.TABLES], ids=lambda rows: rows.__name__)
def test_every_smaller_table_has_cells_for_its_heads(rows):
    (head,) = [head for _, head, make in calibration.TABLES if make is rows]
    made = list(rows(2, seed=1))
    assert made and all(len(cells) == len(head) for cells in made)


def test_cells_that_miss_their_target_are_named():
    good = ("fair", "main", "final", "95.0 %", "90.0 %", "96.0 %", "4.0 %", "0.0 %", "–")
    wide = ("null", "main", "area", "98.2 %", "90.0 %", "99.0 %", "–", "0.0 %", "–")
    text = calibration.outside([good, wide], 1000)
    assert "- coverage: 1 of 2; null, main, area: 98.2 %" in text
    assert "- family-wise error: 0 of 1\n" in text and "± 1.4 points" in text
