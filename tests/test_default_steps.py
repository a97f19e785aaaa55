"""The rule behind the default rate and steps, on curves of all_on that are written by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.default_steps import choose, curve_of, curves_of, table
from harness.errors import ConfigError
from harness.records.load import load_sweep
from tests.synthetic import leave_one_out, write_sweep

ROOT = Path(__file__).parent.parent
STEPS = tuple(range(0, 50, 2))
RISE = np.clip(np.array(STEPS) / 12, 0, 1)


def rate(rate, end=0.9, steps=STEPS, **runs):
    """A rate whose three runs rise from .2 to `end` in 12 steps; runs: what the third has instead from a step on."""
    rewards = np.tile(0.2 + (end - 0.2) * RISE, (3, 1))
    if runs:
        rewards[2, np.array(STEPS) >= runs["step"]] = runs["reward"]
    return curve_of(rate, steps, rewards, 0.05)


def test_steps_are_half_as_many_again_as_it_takes_to_settle_in_whole_blocks_of_four_validations():
    curve = rate(1e-3)
    assert (curve.settles, curve.plateau) == (12, pytest.approx(0.9))
    assert choose([curve]).steps == 24  # 18, rounded up to a multiple of 8


def test_of_equally_good_rates_the_one_that_settles_first_is_taken_and_the_lower_one_of_two():
    slow = curve_of(1e-4, STEPS, np.tile(0.2 + 0.7 * np.clip(np.array(STEPS) / 24, 0, 1), (3, 1)), 0.05)
    assert slow.settles == 24
    assert choose([slow, rate(3e-3, 0.88), rate(2e-3, 0.88)]).rate == 2e-3
    assert choose([slow, rate(3e-3, 0.84)]).rate == 1e-4  # more than the margin below


def test_a_rate_at_which_one_run_breaks_is_out_although_the_mean_hides_it():
    broken = rate(3e-3, 1.0, step=20, reward=0.85)
    assert broken.out == "a run breaks" and broken.plateau == pytest.approx(0.95)
    assert choose([rate(1e-3, 0.85), broken]).rate == 1e-3


def test_a_rate_that_does_not_learn_or_still_rises_is_out():
    assert rate(1e-5, 0.25).out == "does not learn"
    rising = curve_of(1e-4, STEPS, np.tile(0.2 + 0.012 * np.array(STEPS), (3, 1)), 0.05)
    assert rising.out == "not settled: longer sweep"
    assert choose([rising]) is None
    assert "not settled" in table([rising], None)


def planted(folder, seeds, rates):
    write_sweep(folder, leave_one_out()[:2], seeds, steps=40, blocks=rates, config={"train": {"steps": 40}})
    return load_sweep(folder)


def test_rates_are_the_blocks_of_a_sweep_and_other_arms_are_not_read(tmp_path):
    curves = curves_of(planted(tmp_path / "s", (100, 101, 102), {"learning_rate=4": 4.0, "learning_rate=2": 2.0}))
    assert [c.rate for c in curves] == [2.0, 4.0] and all(c.seeds == 3 for c in curves)
    assert all(c.plateau > 0.8 for c in curves)
    for path in tmp_path.glob("s/runs/without_endpoint/*/*/validation.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            line["reference"]["by_task"] = dict.fromkeys(line["reference"]["by_task"], 0.0)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert curves_of(load_sweep(tmp_path / "s")) == curves


def test_seeds_that_are_reported_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="seed 4, which results report"):
        curves_of(planted(tmp_path / "s", (4, 100), {"learning_rate=4": 4.0, "learning_rate=2": 2.0}))


def test_the_micro_policys_defaults_are_what_the_rule_says_of_the_committed_sweep(sweep_config):
    sweep, train = load_sweep(ROOT / "results" / "defaults"), sweep_config().train
    chosen = choose(curves_of(sweep))
    assert chosen is not None and (chosen.rate, chosen.steps) == (train.learning_rate, train.steps)
    assert len(sweep.runs) == 15 and all(run.state == "completed" and run.valid for run in sweep.runs)
