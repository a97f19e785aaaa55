"""Each symptom is found where it was planted, and not in the sound loop; without what tells it, it cannot be told."""

import random

import pytest

from harness.probe import SYMPTOMS, check
from tests.probe.loops import BOS, EOS, TOOLS, at_temperature, each, loop, planted, retrained, turns

NAMES = [symptom.__name__ for symptom in SYMPTOMS]


def verdicts(given) -> dict[str, str]:
    return {f.symptom: f.verdict for f in check(**given)}


def named(given) -> set[str]:
    return {name for name, verdict in verdicts(given).items() if verdict == "present"}


def found(given, symptom):
    (one,) = [f for f in check(**given) if f.symptom == symptom]
    return one


def test_of_a_sound_loop_every_symptom_is_absent():
    assert verdicts(loop()) == dict.fromkeys(NAMES, "absent")


def test_of_nothing_no_symptom_can_be_told_and_each_says_what_would_tell():
    findings = check([])
    assert {f.verdict for f in findings} == {"cannot tell"}
    assert all(f.tell and f.text and f.about for f in findings)


def stale(given):
    for turn in turns(given):
        turn["base_logprobs"], turn["adapter_logprobs"] = turn["adapter_logprobs"], turn["base_logprobs"]


def pinned(given):
    for turn in turns(given):
        turn["model"] = "p@0"
        del turn["base_logprobs"]


def missing_logprobs(given):
    next(turns(given))["logprobs"] = None


def infinite_logprobs(given):
    next(turns(given))["logprobs"][0] = float("-inf")


def few_logprobs(given):
    del next(turns(given))["logprobs"][0]


def zero_logprobs(given):
    for turn in turns(given):
        turn["logprobs"] = [0.0] * len(turn["output_ids"])
        del turn["adapter_logprobs"]


def other_temperature(given):
    for turn in turns(given):
        turn["logprobs"] = [at_temperature(p, 0.5) for p in turn["adapter_logprobs"]]
        del turn["base_logprobs"]


def other_weights(given):
    noise = random.Random(1)
    for turn in turns(given):
        turn["logprobs"] = [p - noise.random() for p in turn["adapter_logprobs"]]
        del turn["base_logprobs"]


def no_tools(given):
    retrained(given, lambda pairs: [pair for pair in pairs if pair[0] not in TOOLS])


def no_tools_attached(given):
    for one in each(given):
        one["tools"] = None
        del one["trained_ids"]


def reordered(given):
    def backwards(pairs):
        at = [i for i, _ in pairs].index(TOOLS[0])
        return pairs[:at] + pairs[at : at + 20][::-1] + pairs[at + 20 :]

    retrained(given, backwards)


def doubled(given):
    def again(pairs):
        end = [i for i, _ in pairs].index(EOS)
        call = [(i, False) for i, _ in pairs[end - 7 : end]]
        return pairs[: end + 1] + call + pairs[end + 1 :]

    retrained(given, again)


def two_bos(given):
    for turn in turns(given):
        turn["prompt_ids"].insert(0, BOS)
    retrained(given, lambda pairs: [(BOS, False), *pairs])


def thoughtless(given):
    for one in each(given):
        one["messages"][2]["content"] = "<think>One and two.</think>"
    retrained(given, lambda pairs: [pair for pair in pairs if pair[0] != 202])


def retokenised(given):
    retrained(given, lambda pairs: [(999 if i == 301 else i, m) for i, m in pairs])


def masked(given):
    for one in each(given):
        n = one["trained_ids"].index(201)
        one["trained_mask"][n] = False


def foreign(given):
    for one in each(given):
        one["trained_mask"][3] = True


def no_eos(given):
    retrained(given, lambda pairs: [(i, m and i != EOS) for i, m in pairs])


def no_spread(given):
    for one in each(given):
        one["reward"], one["success"] = 0.5, 0.0


def identical(given):
    for one in each(given):
        one["messages"][4]["content"] = "It is."
        for turn in one["turns"]:
            turn["output_ids"] = [7] * len(turn["output_ids"])
        del one["trained_ids"]


def identical_texts(given):
    for one in each(given):
        one["messages"][4]["content"] = "It is."
        one["turns"] = []
        del one["trained_ids"]


def no_advantage(given):
    for one in each(given):
        one["advantage"] = 0.0


def others_advantages(given):
    for one in each(given):
        one["advantage"] = -one["advantage"]


def bare(given):
    for one in each(given):
        one["reward"] = one["success"] = float(one["task"] == "3" and one["reward"] == 1.0)


def cut_below(given):
    one = list(each(given))[3]
    one["end"], one["reward"] = "length", -1.0


def cut_often(given):
    for one in each(given):
        if one["reward"] == 0.0:
            one["end"] = "turn_limit"


def raised(given):
    list(each(given))[3].update(error="KeyError: 'id'", reward=0.0)


def emptied(given):
    list(each(given))[3].update(messages=[], turns=[], reward=0.0)


def past_the_end(given):
    given["validation_tasks"] = [100, None]


def unknown_ids(given):
    given["validation_tasks"] = [100, 2000]


def overlapping(given):
    given["validation_tasks"] = [100, 1]


def twice_in_a_step(given):
    for one in given["trajectories"][1]:
        one["task"] = "0"


def validated_twice(given):
    given["validation_tasks"] = [100, 101, 101]


def skipped(given):
    given["updates"][0].update(gradient_steps=0, trainable_tokens=0)


def frozen(given):
    given["updates"][0]["weights_after"] = 0


def rate_of_0(given):
    given["updates"] = [{"step": 1, "gradient_steps": 2, "learning_rate": 0.0}]


PLANTED = [
    (stale, {"another_adapter_answers", "trainer_and_sampler_disagree"}),
    (pinned, {"another_adapter_answers"}),
    (missing_logprobs, {"logprobs_missing"}),
    (infinite_logprobs, {"logprobs_missing"}),
    (few_logprobs, {"logprobs_missing"}),
    (zero_logprobs, {"logprobs_all_zero"}),
    (other_temperature, {"logprobs_of_another_temperature", "trainer_and_sampler_disagree"}),
    (other_weights, {"trainer_and_sampler_disagree"}),
    (no_tools, {"tools_not_trained", "context_not_served"}),
    (no_tools_attached, {"tools_not_trained"}),
    (reordered, {"tool_keys_reordered", "context_not_served"}),
    (doubled, {"calls_doubled", "context_not_served"}),
    (two_bos, {"bos_twice"}),
    (thoughtless, {"thinking_stripped", "context_not_served"}),
    (retokenised, {"outputs_retokenised", "context_not_served"}),
    (masked, {"assistant_tokens_masked"}),
    (foreign, {"unsampled_tokens_trained"}),
    (no_eos, {"eos_never_trained"}),
    (no_spread, {"no_group_spreads"}),
    (identical, {"rollouts_identical"}),
    (identical_texts, {"rollouts_identical"}),
    (no_advantage, {"advantages_zero"}),
    (others_advantages, {"advantages_against_rewards"}),
    (bare, {"rewards_cannot_spread"}),
    (cut_below, {"truncation_counted_as_failure"}),
    (cut_often, {"truncation_counted_as_failure"}),
    (raised, {"exceptions_scored"}),
    (emptied, {"exceptions_scored"}),
    (past_the_end, {"tasks_that_do_not_exist"}),
    (unknown_ids, {"tasks_that_do_not_exist"}),
    (overlapping, {"validation_on_training_tasks"}),
    (twice_in_a_step, {"tasks_duplicated"}),
    (validated_twice, {"tasks_duplicated"}),
    (skipped, {"updates_skipped"}),
    (frozen, {"weights_do_not_move"}),
    (rate_of_0, {"weights_do_not_move"}),
]


@pytest.mark.parametrize(("fault", "symptoms"), PLANTED, ids=lambda p: p.__name__ if callable(p) else "")
def test_a_planted_fault_is_named_and_no_other(fault, symptoms):
    assert named(planted(fault)) == symptoms


def test_every_symptom_is_planted_once_at_least():
    assert set(NAMES) == {name for _, names in PLANTED for name in names}


def test_the_first_token_that_differs_is_shown_between_what_stands_around_it():
    first, served, trained = found(planted(no_tools), "tools_not_trained").shown
    assert first == "first difference at token 6 (served: 30 tokens, trained: 10)"
    assert served == "served   w1 w11 w12 w13 w14 w15⟦add⟧w41 w42 w43 w44 w45 w46 w47 …"
    assert trained == "trained  w1 w11 w12 w13 w14 w15⟦w21⟧w22 w23 w400"


def test_without_a_tokenizer_the_token_ids_are_shown():
    given = planted(no_tools) | {"tokenizer": None}
    finding = found(given, "tools_not_trained")
    assert finding.verdict == "present"
    assert finding.shown[2] == "trained  1 11 12 13 14 15 ⟦21⟧ 22 23 400"


def converged(given):
    for one in each(given):
        one["reward"] = one["success"] = 1.0
        one["advantage"] = 0.0


def sure(given):
    converged(given)
    identical(given)
    for turn in turns(given):
        turn["logprobs"] = [-1e-6] * len(turn["output_ids"])
        del turn["adapter_logprobs"]


def overlong_left_out(given):
    one = next(each(given))
    one["end"] = "length"
    one["trained_mask"] = [False] * len(one["trained_mask"])


def no_spread_at_one_step(given):
    for one in each(given):
        if one["step"] == 0:
            one["reward"], one["success"] = 0.5, 0.0
    given["updates"][0].update(gradient_steps=0)


def several_samples(given):
    given["validation_tasks"] = [100, 101] * 4


def epochs_without_steps(given):
    for one in each(given):
        one["task"], one["step"] = "0", None


def eos_behind_the_reply(given):
    """A server that does not give the token that ends a reply, and a trainer that puts it there and trains it."""
    for turn in turns(given):
        for name in ("output_ids", "logprobs", "adapter_logprobs", "base_logprobs"):
            del turn[name][-1]


def several_epochs(given):
    given["train_tasks"] = [*given["train_tasks"], *given["train_tasks"][:3]]


def errors_that_are_none(given):
    for one in each(given):
        one["metadata"] = {"error": ""}


def respelled(given):
    """A call with odd spaces is in the later prompts as the template spells it, and trained as it was sampled."""
    for one in each(given):
        last = one["turns"][-1]["prompt_ids"]
        last[last.index(202)] = 999


def cut_without_credit(given):
    """No rollout that ended by itself earned nothing."""
    for one in each(given):
        one["reward"] = max(one["reward"], 0.1)
    list(each(given))[3].update(end="length", reward=0.0)


HARMLESS = [
    cut_without_credit,
    respelled,
    eos_behind_the_reply,
    several_epochs,
    errors_that_are_none,
    converged,
    sure,
    overlong_left_out,
    no_spread_at_one_step,
    several_samples,
    epochs_without_steps,
]


@pytest.mark.parametrize("oddity", HARMLESS, ids=lambda f: f.__name__)
def test_what_is_only_odd_is_no_symptom(oddity):
    assert named(planted(oddity)) == set()


def test_in_16_bits_rounding_is_no_disagreement():
    def rounded(given):
        given["exact"] = False
        for turn in turns(given):
            turn["adapter_logprobs"] = [p + 0.02 * (n % 2) for n, p in enumerate(turn["logprobs"])]

    assert named(planted(rounded)) == set()


def test_greedy_rollouts_that_rounding_parts_now_and_then_are_alike_all_the_same():
    def nearly_alike(given):
        identical(given)
        given["exact"] = False
        for one in each(given):
            for turn in one["turns"]:
                turn["temperature"] = 0.0
        next(turns(given))["output_ids"] = [8] * 8

    assert named(planted(nearly_alike)) == {"rollouts_identical"}


def test_thinking_that_the_server_drops_from_later_prompts_is_named_as_well():
    def dropped(given):
        for one in each(given):
            one["messages"][2]["content"] = "<think>One and two.</think>"
            one["turns"][-1]["prompt_ids"].remove(202)

    assert named(planted(dropped)) == {"thinking_stripped"}
