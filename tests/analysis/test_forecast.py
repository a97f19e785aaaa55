"""A plan says what it will cost and what it can find, before anything runs."""

import json

import pytest

from harness.analysis.forecast import Plan, plan_lines, work
from harness.arm import Arm, Run
from harness.design import design
from tests.analysis.synthetic import write_sweep


def plan(arms, tmp_path, seeds=(0,), **changes):
    runs = tuple(Run(arm, seed) for arm in arms for seed in seeds)
    usual = {"steps": 6, "validate_every": 2, "episodes": 36, "tasks": 45, "policy": "micro", "domain": "mock"}
    return Plan(runs=runs, **(usual | {"reuse": True, "results": tmp_path} | changes))


@pytest.mark.parametrize(
    ("arms", "asked", "distinct"),
    [
        (design("full_factorial"), 16 * 6, 8 * 6),  # endpoint × tools × reward
        (design("leave_one_out"), 5 * 6, 4 * 6),  # all_on and without_split are one chain
        ([Arm.with_on(), Arm.with_off("logprobs"), Arm.with_off("exploration")], 0, 0),
    ],
    ids=["full_factorial", "leave_one_out", "sealed arms"],
)
def test_arms_in_the_same_state_share_their_updates(arms, asked, distinct, tmp_path):
    found = work(plan(arms, tmp_path))
    assert (found.updates, found.distinct_updates) == (asked, distinct)


def test_seeds_share_no_training(tmp_path):
    one, two = (work(plan([Arm.with_off()], tmp_path, seeds=s)) for s in ((0,), (0, 1)))
    assert two.distinct_updates == 2 * one.distinct_updates


def test_the_full_factorial_costs_a_few_runs(tmp_path):
    found = work(plan(design("full_factorial"), tmp_path))
    assert found.episodes == 64 * (6 * 36 + 2 * 4 * 45)
    assert found.distinct_episodes < found.episodes / 10


def test_without_reuse_everything_is_computed(tmp_path):
    found = work(plan(design("full_factorial"), tmp_path, reuse=False))
    assert (found.distinct_updates, found.distinct_episodes) == (found.updates, found.episodes)


@pytest.mark.parametrize(("steps", "every", "validations"), [(6, 2, 4), (8, 2, 5), (5, 2, 4), (2, 2, 2)])
def test_the_last_step_is_always_validated(steps, every, validations, tmp_path):
    assert plan([Arm.with_off()], tmp_path, steps=steps, validate_every=every).validations == validations


def test_the_time_follows_from_an_earlier_sweep_of_this_machine(tmp_path):
    folder = write_sweep(tmp_path / "earlier", config={"policy": {"name": "micro"}, "env": {"domain": "mock"}})
    (folder / "reuse.json").write_text(json.dumps({"episodes": {"computed": 100}, "seconds": {"wall": 20.0}}))
    lines = plan_lines(plan([Arm.with_off()], tmp_path))
    assert any("0.200 s per distinct episode" in line and "earlier" in line for line in lines)


def test_the_largest_earlier_sweep_gives_the_pace(tmp_path):
    config = {"policy": {"name": "micro"}, "env": {"domain": "mock"}}
    for name, computed, wall in (("large", 1000, 30.0), ("smoke", 10, 20.0)):  # a small one is mostly start
        folder = write_sweep(tmp_path / name, config=config)
        (folder / "reuse.json").write_text(json.dumps({"episodes": {"computed": computed}, "seconds": {"wall": wall}}))
    assert any("0.030 s per distinct episode" in line for line in plan_lines(plan([Arm.with_off()], tmp_path)))


def test_an_effect_beyond_the_rewards_range_is_not_offered(tmp_path):
    lines = plan_lines(plan(design("leave_one_out"), tmp_path, seeds=(0, 1)))
    assert any("leave-one-out effect: none" in line and "add seeds" in line for line in lines)


def test_without_one_it_says_where_its_constant_comes_from(tmp_path):
    lines = plan_lines(plan([Arm.with_off()], tmp_path))
    assert any("two cores" in line and "no earlier sweep" in line for line in lines)


def test_an_unknown_policy_gets_no_invented_time(tmp_path):
    lines = plan_lines(plan([Arm.with_off()], tmp_path, policy="qwen3_14b"))
    assert any(line.startswith("time: not known") and "+ablation=smoke" in line for line in lines)


def test_a_fractional_design_prints_what_is_mixed_with_what(tmp_path):
    assert "  endpoint × tools = exploration × reward" in plan_lines(plan(design("screening"), tmp_path))
    for name in ("full_factorial", "leave_one_out"):
        assert not any(line.startswith("aliases") for line in plan_lines(plan(design(name), tmp_path)))


def test_one_at_a_time_is_called_flat_by_construction(tmp_path):
    assert any("flat by construction" in line for line in plan_lines(plan(design("one_at_a_time"), tmp_path)))


def test_every_run_is_named(tmp_path):
    lines = plan_lines(plan(design("smoke"), tmp_path, seeds=(0, 1)))
    assert [line.strip() for line in lines if "/seed=" in line] == [
        f"{arm}/seed={seed}" for arm in ("all_on", "all_off") for seed in (0, 1)
    ]
