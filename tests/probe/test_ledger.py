"""What can be computed again from what else is recorded is, and named where it differs; what a sound loop may do is no
symptom."""

import json

import pytest

from harness.probe import SYMPTOMS, check
from tests.probe.spelled import EOS, LOOK, RULES, each, encode, loop, planted, rendered, seen_otherwise, turns

NEW = {
    "messages_not_served",
    "replies_served_otherwise",
    "prompts_framed_apart",
    "replies_not_as_sampled",
    "eos_masked_in_part",
    "several_names_answer",
    "finish_reasons_untrue",
    "frequencies_off_probabilities",
    "groups_of_another_size",
    "group_opens_apart",
    "success_paid_apart",
    "rewards_change_between_steps",
    "advantages_not_of_their_group",
    "rollouts_left_out",
    "messages_lost",
    "tools_not_served",
    "messages_empty",
    "equal_calls_answered_apart",
    "answers_of_other_calls",
    "validation_changes",
    "tasks_not_to_train_on",
    "updates_alike",
    "reply_ends_left_out",
    "group_asks_apart",
    "calls_left_at_the_limit",
    "rewards_times_turns",
    "rows_trained_again",
}


def verdicts(given) -> dict[str, str]:
    return {f.symptom: f.verdict for f in check(**given)}


def named(given) -> set[str]:
    return {name for name, verdict in verdicts(given).items() if verdict == "present"}


def test_of_a_loop_whose_tokens_spell_its_messages_each_of_them_is_absent():
    found = verdicts(loop())
    # all go on alike; users name one thing; replies have all their words, and there are two in each rollout
    untold = ("frequencies_off_probabilities", "group_asks_apart", "rewards_times_turns")
    assert {name: found[name] for name in NEW} == dict.fromkeys(NEW, "absent") | dict.fromkeys(untold, "cannot tell")
    assert "present" not in found.values()


def answers_cut(given):
    for one in each(given):
        seen_otherwise(one, ', "count": 3}', "")


def system_prompt_shown_twice(given):
    twice = "".join(f"<|im_start|>system\n{RULES}<|im_end|>\n" for _ in range(2))
    for one in each(given):
        seen_otherwise(one, f"<|im_start|>system\n{RULES}<|im_end|>\n", twice)


def history_escaped(given):
    """The served template makes JSON of arguments that are JSON already."""
    for one in each(given):
        arguments = one["messages"][2]["tool_calls"][0]["function"]["arguments"]
        prompt = one["turns"][1]["prompt_ids"]
        text = "".join(chr(i) if i != EOS else "<|im_end|>" for i in prompt)
        one["turns"][1]["prompt_ids"] = encode(text.replace(arguments, json.dumps(arguments)))
        one["trained_ids"] = one["trained_mask"] = None


def reply_not_in_history(given):
    for one in each(given):
        first, second = one["turns"]
        at = len(first["prompt_ids"])
        second["prompt_ids"] = second["prompt_ids"][:at] + second["prompt_ids"][at + len(first["output_ids"]) - 1 :]
        one["trained_ids"] = one["trained_mask"] = None


def another_conversation_in_some(given):
    for one in list(each(given))[::8]:
        seen_otherwise(one, "<|im_start|>user\n", "<|im_start|>user\nHello.<|im_end|>\n<|im_start|>user\n")


def none_before_calls(given):
    """The template writes None where a reply with a call has no text."""
    for one in each(given):
        seen_otherwise(one, "<tool_call>", "None<tool_call>")
        one["trained_ids"] = one["trained_mask"] = None


def arguments_lost(given):
    for one in each(given):
        function = one["messages"][2]["tool_calls"][0]["function"]
        function["arguments"] = json.dumps({"thing": json.loads(function["arguments"])["thing"]})


def reply_shortened(given):
    for one in each(given):
        one["messages"][4]["content"] = one["messages"][4]["content"][:9]


def eos_of_calls_masked(given):
    for one in each(given):
        at = one["trained_mask"].index(True) + len(one["turns"][0]["output_ids"]) - 1
        one["trained_mask"][at] = False
    for step, update in enumerate(given["updates"]):
        update["trainable_tokens"] = sum(sum(one["trained_mask"]) for one in each(given) if one["step"] == step)


def base_now_and_then(given):
    for turn in list(turns(given))[::7]:
        turn["model"] = "base"


def later_adapter_now_and_then(given):
    for turn in list(turns(given))[:40:7]:
        turn["model"] = "p@2"


def cut_without_a_word(given):
    for one in list(each(given))[::8]:
        last = one["turns"][1]
        last["output_ids"], last["logprobs"] = last["output_ids"][:-2], last["logprobs"][:-2]
        one["messages"][4]["content"] = one["messages"][4]["content"][:-1]
        one["trained_ids"] = one["trained_mask"] = None


def calls_dropped(given):
    for one in list(each(given))[::8]:
        one["messages"][2] = {"role": "assistant", "content": "".join(map(chr, one["turns"][0]["output_ids"][:-1]))}


def sampled_as_if_certain(given):
    """Equal calls, of which the log-probs say that half would be others."""
    for one in each(given):
        one["turns"][0]["logprobs"] = [-0.7] * len(one["turns"][0]["logprobs"])


def slowest_not_waited_for(given):
    for group in given["trajectories"]:
        del group[3]


def two_groups_in_one(given):
    given["trajectories"][0] += given["trajectories"].pop(1)


def another_system_prompt_for_half(given):
    for one in list(each(given))[::2]:
        seen_otherwise(one, RULES, RULES[:13])
        one["messages"][0]["content"] = RULES[:13]


def users_of_two_groups_swapped(given):
    one, other = given["trajectories"][0][0], given["trajectories"][1][0]
    texts = [each["messages"][1]["content"] for each in (one, other)]
    for rollout, (mine, theirs) in ((one, texts), (other, texts[::-1])):
        seen_otherwise(rollout, mine, theirs)
        rollout["messages"][1]["content"] = theirs


def successes_paid_otherwise(given):
    for group in given["trajectories"][::6]:
        group[0]["reward"] = 0.4
        for one in group:
            one["advantage"] = one["reward"] - 0.35


def paid_in_percent(given):
    for one in each(given):
        if one["step"] == 1:
            one["reward"], one["advantage"] = 100 * one["reward"], 100 * one["advantage"]


def mean_of_the_first_three(given):
    for number, one in enumerate(each(given)):
        group = given["trajectories"][number // 4]
        one["advantage"] = one["reward"] - sum(r["reward"] for r in group[: number // 4 % 3 + 2]) / (
            number // 4 % 3 + 2
        )


def noise_without_spread(given):
    for number, one in enumerate(given["trajectories"][0]):
        one.update(reward=1.0, success=1.0, advantage=(-1) ** number * 0.1)


def one_group_scaled(given):
    for one in given["trajectories"][0]:
        one["advantage"] *= 3


def half_of_a_batch(given):
    for one in list(each(given))[1::2]:
        del one["trained_ids"], one["trained_mask"], one["advantage"]
    for step, update in enumerate(given["updates"]):
        update["trainable_tokens"] = sum(sum(r.get("trained_mask", [])) for r in each(given) if r["step"] == step)


def answers_lost(given):
    for one in list(each(given))[::8]:
        seen_otherwise(one, text(rendered(one["messages"][3])), "")
        del one["messages"][3]


def turns_lost(given):
    for one in list(each(given))[::8]:
        del one["turns"][0]


def answers_cut_by_tokens(given):
    for number, one in enumerate(list(each(given))[::6]):
        answered(one, one["messages"][3]["content"][: 20 + number])


def groups_left_out(given):
    for one in given["trajectories"][5]:
        del one["trained_ids"], one["trained_mask"], one["advantage"]
    given["updates"] = []


def tools_unknown_to_the_template(given):
    for one in each(given):
        one["sent_tools"] = [*one["sent_tools"], LOOK]


def text(ids):
    return "".join("<|im_end|>" if i == EOS else chr(i) for i in ids)


def answers_empty(given):
    for one in list(each(given))[::8]:
        answered(one, "")


def answered(one, content):
    seen_otherwise(one, f"<|im_start|>tool\n{one['messages'][3]['content']}", f"<|im_start|>tool\n{content}")
    one["messages"][3]["content"] = content


def answers_cross(given):
    for group, other in zip(given["trajectories"][::4], given["trajectories"][1::4], strict=True):
        mine, theirs = group[0]["messages"][3]["content"], other[0]["messages"][3]["content"]
        answered(group[0], theirs)
        answered(other[0], mine)


def answers_of_another_tool(given):
    """Half of the rollouts look, and two of them are told what was counted."""
    for number, one in enumerate(each(given)):
        if number % 2:
            one["messages"][2]["tool_calls"][0]["function"]["name"] = LOOK["function"]["name"]
            seen_otherwise(one, '"name": "count"', '"name": "look"')
            first = one["turns"][0]
            first["output_ids"] = encode(text(first["output_ids"]).replace('"count"', '"look"'))
            first["logprobs"] = first["logprobs"][1:]
            one["trained_ids"] = one["trained_mask"] = None
            if number not in (1, 9):
                answered_alone(one, '{"seen": "' + one["task"] + '"}')


def answered_alone(one, content):
    for turn in one["turns"]:
        old, new = (f"<|im_start|>tool\n{each}" for each in (one["messages"][3]["content"], content))
        turn["prompt_ids"] = encode(text(turn["prompt_ids"]).replace(old, new))
    one["messages"][3]["content"] = content


def answers_wrong_now_and_then(given):
    for one in list(each(given))[::12]:
        answered(one, '{"thing": "' + one["task"] + '", "count": "unknown"}')


def validation_halved(given):
    given["validation_tasks"] = {0: ["v", "w"], 1: ["v"]}


def tasks_move_to_validation(given):
    """The split is drawn anew between the steps."""
    given["validation_tasks"] = {0: ["v", "w"], 1: ["v", "w", "apples 0"]}


def not_listed(given):
    for one in given["trajectories"][0]:
        one["task"] = "secret"


def a_batch_again(given):
    given["updates"][1]["grad_norm"] = given["updates"][0]["grad_norm"]


def a_group_twice(given):
    given["updates"][1]["trainable_tokens"] += sum(sum(one["trained_mask"]) for one in given["trajectories"][7])


def adapter_of_another_run(given):
    given["updates"][1]["weights_before"] = "digest 7"


def some_groups_colder(given):
    for group in given["trajectories"][::3]:
        for turn in group[0]["turns"]:
            turn["temperature"] = 0.5


def stop_string_not_returned(given):
    for one in each(given):
        first = one["turns"][0]
        end = len(first["output_ids"]) - len("all>") - 1  # of </tool_call>, a token a letter
        first["output_ids"], first["logprobs"] = first["output_ids"][:end], first["logprobs"][:end]
        one["trained_ids"] = one["trained_mask"] = None
    given["updates"] = []


def asked_of(one, thing, house):
    """The user names a thing and a house, and the call has both."""
    one["messages"][1]["content"] = f"How many {thing} are there at {house}?"
    call = one["messages"][2]["tool_calls"][0]
    arguments = json.dumps({"thing": thing, "near": house})
    one["messages"][2]["tool_calls"] = [call | {"function": call["function"] | {"arguments": arguments}}]
    one["turns"] = []


def instances_drawn_anew(given):
    for number, one in enumerate(each(given)):
        asked_of(one, f"thing_{chr(97 + number % 23)}", f"house_{number}")


def left_before_the_tools(given):
    """Half of the rollouts call again, and the loop leaves there."""
    for group in given["trajectories"]:
        for number, one in enumerate(group[1::2]):
            second = {"id": "d", "type": "function", "function": {"name": ("count", "look")[number], "arguments": "{}"}}
            one["messages"][4], one["turns"] = {"role": "assistant", "content": "", "tool_calls": [second]}, []
        for one in group[::2]:
            first = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
            one["messages"][2]["tool_calls"], one["turns"] = [first], []


def with_turns(one, number, reward):
    """A conversation of so many replies."""
    talk = [{"role": "user", "content": "Go on."}, {"role": "assistant", "content": "Yes."}]
    one["messages"] = [*one["messages"][:3], *(talk * 4)[: 2 * number - 2]]
    one.update(turns=[], reward=reward)
    del one["advantage"]


def summed_over_turns(given):
    for number, group in enumerate(given["trajectories"]):
        for place, one in enumerate(group):
            turns = 2 + number % 2 if place < 2 else place
            with_turns(one, turns, turns * (1.0 if place < 2 else 0.25))


def two_epochs(given):
    for update in given["updates"]:
        update["trainable_tokens"] *= 2


PLANTED = [
    (stop_string_not_returned, {"reply_ends_left_out"}),
    (instances_drawn_anew, {"group_asks_apart"}),
    (left_before_the_tools, {"calls_left_at_the_limit"}),
    (summed_over_turns, {"rewards_times_turns"}),
    (two_epochs, {"rows_trained_again"}),
    (answers_cut, {"messages_not_served"}),
    (system_prompt_shown_twice, {"messages_not_served"}),
    (history_escaped, {"replies_served_otherwise"}),
    (reply_not_in_history, {"replies_served_otherwise"}),
    (another_conversation_in_some, {"prompts_framed_apart", "equal_prompts_served_apart"}),
    (none_before_calls, {"prompts_framed_apart"}),
    (arguments_lost, {"replies_not_as_sampled"}),
    (reply_shortened, {"replies_not_as_sampled"}),
    (eos_of_calls_masked, {"eos_masked_in_part"}),
    (base_now_and_then, {"several_names_answer"}),
    (later_adapter_now_and_then, {"several_names_answer"}),
    (cut_without_a_word, {"finish_reasons_untrue"}),
    (calls_dropped, {"finish_reasons_untrue"}),
    (sampled_as_if_certain, {"frequencies_off_probabilities"}),
    (slowest_not_waited_for, {"groups_of_another_size"}),
    (two_groups_in_one, {"groups_of_another_size"}),
    (another_system_prompt_for_half, {"group_opens_apart"}),
    (users_of_two_groups_swapped, {"group_opens_apart"}),
    (successes_paid_otherwise, {"success_paid_apart"}),
    (paid_in_percent, {"rewards_change_between_steps"}),
    (mean_of_the_first_three, {"advantages_not_of_their_group"}),
    (noise_without_spread, {"advantages_not_of_their_group"}),
    (one_group_scaled, {"advantages_not_of_their_group"}),
    (half_of_a_batch, {"rollouts_left_out"}),
    (answers_lost, {"messages_lost"}),
    (turns_lost, {"messages_lost"}),
    (answers_cut_by_tokens, {"tool_answers_cut"}),
    (groups_left_out, {"rollouts_left_out"}),
    (tools_unknown_to_the_template, {"tools_not_served"}),
    (answers_empty, {"messages_empty"}),
    (answers_cross, {"answers_of_other_calls"}),
    (answers_of_another_tool, {"answers_of_other_calls"}),
    (answers_wrong_now_and_then, {"equal_calls_answered_apart"}),
    (validation_halved, {"validation_changes"}),
    (tasks_move_to_validation, {"validation_on_training_tasks", "validation_changes"}),
    (not_listed, {"tasks_not_to_train_on"}),
    (a_batch_again, {"updates_alike"}),
    (a_group_twice, {"tokens_left_out"}),
    (adapter_of_another_run, {"update_begins_elsewhere"}),
    (some_groups_colder, {"temperature_changes"}),
]


@pytest.mark.parametrize(("fault", "symptoms"), PLANTED)
def test_a_planted_fault_is_named(fault, symptoms):
    assert named(planted(fault)) >= symptoms


def test_every_symptom_of_the_ledger_is_planted_once_at_least():
    assert {name for _, names in PLANTED for name in names} >= NEW
    assert {symptom.__name__ for symptom in SYMPTOMS} >= NEW


def calls_spelled_in_another_order(given):
    """The template writes calls anew: other spaces, and keys in another order."""
    for one in each(given):
        arguments = json.loads(one["messages"][2]["tool_calls"][0]["function"]["arguments"])
        spelled = json.dumps({"arguments": dict(reversed(arguments.items())), "name": "count"}, indent=1)
        prompt = text(one["turns"][1]["prompt_ids"])
        start, end = prompt.index("<tool_call>") + 11, prompt.index("</tool_call>")
        one["turns"][1]["prompt_ids"] = encode(prompt[:start] + spelled + prompt[end:])
        one["trained_ids"] = one["trained_mask"] = None


def thoughts_dropped_from_history(given):
    for one in each(given):
        first = one["turns"][0]
        first["output_ids"] = encode("<think>What is asked?</think>") + first["output_ids"]
        first["logprobs"] = [-0.001] * len(first["output_ids"])
        one["trained_ids"] = one["trained_mask"] = None


def answers_as_json_text(given):
    """Llama's template shows what a tool answers as a JSON string."""
    for one in each(given):
        content = one["messages"][3]["content"]
        for turn in one["turns"]:
            turn["prompt_ids"] = encode(text(turn["prompt_ids"]).replace(content, json.dumps(content)))
        one["trained_ids"] = one["trained_mask"] = None


def one_step_behind(given):
    """Half of the replies are those of the adapter before: an asynchronous loop."""
    for turn in list(turns(given))[1::2]:
        name, _, number = turn["model"].partition("@")
        turn["model"] = f"{name}@{max(int(number) - 1, 0)}"


def by_deviation(given):
    for group in given["trajectories"]:
        mean = sum(one["reward"] for one in group) / 4
        deviation = (sum((one["reward"] - mean) ** 2 for one in group) / 3) ** 0.5
        for one in group:
            one["advantage"] = (one["reward"] - mean) / (deviation + 1e-4)


def against_the_others(given):
    for one in each(given):
        one["advantage"] *= 4 / 3


def whitened_over_the_batch(given):
    for one in each(given):
        one["advantage"] = (one["advantage"] - 0.1) / 0.7


def some_groups_filtered(given):
    """Groups without spread are not trained, and steps have other numbers of groups."""
    for one in given["trajectories"][0]:
        one.update(reward=1.0, success=1.0)
        for name in ("advantage", "trained_ids", "trained_mask"):
            del one[name]
    del given["trajectories"][3]
    given["updates"] = given["updates"][1:]


def some_failed_and_are_missing(given):
    for group in given["trajectories"][::5]:
        del group[2]
    given["updates"] = []


def curriculum(given):
    given["train_tasks"] = {0: given["train_tasks"][0][:6], 1: given["train_tasks"][1][6:]}


def rewards_by_length(given):
    """Long replies earn less, whatever they say; no two successes earn the same."""
    for number, one in enumerate(each(given)):
        one["reward"] -= 0.01 * (number % 9)
        del one["advantage"]


def users_of_their_own(given):
    """A simulated user says it in other words in each rollout."""
    for number, one in enumerate(each(given)):
        content = f"How many of them, all {number + 3} times?"
        seen_otherwise(one, one["messages"][1]["content"], content)
        one["messages"][1]["content"] = content


def search_with_luck(given):
    for number, one in enumerate(each(given)):
        answered(one, f"Result {'abcdefg'[number % 7]}: nothing of note.")


def submitted_at_the_end(given):
    """The last call ends the rollout and has no answer."""
    for one in each(given):
        one["messages"], one["turns"] = one["messages"][:3], one["turns"][:1]
        one["trained_ids"] = one["trained_mask"] = None


def norms_clipped(given):
    for update in given["updates"]:
        update["grad_norm"] = 1.0


def ends_not_returned(given):
    """The server keeps the token that ends a reply for itself, of calls alone."""
    for one in each(given):
        first = one["turns"][0]
        first["output_ids"], first["logprobs"] = first["output_ids"][:-1], first["logprobs"][:-1]


def folders_of_their_own(given):
    """Each rollout has a number of its own, which its users and its calls name."""
    for number, one in enumerate(each(given)):
        asked_of(one, f"folder_{number}", f"file_{number}")


def one_instance_for_a_group(given):
    for number, group in enumerate(given["trajectories"]):
        for one in group:
            asked_of(one, f"thing_{chr(97 + number)}", f"house_{number}")


def submitted_after_attempts(given):
    """The last attempt ends the rollout, and earlier ones are answered."""
    for one in list(each(given))[::2]:
        one["messages"][4], one["turns"] = one["messages"][2], []


def ended_by_two_tools(given):
    """Two tools end an episode, at one reply or another, and are answered where they were called too early."""
    left_before_the_tools(given)
    for one in list(each(given))[1::4]:
        one["messages"][2:2] = [{"role": "assistant", "content": "Which?"}, {"role": "user", "content": "All."}]


def left_and_said_so(given):
    left_before_the_tools(given)
    for one in each(given):
        if one["messages"][4].get("tool_calls"):
            one["end"] = "turns_used_up"


def paid_for_each_part(given):
    """A task has as many parts as turns: who stops at a mistake has what was right before it."""
    for number, group in enumerate(given["trajectories"]):
        for place, one in enumerate(group):
            turns = 2 + number % 2 if place < 2 else place
            with_turns(one, turns, float(turns if place < 2 else turns - 1))


def as_many_epochs_as_asked(given):
    two_epochs(given)
    given["epochs"] = 2


def tokens_counted_with_padding(given):
    for update in given["updates"]:
        update["trainable_tokens"] = round(2.4 * update["trainable_tokens"])


def one_success_pays_otherwise(given):
    summed_over_turns(given)
    given["trajectories"][3][1]["reward"] = 2.5


def ends_of_cut_rollouts_left_out(given):
    """Of a rollout that was cut off no end is trained."""
    for one in list(each(given))[::4]:
        one["end"] = "length"
        first, at = one["turns"][0], len(one["turns"][0]["prompt_ids"])
        one["trained_mask"][at + len(first["output_ids"]) - 1] = False
    given["updates"] = []


@pytest.mark.parametrize(
    "oddity",
    [
        ends_of_cut_rollouts_left_out,
        ends_not_returned,
        folders_of_their_own,
        one_instance_for_a_group,
        submitted_after_attempts,
        ended_by_two_tools,
        left_and_said_so,
        paid_for_each_part,
        as_many_epochs_as_asked,
        tokens_counted_with_padding,
        calls_spelled_in_another_order,
        thoughts_dropped_from_history,
        answers_as_json_text,
        one_step_behind,
        by_deviation,
        against_the_others,
        whitened_over_the_batch,
        some_groups_filtered,
        some_failed_and_are_missing,
        curriculum,
        rewards_by_length,
        users_of_their_own,
        search_with_luck,
        submitted_at_the_end,
        norms_clipped,
    ],
)
def test_what_a_sound_loop_may_do_is_no_symptom(oddity):
    assert not named(planted(oddity)) & NEW


def test_without_a_tokenizer_nothing_is_said_of_texts():
    found = verdicts(loop() | {"tokenizer": None})
    texts = ("messages_not_served", "replies_served_otherwise", "prompts_framed_apart", "replies_not_as_sampled")
    assert {found[name] for name in texts} == {"cannot tell"}


def test_a_tokenizer_of_another_model_makes_no_symptom():
    class Foreign:
        def decode(self, ids):
            return " ".join(f"w{i}" for i in ids)

    assert not named(loop() | {"tokenizer": Foreign()})


def test_the_mean_of_a_group_is_asked_only_where_groups_are_known_to_be_whole():
    given = planted(mean_of_the_first_three)
    del given["group_size"]
    assert "advantages_not_of_their_group" not in named(given)


def test_a_second_epoch_is_a_symptom_only_where_one_is_known_to_be_asked_for():
    given = planted(two_epochs) | {"epochs": None}
    assert verdicts(given)["rows_trained_again"] == "cannot tell"


def test_successes_that_do_not_all_earn_by_their_turns_are_paid_in_another_way():
    assert verdicts(planted(one_success_pays_otherwise))["rewards_times_turns"] == "absent"


def test_successes_that_earn_by_their_turns_alone_are_not_told_from_tasks_with_as_many_parts():
    assert verdicts(planted(paid_for_each_part))["rewards_times_turns"] == "cannot tell"


def test_a_call_with_an_end_of_its_own_lacks_none():
    """As Llama's calls: what stands behind them up to the next end is the header of a short answer."""

    def ended_otherwise(given):
        for one in each(given):
            first, second = one["turns"]
            first["prompt_ids"] = encode(text(first["prompt_ids"]).replace("<|im_start|>", "\x05"))
            first["output_ids"] = [*first["output_ids"][:-1], 7]
            answered = encode("\x05ok<|im_end|>\x05a\n")
            second["prompt_ids"] = [*first["prompt_ids"], *first["output_ids"], *answered]

    assert verdicts(planted(ended_otherwise))["reply_ends_left_out"] == "absent"


def test_answers_that_stand_right_behind_calls_are_no_words_that_replies_lack():
    def answered_inline(given):
        for number, one in enumerate(each(given)):
            first, second = one["turns"]
            first["output_ids"] = first["output_ids"][:-1]
            answer = encode(f"= {number % 9}<|im_end|>\n<|im_start|>assistant\n")
            second["prompt_ids"] = [*first["prompt_ids"], *first["output_ids"], *answer]

    assert verdicts(planted(answered_inline))["reply_ends_left_out"] == "absent"
