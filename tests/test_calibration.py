"""The planted-effect simulator: what is planted is what its truth says, and a short run keeps the promises."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import harness
from harness.design import design

PATH = Path(harness.__file__).parent.parent / "experiments" / "benchmarks" / "calibration.py"
spec = importlib.util.spec_from_file_location("calibration", PATH)
calibration = importlib.util.module_from_spec(spec)
sys.modules["calibration"] = calibration  # dataclasses look their module up
spec.loader.exec_module(calibration)


def setting(name):
    return next(s for s in calibration.SETTINGS if s.name == name)


@pytest.mark.parametrize("name", ["leave_one_out, 5 seeds", "leave_one_out, 5 seeds, 15 % of runs collapse"])
def test_the_truth_is_the_mean_of_many_planted_sweeps(name):
    chosen, arms, random = setting(name), design("leave_one_out"), np.random.default_rng(0)
    sweeps = [calibration.sweep(arms, chosen, random) for _ in range(300)]
    mean = np.mean([made.rewards_A_N_S_T.mean(axis=(1, 3)) for made, _ in sweeps], axis=0)
    assert mean == pytest.approx(sweeps[0][1], abs=0.025)


def test_planted_sweeps_start_where_the_micro_policy_starts_and_end_where_it_ends():
    truth = calibration.truth(design("smoke"), calibration.World(), None)
    assert truth[:, 0] == pytest.approx([0.17, 0.17], abs=0.02)
    on, off = truth
    assert on[-1] > 0.8 and off[-1] == off[0]


def test_a_short_calibration_keeps_its_promises():
    counts = calibration.run(setting("leave_one_out, 5 seeds"), 60)
    for count in counts.values():
        assert count.covered / count.intervals > 0.90
        assert count.false_alarms <= 6


def test_an_invalid_arm_is_never_called_no_effect():
    counts = calibration.run(setting("INVALID runs, leave_one_out, 5 seeds"), 40)
    assert all(c.invalid == 40 and c.invalid_as_none == 0 for c in counts.values())
