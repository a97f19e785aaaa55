"""From checks to a verdict: INVALID names the factor and quotes what was measured."""

from dataclasses import replace

import pytest

from harness.fixes import endpoint, exploration, logprobs, reward, split, tools
from harness.seams import Check, Seams
from harness.validity import ended_early, findings, invalid_factors, unequal_starts, unjudged

SEAMS = Seams(endpoint.On(), tools.On(), exploration.On(), reward.On(), logprobs.On(), split.On())


def check(factor, took_effect, text="what was measured"):
    return Check(factor, "on", {}, took_effect, text)


def test_a_level_that_must_always_hold_is_refuted_once():
    checks = [check("tools", True), check("tools", False, "12 % equal"), check("tools", True)]
    assert invalid_factors(checks, SEAMS) == [{"factor": "tools", "reading": "on: 12 % equal"}]


def test_a_level_that_must_hold_at_some_time_may_fail_later():
    assert invalid_factors([check("exploration", True), check("exploration", False)], SEAMS) == []
    assert invalid_factors([check("exploration", False)], SEAMS)[0]["factor"] == "exploration"


def test_one_step_that_refutes_a_level_is_excused_by_no_other():
    lost = replace(check("exploration", False, "temperature asked for: 0"), refuted=True)
    checks = [check("exploration", True), check("exploration", False, "repeats itself"), lost]
    assert invalid_factors(checks, SEAMS) == [{"factor": "exploration", "reading": "on: temperature asked for: 0"}]


def test_a_check_that_cannot_tell_decides_nothing():
    assert invalid_factors([check("endpoint", None)], SEAMS) == []


def test_a_level_that_must_hold_at_some_time_is_refuted_by_steps_that_all_failed():
    checks = [check("reward", False, "none at first"), check("reward", None), check("reward", False, "none later")]
    assert invalid_factors(checks, SEAMS) == [{"factor": "reward", "reading": "on: none at first"}]


def test_each_factor_is_judged_by_its_own_checks_in_the_order_of_the_seams():
    checks = [check("split", False), check("tools", True), check("endpoint", False), check("logprobs", True)]
    assert [found["factor"] for found in invalid_factors(iter(checks), SEAMS)] == ["endpoint", "split"]


def test_a_factor_is_known_by_its_name_wherever_the_name_was_read():
    read = check("".join(["to", "ols"]), False, "0 % equal")
    assert invalid_factors([read], SEAMS) == [{"factor": "tools", "reading": "on: 0 % equal"}]


def test_a_verdict_names_the_level_that_had_no_effect():
    seams = replace(SEAMS, tools=tools.Off())
    assert invalid_factors([check("tools", False, "all equal")], seams)[0]["reading"] == "off: all equal"


def test_a_switch_that_no_step_could_judge_is_a_finding():
    checks = [check("tools", None), check("split", True), check("reward", None)]
    checks += [check("tools", None), check("split", None), check("reward", False)]
    said = "tools: not shown: neither a step nor all together could judge its switch"
    assert unjudged(iter(checks), ["tools"]) == [said]
    assert unjudged([], ["tools"]) == []  # a run of no steps
    assert unjudged(checks, ["endpoint"]) == []  # it is on, and nobody compares it
    off = [replace(one, level="off") for one in checks]
    assert unjudged(off, ["endpoint"]) == [said]  # nobody compares it either, and it is not as it should be


def test_a_loop_that_ended_by_itself_is_a_finding():
    said = "its own validation raised at step 0, as upstream's on airline; nothing was trained after it"
    assert ended_early(0, 6) == [said]
    assert ended_early(6, 6) == ended_early(0, 0) == []


def step(number, **changes):
    healthy = {"step": number, "advanced_without_training": False, "missing": 0, "logprob_gap": 1e-7}
    return healthy | changes


def test_a_healthy_run_has_no_findings():
    assert findings([step(1), step(2)], SEAMS, "float32") == []


def test_an_inert_arm_is_a_finding():
    steps = [step(n, advanced_without_training=True, logprob_gap=None) for n in (1, 2)]
    assert findings(iter(steps), SEAMS, "float32") == ["inert: every step advanced without training"]


def test_steps_that_did_not_train_are_named_where_others_did():
    steps = [step(1), step(2, advanced_without_training=True), step(3, advanced_without_training=True)]
    assert findings(steps, SEAMS, "float32") == ["steps 2, 3 advanced without training"]


def test_a_run_of_no_steps_has_no_findings():
    assert findings([], SEAMS, "float32") == []


def test_missing_rollouts_are_a_finding():
    steps = [step(1, missing=2), step(2), step(3, missing=1)]
    assert findings(steps, SEAMS, "float32") == ["3 rollouts are missing after retries"]


def test_a_trainer_that_sees_another_policy_than_was_served_is_a_finding_where_it_must_not():
    steps = [step(1), step(2, logprob_gap=0.3)]
    assert findings(steps, SEAMS, "float32") == ["trainer and sampler disagree on the policy at steps 2"]
    assert findings(steps, replace(SEAMS, tools=tools.Off()), "float32") == []


@pytest.mark.parametrize(
    ("dtype", "gap", "apart"),
    [
        *(("float32", 0.01, False), ("float32", 0.011, True)),
        *(("bfloat16", 0.064, False), ("bfloat16", 0.1, False), ("bfloat16", 0.11, True), ("float16", 0.064, False)),
    ],
)
def test_sixteen_bits_round_more_and_a_wrong_policy_still_shows(dtype, gap, apart):
    found = ["trainer and sampler disagree on the policy at steps 1"] if apart else []
    assert findings([step(1, logprob_gap=gap)], SEAMS, dtype) == found


def test_a_step_that_was_not_trained_has_no_gap_and_hides_no_other():
    steps = [step(1, logprob_gap=None), step(2, logprob_gap=0.3), step(3, logprob_gap=0.4)]
    assert findings(steps, SEAMS, "float32") == ["trainer and sampler disagree on the policy at steps 2, 3"]


def test_a_server_that_renders_more_than_the_tools_differently_from_art_is_a_finding():
    said = (
        "ART renders more of a prompt than the tools in another way than the server, so that what was trained is not "
        "what was served, at steps 2, 3"
    )
    steps = [step(1, rendered_apart=0), step(2, rendered_apart=6), step(3, rendered_apart=1), step(4)]
    assert findings(steps, SEAMS, "float32") == [said]
    assert findings(steps, replace(SEAMS, tools=tools.Off()), "float32") == [said]


def test_arms_of_a_seed_start_from_the_same_policy():
    same = {"a": {"t1": 1.0, "t2": 0.0}, "b": {"t1": 1.0, "t2": 0.0}}
    assert unequal_starts(same) == {}
    foreign = unequal_starts({**same, "c": {"t1": 1.0, "t2": 1.0}})
    assert foreign == {"c": "step-0 reference validation differs from the other arms on t2"}


def test_rewards_are_compared_by_their_value():
    read = {run: {"t1": float("0.3"), "t2": float("0.6")} for run in ("a", "b", "c")}
    assert unequal_starts(read) == {}


def test_a_missing_episode_is_no_difference():
    assert unequal_starts({"a": {"t1": None}, "b": {"t1": 1.0}, "c": {"t1": None}}) == {}


def test_the_usual_start_is_that_of_most_runs_and_at_most_five_tasks_are_named():
    usual = {f"t{n}": 0.5 for n in range(7)}
    starts = {"odd": dict.fromkeys(reversed(usual), 0.25), "a": usual, "b": usual, "lower": usual | {"t3": 0.0}}
    assert unequal_starts(starts) == {
        "odd": "step-0 reference validation differs from the other arms on t0, t1, t2, t3, t4",
        "lower": "step-0 reference validation differs from the other arms on t3",
    }


def test_the_missing_episodes_of_most_runs_decide_nothing():
    starts = {"a": {"t1": None}, "b": {"t1": None}, "c": {"t1": 1.0}, "d": {"t1": 1.0}, "e": {"t1": 0.0}}
    assert list(unequal_starts(starts)) == ["e"]
