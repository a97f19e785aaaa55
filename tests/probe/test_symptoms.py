"""Each symptom is found where it was planted, and not in the sound loop; without what tells it, it cannot be told."""

import copy
import json
import random

import pytest

from harness.probe import SYMPTOMS, check
from tests.probe import test_ledger, test_references
from tests.probe.loops import BOS, CALL, EOS, TOOLS, at_temperature, each, loop, planted, retrained, turns

TEXTS = ("tools_not_served", "messages_not_served", "replies_served_otherwise", "replies_not_as_sampled")
MORE = (
    "frequencies_off_probabilities",
    "success_paid_apart",
    "updates_alike",
    "validation_changes",
    "group_asks_apart",
    "rewards_times_turns",
    "rows_trained_again",
)
ALIKE = ("rollouts_identical", "same_conversation_other_reward")
NAMES = [symptom.__name__ for symptom in SYMPTOMS]


def verdicts(given) -> dict[str, str]:
    return {f.symptom: f.verdict for f in check(**given)}


def named(given) -> set[str]:
    return {name for name, verdict in verdicts(given).items() if verdict == "present"}


def found(given, symptom):
    (one,) = [f for f in check(**given) if f.symptom == symptom]
    return one


def test_of_a_sound_loop_every_symptom_is_absent():
    # no two rollouts are the same conversation, ids spell no text, and there is too little of other things
    references = test_references.BY_REFERENCE - {"steps_out_of_order", "replies_end_otherwise"}
    unlike = dict.fromkeys(["same_conversation_other_reward", *TEXTS, *MORE, *references], "cannot tell")
    assert verdicts(loop()) == dict.fromkeys(NAMES, "absent") | unlike


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


def padded(given):
    """The trainer is certain of them to a ten-thousandth, and they were served as certain."""
    for turn in turns(given):
        turn["logprobs"][-2:] = [0.0, 0.0]
        turn["adapter_logprobs"][-2:] = [-5e-5, -5e-5]
        turn["base_logprobs"][-2:] = [-0.3, -0.3]


def left_over_by_top_p(given):
    """Each log-prob is too high by a hundredth, which 16 bits would make as well, to either side."""
    given["exact"] = False
    for turn in turns(given):
        turn["adapter_logprobs"] = [p - 0.01 for p in turn["logprobs"]]
        del turn["base_logprobs"]


def warmer_later(given):
    for one in each(given):
        one["turns"][1]["temperature"] = 0.7


def cut_to_a_row(given):
    for one in each(given):
        one["trained_ids"], one["trained_mask"] = one["trained_ids"][:38], one["trained_mask"][:38]
    for update in given["updates"]:
        update["trainable_tokens"] = 176


def cut_reply_ended(given):
    """The template ends a reply that was cut, and that end is trained."""
    for one in list(each(given))[:2]:
        one["turns"][1]["finish_reason"] = "length"
        for name in ("output_ids", "logprobs", "adapter_logprobs", "base_logprobs"):
            del one["turns"][1][name][-1]


def copied(given):
    """Rollouts 2 and 3 of each group are one."""
    for group in given["trajectories"]:
        group[2] = copy.deepcopy(group[1])


def copied_now_and_then(given):
    for group, (one, other) in zip(given["trajectories"], [(0, 1), (1, 3), (2, 0)], strict=False):
        group[one] = copy.deepcopy(group[other])


def buffer_not_emptied(given):
    stale = copy.deepcopy(given["trajectories"][0])
    for one in stale:
        one["step"] = 1
    given["trajectories"][4] = stale


def mixed(given):
    one, other = given["trajectories"][:2]
    one[2:], other[2:] = other[2:], one[2:]


def mixed_by_number(given):
    """Rollouts one by one, each with the number of its group."""
    mixed(given)
    groups = enumerate(given["trajectories"])
    given["trajectories"] = [one | {"group": number} for number, group in groups for one in group]


def mixed_without_ids(given):
    mixed(given)
    for one in each(given):
        del one["task"]


def others_rewards(given):
    """Each rollout has the reward of the one after it."""
    for group in given["trajectories"]:
        rewards = [one["reward"] for one in group]
        for one, reward in zip(group, rewards[1:] + rewards[:1], strict=True):
            one["reward"] = reward
            del one["advantage"]


def graded_twice(given):
    """Two rollouts of a group are the same conversation, and one is a success alone."""
    for group in given["trajectories"]:
        for turn in (turn for one in group for turn in one["turns"]):
            turn["temperature"] = 0.7  # at 1 that would be a copy
        same = {name: group[0][name] for name in ("messages", "turns", "trained_ids", "trained_mask")}
        group[3].update(copy.deepcopy(same))


def of_the_batch(given):
    for one in each(given):
        one["advantage"] = (one["reward"] - 0.4) / 0.3


def raw_rewards(given):
    for one in each(given):
        one["advantage"] = one["reward"] + 0.0


def only_upwards(given):
    for one in each(given):
        one["advantage"] = max(one["advantage"], 0.0)


def by_length(given):
    for n, one in enumerate(each(given)):
        if n % 4 == 2:
            longer(one)
        one["advantage"] /= sum(one["trained_mask"])
    for update in given["updates"]:
        update["trainable_tokens"] = 300


def longer(one):
    at = one["trained_ids"].index(201)
    one["trained_ids"].insert(at, 200)
    one["trained_mask"].insert(at, True)
    first, last = one["turns"]
    first["output_ids"].insert(1, 200)
    last["prompt_ids"].insert(at, 200)
    for name in ("logprobs", "adapter_logprobs", "base_logprobs"):
        first[name].insert(1, first[name][0])


def against_each_other(given):
    for number, one in enumerate(each(given)):
        one["reward"], one["advantage"] = (1.0, 1.0, 0.0, 0.0)[number % 4], (1.0, -1.0)[number % 2]
        one["success"] = one["reward"]


def answer(one):
    return one["messages"][3]


def tool_timed_out(given):
    for group in given["trajectories"]:
        answer(group[3])["content"] = "Error: timed out after 30 s"


def numbers_count_up(given):
    for group in given["trajectories"]:
        for number, one in enumerate(group):
            answer(one)["content"] = f'{{"id": "task_{number + 4}"}}'


def there_already(given):
    for group in given["trajectories"]:
        for one in group[1:]:
            answer(one)["content"] = "Error: the title already exists"


def not_parsed(given):
    for group in given["trajectories"]:
        text = f"<tool_call>\n{json.dumps({'name': 'add', 'arguments': {'a': 1, 'b': 2}})}\n</tool_call>"
        group[3]["messages"] = [*group[3]["messages"][:2], {"role": "assistant", "content": text}]
        group[3]["turns"] = group[3]["turns"][:1]
        del group[3]["trained_ids"]


def answers_of_another_call(given):
    answer(next(each(given)))["tool_call_id"] = "d"


def same_tasks(given):
    for one in each(given):
        one["task"] = str(int(one["task"]) % 4)
    given["train_tasks"] = list(range(40))


def begins_at_the_base(given):
    given["updates"][1]["weights_before"] = 0


def loaded_from_elsewhere(given):
    given["updates"] = [
        {"step": n + 1, "gradient_steps": 1, "weights_before": before, "weights_after": n + 1}
        for n, before in enumerate((0, 1, 7))
    ]


def minibatch_dropped(given):
    given["updates"][1]["trainable_tokens"] = 144


def exploded(given):
    given["updates"][1]["grad_norm"] = float("nan")


def some_requests_without_tools(given):
    for group in given["trajectories"]:
        for turn in group[2]["turns"]:
            turn["prompt_ids"] = [i for i in turn["prompt_ids"] if i not in TOOLS]
        group[2]["trained_ids"] = group[2]["trained_mask"] = None
    for update in given["updates"]:
        update["trainable_tokens"] = 144


def only_the_last_message_sent(given):
    for one in each(given):
        one["turns"][1]["prompt_ids"] = one["turns"][1]["prompt_ids"][:20]
        one["trained_ids"] = one["trained_mask"] = None


def reward_is_nan(given):
    next(each(given)).update(reward=float("nan"), advantage=None)


def every_second_step_trains(given):
    given["trajectories"], given["train_tasks"] = loop(steps=3)["trajectories"], list(range(12))
    given["updates"] = [loop(steps=3)["updates"][n] for n in (0, 2)]


def long_answers_cut(given):
    for n, one in enumerate(each(given)):
        answer(one)["content"] = f'{{"sum": {37 * n % 100:04d}, "all": [1, 2, 3, 4, 5, 6'


def encoded_twice(given):
    for one in each(given):
        call = one["messages"][2]["tool_calls"][0]
        doubled = call["function"] | {"arguments": json.dumps(call["function"]["arguments"])}
        one["messages"][2]["tool_calls"] = [call | {"function": doubled}]


def history_put_together_twice(given):
    for one in each(given):
        one["messages"].insert(1, one["messages"][1])


PLANTED = [
    (some_requests_without_tools, {"equal_prompts_served_apart"}),
    (only_the_last_message_sent, {"history_not_served"}),
    (reward_is_nan, {"rewards_not_finite"}),
    (every_second_step_trains, {"steps_without_update", "steps_out_of_order"}),
    (long_answers_cut, {"tool_answers_cut"}),
    (encoded_twice, {"arguments_encoded_twice"}),
    (history_put_together_twice, {"messages_doubled"}),
    (padded, {"zeros_where_not_certain"}),
    (left_over_by_top_p, {"importance_ratios_off_1"}),
    (warmer_later, {"temperature_changes"}),
    (cut_to_a_row, {"context_cut_off"}),
    (cut_reply_ended, {"unsampled_tokens_trained"}),
    (copied, {"rollouts_copied", "frequencies_off_probabilities"}),
    (copied_now_and_then, {"rollouts_copied"}),
    (buffer_not_emptied, {"rollouts_trained_again"}),
    (mixed, {"group_mixes_tasks", "advantages_against_rewards", "group_opens_apart"}),
    (mixed_by_number, {"group_mixes_tasks", "tasks_duplicated"}),
    (mixed_without_ids, {"group_mixes_tasks", "advantages_against_rewards", "group_opens_apart"}),
    (others_rewards, {"rewards_against_success"}),
    (graded_twice, {"same_conversation_other_reward"}),
    (of_the_batch, {"advantages_without_group_mean"}),
    (raw_rewards, {"advantages_without_group_mean", "advantages_one_sided"}),
    (only_upwards, {"advantages_one_sided", "advantages_against_rewards"}),
    (by_length, {"advantages_by_length"}),
    (against_each_other, {"advantages_by_length", "advantages_against_rewards"}),
    (tool_timed_out, {"tool_failures_scored"}),
    (numbers_count_up, {"environment_keeps_state"}),
    (there_already, {"environment_keeps_state"}),
    (not_parsed, {"calls_left_as_text", "finish_reasons_untrue"}),
    (answers_of_another_call, {"tool_answers_unmatched"}),
    (same_tasks, {"tasks_repeat_each_step"}),
    (begins_at_the_base, {"update_begins_elsewhere"}),
    (loaded_from_elsewhere, {"update_begins_elsewhere"}),
    (minibatch_dropped, {"tokens_left_out"}),
    (exploded, {"gradients_not_finite"}),
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
    (identical, {*ALIKE, "frequencies_off_probabilities", "equal_contexts_other_logprobs"}),
    (identical_texts, set(ALIKE)),
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
    planted_here = {name for _, names in PLANTED for name in names}
    planted_here |= {name for _, name in test_references.PLANTED}
    assert set(NAMES) == planted_here | {name for _, names in test_ledger.PLANTED for name in names}


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
            one["reward"], one["success"], one["advantage"] = 0.5, 0.0, 0.0
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


def likely_copies(given):
    """A policy that is nearly certain samples a reply again."""
    for group in given["trajectories"]:
        group[2] = copy.deepcopy(group[0])
        for turn in (turn for one in group for turn in one["turns"]):
            for name, shift in (("logprobs", 0.0), ("adapter_logprobs", 1e-6), ("base_logprobs", -0.2)):
                turn[name] = [-0.03 + shift] * len(turn["output_ids"])


def copies_at_a_low_temperature(given):
    """Log-probs as served are those at temperature 1."""
    copied(given)
    for turn in turns(given):
        turn["temperature"] = 0.2


def asked_again_without_learning(given):
    """At a rate that is 0 at first the same weights say the same of the same tasks."""
    buffer_not_emptied(given)
    given["updates"] = [{"step": 1, "gradient_steps": 0}, {"step": 2, "gradient_steps": 0}]
    for one in each(given):
        one["reward"], one["success"], one["advantage"] = 1.0, 1.0, 0.0


def epochs_as_numbers(given):
    rows = [one | {"step": None} for one in each(loop(steps=1))]
    given["trajectories"] = [one | {"group": epoch} for epoch in (0, 1) for one in rows]


def clocks_in_prompts(given):
    for n, one in enumerate(each(given)):
        del one["task"]
        one["messages"][1]["content"] += f" It is {n} o'clock."


def long_successes_cost(given):
    for one in each(given):
        if one["task"] == "0":
            one["reward"] = 0.1 if one["success"] else one["reward"]
            del one["advantage"]


def unsure_judge(given):
    """A model that judges gives half of what it gave before, now and then."""
    for group in given["trajectories"]:
        group[2] = copy.deepcopy(group[0])
        for turn in (turn for one in group for turn in one["turns"]):
            turn["temperature"] = 0.7
    given["trajectories"][0][2].update(reward=0.6, advantage=0.1)


def scaled_by_the_groups_spread(given):
    for group in given["trajectories"]:
        mean = sum(one["reward"] for one in group) / 4
        spread = (sum((one["reward"] - mean) ** 2 for one in group) / 4) ** 0.5
        for one in group:
            one["advantage"] = (one["reward"] - mean) / spread


def against_the_others_mean(given):
    for one in each(given):
        one["advantage"] *= 4 / 3


def some_lost(given):
    for n, group in enumerate(given["trajectories"]):
        del group[n % 4]


def penalty_for_drift(given):
    """A little of how far the policy has gone is taken from each advantage."""
    for n, one in enumerate(each(given)):
        one["advantage"] -= 0.02 * (n % 3)


def own_code_runs_too_long(given):
    """A sandbox says so of some programs that the policy wrote."""
    for n, group in enumerate(given["trajectories"]):
        own = CALL | {"function": CALL["function"] | {"arguments": f'{{"code": "while {n}: pass"}}'}}
        group[1]["messages"][2]["tool_calls"] = [own]
        answer(group[1])["content"] = "Error: timed out after 30 s"


def documents_about_timeouts(given):
    for group in given["trajectories"]:
        answer(group[1])["content"] = "Section 1. " + "Text of a manual. " * 20 + "A time-out is an error."


def random_ids_and_clocks(given):
    luck = random.Random(0)
    for n, one in enumerate(each(given)):
        answer(one)["content"] = f"id {luck.randrange(10**5)} at 2026-01-01T00:00:{n:02d}, {1_700_000_000 + n}"


def misspelled_calls(given):
    """The policy forgot a bracket: that is its own fault."""
    for group in given["trajectories"]:
        group[1]["messages"][4]["content"] = '<tool_call>{"name": "add", "arguments": {"a": 1}</tool_call>'


def calls_thought_of(given):
    for group in given["trajectories"]:
        call = '<tool_call>{"name": "add", "arguments": {}}</tool_call>'
        group[1]["messages"][4]["content"] = f"<think>Shall I say {call}?</think>No."


def ids_of_two_kinds(given):
    for one in each(given):
        answer(one)["tool_call_id"] = "call_1"


def as_many_tasks_as_a_batch(given):
    same_tasks(given)
    given["train_tasks"] = [0, 1, 2, 3]


def digests_of_two_kinds(given):
    for update in given["updates"]:
        update["weights_before"] = f"file {update['weights_before']}"


def a_step_is_not_reported(given):
    """Nor are its rollouts."""
    given["updates"][1].update(step=3, weights_before=2, weights_after=3)
    for one in each(given):
        one["step"] *= 2


def tokens_of_two_epochs(given):
    for update in given["updates"]:
        update["trainable_tokens"] *= 2


def first_tokens_shifted_out(given):
    for update in given["updates"]:
        update["trainable_tokens"] -= 16


def temperatures_by_rollout(given):
    for number, one in enumerate(each(given)):
        for turn in one["turns"]:
            turn["temperature"] = (0.8, 1.0)[number % 2]


def a_row_for_each_turn(given):
    """The trainer's row holds the first turn alone, whatever its length."""
    for number, one in enumerate(each(given)):
        end = 40 + number % 2
        one["trained_ids"], one["trained_mask"] = one["trained_ids"][:end], one["trained_mask"][:end]
    for update in given["updates"]:
        update["trainable_tokens"] = 192


def later_prompts_spelled_shorter(given):
    """The template leaves the spaces out of calls."""
    for one in each(given):
        prompt = one["turns"][1]["prompt_ids"]
        one["turns"][1]["prompt_ids"] = [i for i in prompt if i not in (201, 202)]
        one["trained_ids"] = one["trained_mask"] = None


def the_last_step_is_not_trained_yet(given):
    given["trajectories"], given["train_tasks"] = loop(steps=3)["trajectories"], list(range(12))


def a_tool_that_answers_no_json(given):
    for n, one in enumerate(each(given)):
        answer(one)["content"] = "[3]: see {1}" if n % 2 else "[3"


def arguments_that_are_texts(given):
    for one in each(given):
        call = one["messages"][2]["tool_calls"][0]
        one["messages"][2]["tool_calls"] = [call | {"function": call["function"] | {"arguments": '"three"'}}]


def two_calls_with_one_answer(given):
    for one in each(given):
        one["messages"][2]["tool_calls"] = [CALL, CALL | {"id": "d"}]
        one["messages"].insert(4, answer(one) | {"tool_call_id": "d"})


def masked_where_nothing_is_learned(given):
    """A group without spread has no advantage, and its rows are masked."""
    for one in given["trajectories"][0]:
        one.update(reward=0.5, success=0.0, advantage=0.0, trained_mask=[False] * len(one["trained_mask"]))
    given["updates"][0]["trainable_tokens"] = 144


HARMLESS = [
    masked_where_nothing_is_learned,
    later_prompts_spelled_shorter,
    the_last_step_is_not_trained_yet,
    a_tool_that_answers_no_json,
    arguments_that_are_texts,
    two_calls_with_one_answer,
    likely_copies,
    copies_at_a_low_temperature,
    asked_again_without_learning,
    epochs_as_numbers,
    clocks_in_prompts,
    long_successes_cost,
    unsure_judge,
    scaled_by_the_groups_spread,
    against_the_others_mean,
    some_lost,
    penalty_for_drift,
    own_code_runs_too_long,
    documents_about_timeouts,
    random_ids_and_clocks,
    misspelled_calls,
    calls_thought_of,
    ids_of_two_kinds,
    as_many_tasks_as_a_batch,
    digests_of_two_kinds,
    a_step_is_not_reported,
    tokens_of_two_epochs,
    first_tokens_shifted_out,
    temperatures_by_rollout,
    a_row_for_each_turn,
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
            turn["adapter_logprobs"] = [p + 0.02 * (-1) ** n for n, p in enumerate(turn["logprobs"])]

    assert named(planted(rounded)) == set()


def test_greedy_rollouts_that_rounding_parts_now_and_then_are_alike_all_the_same():
    def nearly_alike(given):
        identical(given)
        given["exact"] = False
        for one in each(given):
            for turn in one["turns"]:
                turn["temperature"] = 0.0
        next(turns(given))["output_ids"] = [8] * 8

    assert named(planted(nearly_alike)) == {"rollouts_identical", "same_conversation_other_reward"}


def test_thinking_that_the_server_drops_from_later_prompts_is_named_as_well():
    def dropped(given):
        for one in each(given):
            one["messages"][2]["content"] = "<think>One and two.</think>"
            one["turns"][-1]["prompt_ids"].remove(202)

    assert named(planted(dropped)) == {"thinking_stripped"}


def test_an_index_past_the_end_needs_no_list_of_the_tasks_that_exist():
    def beyond(given):
        given["validation_tasks"], given["known_tasks"] = [100, None], None

    assert verdicts(planted(beyond))["tasks_that_do_not_exist"] == "present"
