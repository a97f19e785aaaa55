"""From checks to a verdict: INVALID names the factor and quotes what was measured."""

from dataclasses import replace

from harness.fixes import endpoint, exploration, logprobs, reward, split, tools
from harness.seams import Check, Seams
from harness.validity import findings, invalid_factors, unequal_starts

SEAMS = Seams(endpoint.On(), tools.On(), exploration.On(), reward.On(), logprobs.On(), split.On())


def check(factor, took_effect, text="what was measured"):
    return Check(factor, "on", {}, took_effect, text)


def test_a_level_that_must_always_hold_is_refuted_once():
    checks = [check("tools", True), check("tools", False, "12 % equal"), check("tools", True)]
    assert invalid_factors(checks, SEAMS) == [{"factor": "tools", "reading": "on: 12 % equal"}]


def test_a_level_that_must_hold_at_some_time_may_fail_later():
    assert invalid_factors([check("exploration", True), check("exploration", False)], SEAMS) == []
    assert invalid_factors([check("exploration", False)], SEAMS)[0]["factor"] == "exploration"


def test_a_check_that_cannot_tell_decides_nothing():
    assert invalid_factors([check("endpoint", None)], SEAMS) == []


def step(number, **changes):
    healthy = {"step": number, "advanced_without_training": False, "missing": 0, "logprob_gap": 1e-7}
    return healthy | changes


def test_a_healthy_run_has_no_findings():
    assert findings([step(1), step(2)], SEAMS, "float32") == []


def test_an_inert_arm_is_a_finding():
    steps = [step(n, advanced_without_training=True, logprob_gap=None) for n in (1, 2)]
    assert findings(steps, SEAMS, "float32") == ["inert: every step advanced without training"]


def test_missing_rollouts_are_a_finding():
    assert findings([step(1, missing=2)], SEAMS, "float32") == ["2 rollouts are missing after retries"]


def test_a_trainer_that_sees_another_policy_than_was_served_is_a_finding_where_it_must_not():
    steps = [step(1), step(2, logprob_gap=0.3)]
    assert findings(steps, SEAMS, "float32") == ["trainer and sampler disagree on the policy at steps 2"]
    assert findings(steps, replace(SEAMS, tools=tools.Off()), "float32") == []


def test_sixteen_bits_round_more_and_a_wrong_policy_still_shows():
    assert findings([step(1, logprob_gap=0.064)], SEAMS, "bfloat16") == []
    assert findings([step(1, logprob_gap=0.2)], SEAMS, "bfloat16") != []


def test_arms_of_a_seed_start_from_the_same_policy():
    same = {"a": {"t1": 1.0, "t2": 0.0}, "b": {"t1": 1.0, "t2": 0.0}}
    assert unequal_starts(same) == {}
    foreign = unequal_starts({**same, "c": {"t1": 1.0, "t2": 1.0}})
    assert foreign == {"c": "step-0 reference validation differs from the other arms on t2"}


def test_a_missing_episode_is_no_difference():
    assert unequal_starts({"a": {"t1": None}, "b": {"t1": 1.0}, "c": {"t1": None}}) == {}
