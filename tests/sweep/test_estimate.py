"""A plan says what it will cost and what it can find, before anything runs."""

import json

import pytest

from harness.designs import design
from harness.factors import BASELINES, Arm, Run
from harness.fixes.registry import note
from harness.machine.memory import CardSeconds
from harness.report.cost_text import duration
from harness.sweep.estimate import PlannedWork, count_steps, plan_lines
from tests.synthetic import write_sweep

NOTE = note()


def plan(arms, tmp_path, seeds=(0,), **changes):
    runs = tuple(Run(arm, seed) for arm in arms for seed in seeds)
    ids = tuple(f"task_{n}" for n in range(45))
    usual = {"steps": 6, "validate_every": 2, "episodes": 36, "policy": "micro", "domain": "mock", "engines": 1}
    own = changes.pop("reported", {"on": ids, "off": ids})
    of_run = {
        "factors": NOTE,
        "reported": {run: own[run.arm.level("split")] for run in runs},
        "greedy": frozenset(run for run in runs if run.arm.level("exploration") == "off"),
    }
    return PlannedWork(runs=runs, **(usual | of_run | {"reference": ids, "reuse": True, "results": tmp_path} | changes))


def earlier(folder, computed, wall, **known):
    folder = write_sweep(folder, config={"policy": {"name": "micro"}, "env": {"domain": "mock"}})
    reuse = {"episodes": {"computed": computed}, "seconds": {"wall": wall}} | known
    (folder / "reuse.json").write_text(json.dumps(reuse))


def time_line(plan):
    return next(line for line in plan_lines(plan) if line.startswith("time"))


def test_a_policy_for_gpus_without_an_earlier_sweep_gets_what_a_card_takes_at_best(tmp_path):
    """leave_one_out, one seed: 8 arms; a second an episode and a minute an update."""
    asked = plan(design("leave_one_out", NOTE), tmp_path, policy="large", card=CardSeconds("H100", 1.0, 60.0))
    counts = count_steps(asked)
    line = time_line(asked)
    assert line.startswith("time: not known")
    played, trained = duration(counts.distinct_episodes), duration(60 * counts.distinct_updates)
    assert f"(H100) at least {played} of decoding and {trained} of scoring and training" in line
    assert f"{duration((counts.distinct_episodes + 60 * counts.distinct_updates) / 8)} an arm" in line


@pytest.mark.parametrize(
    ("arms", "asked", "distinct"),
    [
        (design("full_factorial", NOTE), 16 * 6, 8 * 6),  # endpoint × tools × reward
        (design("leave_one_out", NOTE), 5 * 6, 4 * 6),  # all_on and without_split are one chain
        ([NOTE.with_on(), NOTE.with_off("logprobs"), NOTE.with_off("exploration")], 0, 0),
    ],
    ids=["full_factorial", "leave_one_out", "sealed arms"],
)
def test_arms_in_the_same_state_share_their_updates(arms, asked, distinct, tmp_path):
    found = count_steps(plan(arms, tmp_path))
    assert (found.updates, found.distinct_updates) == (asked, distinct)


def test_seeds_share_no_training(tmp_path):
    one, two = (count_steps(plan([NOTE.with_off()], tmp_path, seeds=s)) for s in ((0,), (0, 1)))
    assert two.distinct_updates == 2 * one.distinct_updates


def test_the_full_factorial_costs_a_few_runs(tmp_path):
    found = count_steps(plan(design("full_factorial", NOTE), tmp_path))
    assert found.episodes == 64 * (6 * 36 + 2 * 4 * 45)
    assert found.distinct_episodes < found.episodes / 10


REFERENCE = ("a", "b")
OWN = {"on": ("b", "c", "d"), "off": ("b",)}  # what is left of the reference tasks, and tasks that are not among them


@pytest.mark.parametrize(
    ("off", "seeds", "asked", "distinct"),
    [
        ((), (0,), 2 + 3, 2 + 3),  # its own decoding has its own luck, on the reference tasks too
        (("split",), (0,), 2 + 1, 2 + 1),
        (("exploration",), (0,), 2 + 3, 2 + 2),  # greedy: as the reference where it has the task
        (("logprobs",), (0, 1), 2 * (2 + 3), 2 + 2 * 3),  # the base policy: one reference, and each seed's own luck
    ],
    ids=["on", "split off", "greedy", "two seeds"],
)
def test_reported_validation_plays_the_arms_own_split(off, seeds, asked, distinct, tmp_path):
    asks = plan([NOTE.with_off(*off)], tmp_path, seeds, steps=0, reference=REFERENCE, reported=OWN)
    found = count_steps(asks)
    assert (found.episodes, found.distinct_episodes) == (asked, distinct)


def test_a_policy_that_learns_is_validated_anew_each_time(tmp_path):
    found = count_steps(plan([NOTE.with_on()], tmp_path, steps=2, episodes=0, reference=REFERENCE, reported=OWN))
    assert found.distinct_episodes == 2  # all fixes off: sealed and greedy, the base policy at every step
    found = count_steps(plan([NOTE.with_off()], tmp_path, steps=2, episodes=0, reference=REFERENCE, reported=OWN))
    assert found.distinct_episodes == 2 * (2 + 3)


def test_a_run_whose_own_validation_raises_plays_the_reference_once_and_trains_nothing(tmp_path):
    usual = plan([NOTE.with_off()], tmp_path, reference=REFERENCE, reported=OWN)
    ended = plan([NOTE.with_off()], tmp_path, reference=REFERENCE, reported={"on": ()}, ended=frozenset(usual.runs))
    found = count_steps(ended)
    assert (found.updates, found.distinct_updates) == (0, 0)
    assert (found.episodes, found.distinct_episodes) == (2, 2)


def test_samples_are_played_at_both_ends_and_shared_where_the_weights_are(tmp_path):
    asks = {"steps": 4, "episodes": 0, "reference": REFERENCE, "reported": {"on": (), "off": ()}}
    for arms, distinct in (([NOTE.with_off()], 2), ([NOTE.with_on()], 1), (design("leave_one_out", NOTE), 1 + 4)):
        without, found = (count_steps(plan(arms, tmp_path, samples=s, **asks)) for s in (0, 3))
        assert found.episodes - without.episodes == len(arms) * 2 * 3 * 2  # both ends, three of each of two tasks
        assert found.distinct_episodes - without.distinct_episodes == distinct * 3 * 2
    alone = plan([NOTE.with_off()], tmp_path, samples=3, **asks | {"steps": 0})
    assert count_steps(alone).episodes == 2 + 3 * 2


def test_the_plan_names_the_baseline(tmp_path):
    for baseline, loop in BASELINES.items():
        lines = plan_lines(plan([NOTE.with_off()], tmp_path, baseline=baseline))
        assert f"baseline {baseline}: off is {loop}" in lines


def test_without_reuse_everything_is_computed(tmp_path):
    found = count_steps(plan(design("full_factorial", NOTE), tmp_path, reuse=False))
    assert (found.distinct_updates, found.distinct_episodes) == (found.updates, found.episodes)


@pytest.mark.parametrize(("steps", "every", "validations"), [(6, 2, 4), (8, 2, 5), (5, 2, 4), (2, 2, 2)])
def test_the_last_step_is_always_validated(steps, every, validations, tmp_path):
    assert plan([NOTE.with_off()], tmp_path, steps=steps, validate_every=every).validations == validations


def test_the_time_follows_from_an_earlier_sweep_of_this_machine(tmp_path):
    earlier(tmp_path / "earlier", computed=100, wall=20.0)
    line = time_line(plan([NOTE.with_off()], tmp_path))
    assert "0.200 s per distinct episode" in line and "earlier" in line


@pytest.mark.parametrize(
    ("measured", "planned", "said"),
    [
        ({"engines": 2}, 2, "time: about 10 min 00 s (2.000 s per distinct episode with 2 engines"),
        ({"engines": 1}, 4, "time: 2 min 30 s to 10 min 00 s (2.000 s per distinct episode with 1 engine,"),
        ({"engines": 4}, 2, "time: 10 min 00 s to 20 min 00 s"),
        ({"engines": 2}, None, "how many engines this plan gets is known when it starts"),
        ({}, 2, "this plan has 2 engines, what that one had is not known"),
        ({}, 1, "time: about 10 min 00 s (2.000 s per distinct episode, all included"),
    ],
)
def test_the_time_says_how_many_engines_it_reckons_with(measured, planned, said, tmp_path):
    earlier(tmp_path / "earlier", computed=100, wall=200.0, **measured)
    ten_minutes = {"steps": 0, "reference": ("a",), "reported": {"on": tuple(map(str, range(299)))}}
    assert said in time_line(plan([NOTE.with_off()], tmp_path, engines=planned, **ten_minutes))


def test_the_time_names_the_machine_that_was_measured(tmp_path):
    earlier(tmp_path / "earlier", computed=100, wall=20.0)
    manifest = json.loads((tmp_path / "earlier" / "manifest.json").read_text()) | {"machine": {"gpus": ["H200"] * 2}}
    (tmp_path / "earlier" / "manifest.json").write_text(json.dumps(manifest))
    assert "on 2 × H200" in time_line(plan([NOTE.with_on()], tmp_path))


def test_the_largest_earlier_sweep_gives_the_pace(tmp_path):
    for name, computed, wall in (("large", 1000, 30.0), ("smoke", 10, 20.0)):  # a small one is mostly start
        earlier(tmp_path / name, computed, wall)
    assert "0.030 s per distinct episode" in time_line(plan([NOTE.with_off()], tmp_path))


def test_a_sweep_on_another_backend_gives_no_pace(tmp_path):
    earlier(tmp_path / "earlier", computed=100, wall=20.0)
    manifest = json.loads((tmp_path / "earlier" / "manifest.json").read_text()) | {"backend": "art_local"}
    (tmp_path / "earlier" / "manifest.json").write_text(json.dumps(manifest))
    assert "0.200 s" not in time_line(plan([NOTE.with_on()], tmp_path))
    assert "0.200 s" in time_line(plan([NOTE.with_on()], tmp_path, backend="art_local"))


def test_an_effect_beyond_the_rewards_range_is_not_offered(tmp_path):
    lines = plan_lines(plan(design("leave_one_out", NOTE), tmp_path, seeds=(0, 1)))
    assert any("leave-one-out effect: none" in line and "add seeds" in line for line in lines)


def test_without_one_it_says_where_its_constant_comes_from(tmp_path):
    lines = plan_lines(plan([NOTE.with_off()], tmp_path))
    assert any("two cores" in line and "no earlier sweep" in line for line in lines)


def test_an_unknown_policy_gets_no_invented_time(tmp_path):
    lines = plan_lines(plan([NOTE.with_off()], tmp_path, policy="qwen3_14b"))
    assert any(line.startswith("time: not known") and "+ablation=smoke" in line for line in lines)


def test_a_fractional_design_prints_what_is_mixed_with_what(tmp_path):
    lines = plan_lines(plan(design("screening", NOTE), tmp_path))
    assert any("aliases" in line for line in lines) and "  endpoint × exploration = tools × reward" in lines
    for name in ("full_factorial", "leave_one_out"):
        assert not any("aliases" in line for line in plan_lines(plan(design(name, NOTE), tmp_path)))


def test_one_at_a_time_is_called_flat_by_construction(tmp_path):
    assert any("flat by construction" in line for line in plan_lines(plan(design("one_at_a_time", NOTE), tmp_path)))


def test_every_run_is_named(tmp_path):
    lines = plan_lines(plan(design("smoke", NOTE), tmp_path, seeds=(0, 1)))
    assert [line.strip() for line in lines if "/seed=" in line] == [
        f"{arm}/seed={seed}" for arm in ("all_on", "all_off") for seed in (0, 1)
    ]


def test_negative_controls_are_counted_beside_the_design_and_train_by_themselves(tmp_path):
    arms = design("leave_one_out", NOTE)
    controls = [Arm((*NOTE.with_off().levels, ("signal", level))) for level in ("rate_0", "shuffled_rewards")]
    without, both = plan(arms, tmp_path), plan([*arms, *controls], tmp_path)
    assert both.arms == without.arms and both.controls == tuple(controls)
    assert plan_lines(both)[0].startswith("design leave_one_out: 8 arms and 2 negative controls × 1 seed = 10 runs")
    assert count_steps(both).distinct_updates == count_steps(without).distinct_updates + 2 * both.steps
    assert [line for line in plan_lines(both) if "effect" in line] == [
        line for line in plan_lines(without) if "effect" in line
    ]
    assert plan_lines(plan(controls, tmp_path))[-1] == "power: this design answers the effect of no factor alone"
