"""How many more seeds an undecided effect needs, in which arms, and when that cannot be known."""

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import harness
from harness.commands import run_command
from harness.designs import design
from harness.errors import ConfigError
from harness.fixes.registry import note
from harness.records.load import load_sweep
from harness.report import seeds_command
from harness.stats.intervals import crossed_spread
from harness.stats.looks import ALPHA
from harness.stats.more_seeds import _enough, needs
from harness.stats.outcomes import Outcomes, outcomes_of
from harness.stats.verdicts import NO_EFFECT, RAISES
from tests.stats.test_looks import looks
from tests.synthetic import leave_one_out, write_sweep

NOTE = note()
RESULTS = Path(harness.__file__).parent.parent / "results"
STEPS = (0, 4)


def sweep(effects, seeds=4, tasks=60, run_sd=0.1, rng=0):
    """Leave-one-out with these final rewards lost by fix; every other arm is all_on's twin."""
    random, arms = np.random.default_rng(rng), design("leave_one_out", NOTE)
    rewards = np.zeros((len(arms), seeds, 2, tasks))
    rewards[:, :, 1] = 0.9
    for i, arm in enumerate(arms):
        for factor, lost in effects.items():
            if arm == NOTE.with_off(factor):
                run = run_sd * np.resize([-1.0, 1.0], seeds)[:, None]
                rewards[i, :, 1] -= lost + run + 0.05 * random.normal(size=(seeds, tasks))
    names = tuple(f"task-{t}" for t in range(tasks))
    counted = np.ones((len(arms), seeds), dtype=bool)
    return Outcomes(NOTE, tuple(arms), tuple(range(seeds)), STEPS, names, rewards, counted, ())


def by_factor(found):
    return {need.effect.factors[0]: need for need in found.undecided}


def test_a_large_effect_needs_fewer_more_seeds_than_a_small_one():
    found = by_factor(needs(sweep({"tools": 0.25, "reward": 0.12}, run_sd=0.15), "leave_one_out"))
    assert 4 < found["tools"].as_estimated < found["reward"].as_estimated
    assert found["tools"].as_estimated < found["tools"].at_most
    assert found["tools"].arms == ("all_on", "without_tools")


def test_decided_effects_need_no_more_seeds_and_neither_do_their_arms():
    found = needs(sweep({"tools": 0.25, "logprobs": 0.8}, run_sd=0.15), "leave_one_out")
    assert {e.factors[0]: e.verdict for e in found.decided}["logprobs"] == RAISES
    assert {e.factors[0]: e.verdict for e in found.decided}["split"] == NO_EFFECT
    assert set(found.more) == {"all_on", "without_tools"}
    assert found.runs == sum(found.more.values()) == 2 * (by_factor(found)["tools"].as_estimated - 4)
    assert found.whole == found.more["all_on"] * 8


def test_an_effect_within_the_margin_is_decided_as_none_with_five_seeds_at_least():
    found = by_factor(needs(sweep({"reward": 0.001}, seeds=3, run_sd=0.005), "leave_one_out"))
    assert found["reward"].shown_within and found["reward"].as_estimated >= 5


def test_as_many_seeds_as_are_named_find_the_effect_as_often_as_is_said():
    random = np.random.default_rng(2)
    pilot = 0.5 + 0.4 * random.normal(size=(200, 1)) + 0.2 * random.normal(size=(200, 30))
    spread = replace(crossed_spread(pilot), seeds=4, by_seed=0.16 / 4, by_task=0.04 / 30 / 4, by_rest=0.04 / 120)
    at = looks(4, planned=12)
    seeds = _enough(at, spread, target=0.5, alpha=ALPHA)
    level = 2 * ALPHA / 3  # of the look at so many of 12 planned seeds it is less
    runs = 0.5 + 0.4 * random.normal(size=(400, seeds, 1)) + 0.2 * random.normal(size=(400, seeds, 30))
    found = np.mean([crossed_spread(values).p_value < level for values in runs])
    assert 6 <= seeds <= 12 and found > 0.7


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (sweep({"tools": 0.11}, seeds=1), "one seed says nothing of how seeds differ"),
        (sweep({"tools": 0.03}, run_sd=0.2), "more than 40 seeds"),
    ],
)
def test_it_says_when_it_cannot_know(made, why):
    need = by_factor(needs(made, "leave_one_out"))["tools"]
    assert need.as_estimated is None and why in need.why


def test_a_sweep_whose_looks_are_used_is_told_to_start_anew():
    made = sweep({"tools": 0.2}, seeds=6, run_sd=0.25)
    early, late = looks(4, 6, planned=4), looks(3, 4, 5, 6, planned=3)
    assert by_factor(needs(replace(made, looks=early), "leave_one_out"))["tools"].as_estimated
    assert "a new one does" in by_factor(needs(replace(made, looks=late), "leave_one_out"))["tools"].why


def test_a_committed_sweep_says_what_it_needs():
    found = by_factor(needs(outcomes_of(load_sweep(RESULTS / "cpu_8_steps")), "leave_one_out"))
    assert set(found) == {"endpoint", "tools", "reward"}
    assert found["reward"].shown_within and found["tools"].as_estimated is None


def test_the_command_names_seeds_costs_arms_and_the_starts_that_run_them(capsys):
    assert run_command("seeds", [str(RESULTS / "cpu_8_steps")]) == 0
    said = capsys.readouterr().out
    assert "Decided: exploration (raises reward), logprobs (raises reward) and split (no effect)" in said
    assert "without_endpoint" in said and "runs in all" in said
    assert "hydra.sweeper.arms=[[endpoint,tools,exploration,reward,logprobs,split],[tools," in said
    assert "seed=5,6" in said


def test_the_command_prints_json(capsys):
    assert seeds_command.run(Namespace(sweep=RESULTS / "cpu_8_steps", json=True)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["power"] == 0.8 and {n["effect"]["factors"][0] for n in found["undecided"]} >= {"tools"}


def test_a_sweep_that_compares_nothing_is_refused(tmp_path):
    folder = write_sweep(tmp_path / "s", arms=leave_one_out()[:1])
    with pytest.raises(ConfigError, match="compares no fix yet"):
        seeds_command.run(Namespace(sweep=folder, json=False))
