"""Whatever is not as the environment, the declaration, the template or the parser has it is named by its part."""

import copy

import pytest

from harness.probe import Declared, as_declared, check, replayed, spelled, trained_as_declared
from tests.probe.sums import DECLARED, TASKS, Letters, rollout_of, sums, trained

BY_REFERENCE = {
    symptom.__name__ for module in (spelled, replayed, as_declared, trained_as_declared) for symptom in module.FINDINGS
}


def verdicts(given):
    return {f.symptom: f.verdict for f in check(**given)}


def present(given):
    return {name for name, verdict in verdicts(given).items() if verdict == "present"}


def rollouts(given):
    return [rollout for group in given["trajectories"] for rollout in group]


def one(given):
    """A rollout of three replies and a user who asks again."""
    return given["trajectories"][0][2]


def test_of_a_sound_loop_all_that_has_a_reference_is_as_it_should_be():
    found = verdicts(sums())
    assert present(sums()) == {"rollouts_copied"}  # these are
    assert {name: found[name] for name in BY_REFERENCE} == dict.fromkeys(BY_REFERENCE, "absent")


def test_without_references_nothing_of_them_can_be_told():
    found = verdicts({"trajectories": sums()["trajectories"]})
    own = {"steps_out_of_order", "replies_end_otherwise", "equal_contexts_other_logprobs"}
    told = {name for name in BY_REFERENCE - own if found[name] != "cannot tell"}
    assert told == set()


def other_system_prompt(given):
    for rollout in rollouts(given):
        rollout["messages"][0]["content"] = "Add well."


def a_tool_more(given):
    one(given)["sent_tools"] = [*one(given)["sent_tools"], {"type": "function", "function": {"name": "sub"}}]


def another_sum(given):
    one(given)["messages"][3]["content"] = "4"


def an_answer_lost(given):
    del one(given)["messages"][3]


def user_repeats(given):
    one(given)["messages"][5]["content"] = "1 + 2?"


def stops_early(given):
    one(given)["messages"], one(given)["turns"] = one(given)["messages"][:5], one(given)["turns"][:2]


def goes_on(given):
    messages = given["trajectories"][0][0]["messages"]
    messages += [{"role": "user", "content": "And?"}, {"role": "assistant", "content": "It is 3."}]


def misnames_its_end(given):
    one(given)["end"] = "turn_limit"


def judged_otherwise(given):
    one(given)["success"] = 0.0


def no_such_task(given):
    for rollout in given["trajectories"][1]:
        rollout["task"] = "0 0"


def cooler(given):
    one(given)["turns"][1]["temperature"] = 0.7


def cut_by_a_lower_limit(given):
    turn = one(given)["turns"][1]
    turn |= {"finish_reason": "length"} | {n: turn[n][:-1] for n in turn if n.endswith("logprobs") or n == "output_ids"}


def no_end(given):
    turn = one(given)["turns"][1]
    turn |= {n: turn[n][:-1] for n in turn if n.endswith("logprobs") or n == "output_ids"}


def too_many_turns(given):
    given["declared"]["max_turns"] = 2


def another_name(given):
    one(given)["turns"][1]["model"] = "q@0"


def paid_for_length(given):
    one(given)["reward"] = 0.9


def a_success_is_not_paid(given):
    """By a formula of Python, and no environment says more of the success."""
    del given["environment"]
    given["declared"]["reward"] = lambda outcome: 1.0 if outcome.reward else 0.1 * outcome.actions_matched
    one(given)["reward"] = 0.0


def another_batch(given):
    given["trajectories"][0], given["trajectories"][2] = given["trajectories"][2], given["trajectories"][0]
    for step, group in ((0, given["trajectories"][0]), (1, given["trajectories"][2])):
        for rollout in group:
            rollout["step"] = step


def a_group_lost(given):
    del given["trajectories"][1]


def fewer_validated(given):
    given["validation_tasks"] = {step: [] for step in (0, 1)}


def a_step_lost(given):
    for rollout in rollouts(given)[8:]:
        rollout["step"] = 2


def half_the_advantage(given):
    one(given)["advantage"] /= 2


def all_advantages_doubled(given):
    for rollout in rollouts(given):
        rollout["advantage"] *= 2


def not_trained(given):
    for name in ("trained_ids", "trained_mask", "advantage"):
        del one(given)[name]


def another_row(given):
    one(given)["trained_ids"][5] += 1


def first_token_masked(given):
    mask = one(given)["trained_mask"]
    mask[mask.index(1)] = 0


def a_prompts_token_trained(given):
    one(given)["trained_mask"][0] = 1


def a_token_less(given):
    given["updates"][1]["trained_tokens"] -= 1


def a_gradient_step_more(given):
    given["updates"][1]["gradient_steps"] += 1


def another_rate(given):
    given["updates"][1]["learning_rate"] *= 2


def white_space_lost(given):
    prompt = one(given)["turns"][2]["prompt_ids"]
    prompt.remove(32)


def argument_changed(given):
    call = one(given)["messages"][2]["tool_calls"][0]["function"]
    call["arguments"] = call["arguments"].replace('{"a": 1, "b": 2}', '{"b": 2, "a": 1}')


def said_beside_its_call(given):
    one(given)["messages"][2]["content"] = "Well."


def stop_for_a_call(given):
    one(given)["turns"][0]["finish_reason"] = "stop"


def logprobs_of_another(given):
    turn = one(given)["turns"][0]
    turn["logprobs"] = turn["adapter_logprobs"] = [p - 0.002 for p in turn["logprobs"]]


def undone(given):
    given["updates"][1]["weights_after"] = "weights 0"


def never_loaded(given):
    for rollout in rollouts(given):
        for turn in rollout["turns"]:
            turn["base_logprobs"] = list(turn["adapter_logprobs"])


def answers_another_call(given):
    one(given)["messages"][3]["tool_call_id"] = "d"


def names_the_limit_early(given):
    stops_early(given)
    one(given)["end"] = "turn_limit"


def another_sum_in_the_validation(given):
    given["validation"] = [copy.deepcopy(one(given))]
    given["validation"][0]["messages"][3]["content"] = "4"


def a_tool_of_that_name(given):
    one(given)["sent_tools"] = [{"type": "function", "function": {"name": "add"}}]


def the_trainer_has_another_tool(given):
    one(given)["tools"] = [{"type": "function", "function": {"name": "add"}}]


def judged_though_it_was_cut(given):
    one(given)["turns"][-1]["finish_reason"] = one(given)["end"] = "length"


def not_punished_for_its_length(given):
    """Upstream's loop gives -1."""
    given["declared"]["reward"] = "upstream"
    stops_early(given)
    one(given).update(end="length", success=0.0, reward=0.0)


def trains_on_less_later(given):
    given["train_tasks"] = {0: TASKS, 1: TASKS[:3]}


def trains_on_another_task(given):
    given["train_tasks"], given["declared"]["train_tasks"] = None, TASKS[:3]


def an_end_in_the_middle(given):
    one(given)["turns"][1]["output_ids"][1] = Letters.eos_token_id


def mask_shifted(given):
    mask = one(given)["trained_mask"]
    mask.append(mask.pop(0))


def trained_for_another_groups_sake(given):
    """Its own group has no spread."""
    given["trajectories"][1] = [rollout_of(TASKS[1], 0, 0) for _ in range(4)]
    row = {name: given["trajectories"][1][0][name] for name in ("trained_ids", "trained_mask")}
    trained(given)
    given["trajectories"][1][0] |= row | {"advantage": 0.5}


PLANTED = [
    (answers_another_call, "environment_answers_otherwise"),
    (names_the_limit_early, "episode_ends_elsewhere"),
    (another_sum_in_the_validation, "environment_answers_otherwise"),
    (a_tool_of_that_name, "tools_not_of_the_environment"),
    (the_trainer_has_another_tool, "tools_not_of_the_environment"),
    (judged_though_it_was_cut, "success_not_as_judged"),
    (not_punished_for_its_length, "rewards_not_as_declared"),
    (trains_on_less_later, "task_lists_not_as_declared"),
    (trains_on_another_task, "task_lists_not_as_declared"),
    (an_end_in_the_middle, "replies_end_otherwise"),
    (mask_shifted, "masks_not_as_declared"),
    (trained_for_another_groups_sake, "trained_otherwise_than_declared"),
    (other_system_prompt, "environment_opens_otherwise"),
    (a_tool_more, "tools_not_of_the_environment"),
    (another_sum, "environment_answers_otherwise"),
    (an_answer_lost, "environment_answers_otherwise"),
    (user_repeats, "user_says_otherwise"),
    (stops_early, "episode_ends_elsewhere"),
    (goes_on, "episode_ends_elsewhere"),
    (misnames_its_end, "episode_ends_elsewhere"),
    (judged_otherwise, "success_not_as_judged"),
    (no_such_task, "environment_raises"),
    (cooler, "sampling_not_as_declared"),
    (cut_by_a_lower_limit, "sampling_not_as_declared"),
    (no_end, "replies_end_otherwise"),
    (too_many_turns, "turns_over_the_limit"),
    (another_name, "names_not_as_declared"),
    (paid_for_length, "rewards_not_as_declared"),
    (a_success_is_not_paid, "rewards_not_as_declared"),
    (another_batch, "batches_not_as_declared"),
    (a_group_lost, "batches_not_as_declared"),
    (fewer_validated, "task_lists_not_as_declared"),
    (a_step_lost, "steps_out_of_order"),
    (half_the_advantage, "advantages_not_as_declared"),
    (all_advantages_doubled, "advantages_not_as_declared"),
    (not_trained, "trained_otherwise_than_declared"),
    (another_row, "trained_otherwise_than_declared"),
    (first_token_masked, "masks_not_as_declared"),
    (a_prompts_token_trained, "masks_not_as_declared"),
    (a_token_less, "updates_not_as_declared"),
    (a_gradient_step_more, "updates_not_as_declared"),
    (another_rate, "updates_not_as_declared"),
    (white_space_lost, "prompts_not_rendered"),
    (argument_changed, "replies_not_as_parsed"),
    (said_beside_its_call, "replies_not_as_parsed"),
    (stop_for_a_call, "replies_not_as_parsed"),
    (logprobs_of_another, "equal_contexts_other_logprobs"),
    (undone, "weights_return"),
    (never_loaded, "updates_without_effect"),
]


@pytest.mark.parametrize(("fault", "symptom"), PLANTED, ids=lambda p: p.__name__ if callable(p) else "")
def test_a_deviation_is_named_by_its_part(fault, symptom):
    given = copy.deepcopy(sums())
    fault(given)
    assert symptom in present(given)


def test_ids_of_tasks_may_be_numbers():
    given = {"trajectories": [{"task": 7, "step": 0}], "declared": {"train_tasks": [7], "batches": {0: [7]}}}
    found = verdicts(given)
    assert found["task_lists_not_as_declared"] == found["batches_not_as_declared"] == "absent"


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        ({}, "present"),
        ({"messages": [{"role": "user", "content": "2 + 1?"}, {"role": "assistant", "content": "3"}]}, "cannot tell"),
        ({"step": 2}, "cannot tell"),
        ({"model": "base"}, "cannot tell"),
    ],
    ids=["all the same", "asked otherwise", "a later step", "another policy"],
)
def test_log_probs_are_those_of_one_policy_after_one_conversation(other, verdict):
    messages = [{"role": "user", "content": "1 + 2?"}, {"role": "assistant", "content": "3"}]
    rollout = {"task": "1 2", "step": 1, "messages": messages, "model": "p@1"}
    group = [
        rollout | {"turns": [{"output_ids": [51, 3], "logprobs": [-0.1, -0.2]}]},
        rollout | {"turns": [{"output_ids": [51, 3], "logprobs": [-0.4, -0.5]}]} | other,
    ]
    assert verdicts({"trajectories": [group], "exact": True})["equal_contexts_other_logprobs"] == verdict


def test_what_a_parser_needs_is_named():
    (found,) = [f for f in check([], declared={"parser": "hermes"}) if f.symptom == "replies_not_as_parsed"]
    assert found.text == "no tokenizer is given"


def test_a_message_may_show_the_calls_that_are_executed_alone():
    text = '<tool_call>{"name": "add", "arguments": {}}</tool_call>'
    call = {"function": {"name": "add", "arguments": "{}"}}
    turn = {"output_ids": [*map(ord, 2 * text)], "finish_reason": "tool_calls"}
    rollout = {"messages": [{"role": "assistant", "tool_calls": [call]}], "turns": [turn]}
    given = {"trajectories": [rollout], "tokenizer": Letters()}
    found = [verdicts(given | {"declared": {"parser": "hermes"} | calls}) for calls in ({}, {"calls": 1})]
    assert [each["replies_not_as_parsed"] for each in found] == ["present", "absent"]


@pytest.mark.parametrize(("lengths", "verdict"), [([40, 40], "absent"), ([40, 30], "present")])
def test_a_reply_that_is_cut_before_its_limit_has_used_up_its_episode(lengths, verdict):
    """prompts have other lengths, and the context has room for more"""
    turns = [
        {"prompt_ids": [1] * (100 + n), "output_ids": [2] * length, "finish_reason": "length"}
        for n, length in enumerate(lengths)
    ]
    whole = {"prompt_ids": [1] * 300, "output_ids": [2], "finish_reason": "stop"}
    given = {"trajectories": [{"turns": [turn]} for turn in (*turns, whole)], "declared": {"max_tokens": 80}}
    assert verdicts(given)["sampling_not_as_declared"] == verdict


def test_a_declaration_is_plain_data_or_an_object():
    given = sums() | {"declared": Declared(**DECLARED)}
    half_the_advantage(given)
    assert "advantages_not_as_declared" in present(given)
