"""What a sound loop may do otherwise than ours is no deviation, whether or not it says what it does."""

import copy
from types import MappingProxyType

import pytest

from harness.probe import Replay, check
from tests.probe.sums import TASKS, TEMPLATE, Sum, Sums, rollout_of, sums, trained

OF_THIS_LOOP = {"rollouts_copied"}  # they are: sums.py has few words
KNOWN = ("environment", "declared", "template")  # what a loop need not say


def present(given):
    return {f.symptom for f in check(**given) if f.verdict == "present"} - OF_THIS_LOOP


def rollouts(given):
    return [rollout for group in given["trajectories"] for rollout in group]


def without(given, *names):
    for rollout in rollouts(given):
        for name in names:
            rollout.pop(name, None)


def groups_without_spread_are_not_trained(given):
    given["trajectories"][1] = [rollout_of(TASKS[1], 0, 0) for _ in range(4)]
    trained(given)


def rows_without_advantage_are_masked(given):
    """Instead of being left out, in a loop whose rows are all of one batch."""
    group = [rollout_of(TASKS[1], 0, 0) for _ in range(4)]
    rows = [(r["trained_ids"], [0] * len(r["trained_mask"])) for r in group]
    given["trajectories"][1] = group
    trained(given)
    for rollout, (ids, mask) in zip(group, rows, strict=True):
        rollout["trained_ids"], rollout["trained_mask"] = ids, mask


def overlong_rollouts_are_masked(given):
    del given["declared"]["max_tokens"]  # which these few words are far from
    for group in given["trajectories"]:
        one = group[3]
        turn = one["turns"][-1]
        turn |= {"finish_reason": "length"} | {n: turn[n][:-1] for n in turn if n.endswith("logprobs")}
        turn["output_ids"] = turn["output_ids"][:-1]
        one |= {
            "end": "length",
            "trained_ids": one["trained_ids"][:-1],
            "trained_mask": [0] * (len(one["trained_ids"]) - 1),
        }
    given["updates"] = []


def a_rollout_that_raised_is_played_again(given):
    first = given["trajectories"][0]
    kept = {name: first[0][name] for name in ("task", "step", "tools", "sent_tools")}
    first.insert(0, kept | {"messages": first[0]["messages"][:2], "error": "ReadTimeout"})


def users_are_models(given):
    class Model(Sum):
        async def opening(self):
            return f"Please add {self.numbers}."

    class World(Sums):
        user = MappingProxyType({"kind": "model"})

        def start(self, task, seed):
            return Model(task)

    given["environment"] = World()


def messages_have_images(given):
    for rollout in rollouts(given):
        asked = rollout["messages"][1]
        asked["content"] = [
            {"type": "text", "text": asked["content"]},
            {"type": "image_url", "image_url": {"url": "u"}},
        ]
        for turn in rollout["turns"]:
            turn["prompt_ids"].insert(20, 9)
        rollout["trained_ids"].insert(20, 9)
        rollout["trained_mask"].insert(20, 0)


def two_epochs(given):
    """Of a step with one group, since a group without spread is not trained."""
    given["trajectories"][1] = [rollout_of(TASKS[1], 0, 0) for _ in range(4)]
    given["declared"]["epochs"] = 2
    trained(given)


def a_step_has_two_training_calls(given):
    halves = []
    for update in given["updates"]:
        tokens, between = update["trained_tokens"], f"half of {update['weights_after']}"
        halves += [
            update | {"trained_tokens": tokens // 3, "weights_after": between},
            update | {"trained_tokens": tokens - tokens // 3, "weights_before": between},
        ]
    given["updates"] = halves
    given["declared"]["groups_per_gradient_step"] = 1


def groups_of_one(given):
    given["trajectories"] = [group[:1] for group in given["trajectories"]]
    given["declared"] |= {"group_size": 1, "advantages": "leave_one_out"}
    given["updates"] = []
    without(given, "advantage")


def advantages_by_leave_one_out(given):
    given["declared"]["advantages"] = "leave_one_out"
    trained(given)


def advantages_in_16_bits(given):
    for number, rollout in enumerate(rollouts(given)):
        rollout["advantage"] *= 1 + 2**-9 * (-1) ** number
    given["exact"] = False


def rows_are_padded(given):
    for rollout in rollouts(given):
        rollout["trained_ids"] = [*rollout["trained_ids"], 0, 0, 0]
        rollout["trained_mask"] = [*rollout["trained_mask"], 0, 0, 0]


def rollouts_are_kept_at_every_third_step(given):
    for rollout in rollouts(given):
        rollout["step"] *= 3
    del given["declared"]["batches"], given["declared"]["model"]
    (first, last), between = given["updates"], ("weights 1", "weights 2", "weights 3")
    untold = {"learning_rate": 1e-4, "gradient_steps": 1}
    given["updates"] = [
        first,
        *({"step": n + 1, "weights_before": between[n - 1], "weights_after": between[n]} | untold for n in (1, 2)),
        last | {"step": 4, "weights_before": "weights 3", "weights_after": "weights 4"},
    ]
    given["train_tasks"] = given["validation_tasks"] = None


def replies_stop_at_a_string(given):
    """And have it in the place of the token that ends a reply, which the template puts behind it."""
    for rollout in rollouts(given):
        for turn in rollout["turns"]:
            if turn["output_ids"][:-1] == [*map(ord, "No.")]:
                rollout["trained_mask"][len(turn["prompt_ids"]) + 3] = 0
                turn |= {name: turn[name][:-1] for name in turn if name.endswith("logprobs") or name == "output_ids"}
    for update in given["updates"]:
        of_step = [r for r in rollouts(given) if r["step"] == update["step"] - 1]
        update["trained_tokens"] = sum(sum(r["trained_mask"]) for r in of_step)


def the_template_has_a_date(given):
    given["template"] = "{{ strftime_now('%d %B %Y') }}" + TEMPLATE
    today = [*map(ord, "26 July 2025")]
    for rollout in rollouts(given):
        for turn in rollout["turns"]:
            turn["prompt_ids"] = [*today, *turn["prompt_ids"]]
        rollout["trained_ids"] = [*today, *rollout["trained_ids"]]
        rollout["trained_mask"] = [*[0] * len(today), *rollout["trained_mask"]]


def the_users_last_message_is_not_kept(given):
    """At the limit nobody asks what the user would have said."""
    for rollout in rollouts(given):
        if len(rollout["turns"]) > 2:
            rollout |= {"messages": rollout["messages"][:5], "end": "turn_limit", "success": 0.0, "reward": 0.0}
    given["declared"]["max_turns"] = 2
    given["updates"] = []
    without(given, "turns", "advantage", "trained_ids", "trained_mask")


def the_last_calls_answer_is_not_kept(given):
    """And nothing says how a rollout ended."""
    for rollout in rollouts(given):
        if len(rollout["turns"]) > 2:
            call = rollout["messages"][2]["tool_calls"][0]
            again = {"role": "assistant", "content": "", "tool_calls": [call | {"id": "d"}]}
            rollout |= {"messages": [*rollout["messages"][:4], again], "success": 0.0, "reward": 0.0}
    given["declared"]["max_turns"] = 2
    given["updates"] = []
    without(given, "end", "turns", "advantage", "trained_ids", "trained_mask")


def a_cut_reply_is_judged(given):
    """As in loops of one turn: what was said before the limit may be right."""
    for rollout in (r for r in rollouts(given) if r["success"]):
        turn = rollout["turns"][-1]
        rollout["end"] = "completed"
        turn |= {"finish_reason": "length"} | {n: turn[n][:-1] for n in turn if n.endswith("logprobs")}
        turn["output_ids"] = turn["output_ids"][:-1]
    given["declared"] = {"reward": "success"}
    given["updates"] = []
    without(given, "advantage", "trained_ids", "trained_mask")


def a_cut_reply_is_judged_and_nothing_says_how_it_ended(given):
    a_cut_reply_is_judged(given)
    without(given, "end")


def a_reward_asks_for_more_than_success(given):
    """Of an outcome that only the environment knows, and it is not given."""
    del given["environment"]
    given["declared"]["reward"] = lambda outcome: outcome.reward + outcome.actions_matched
    for rollout in rollouts(given):
        rollout["reward"] = 2 * rollout["success"]
    trained(given)


def successes_are_float32(given):
    class Partly(Sum):
        def outcome(self, stopped):
            made = super().outcome(stopped)
            return made if made.reward == 1.0 else type(made)(0.3, 0, 0, 0, 0, None)

    class World(Sums):
        def start(self, task, seed):
            return Partly(task)

    given["environment"] = World()
    for rollout in rollouts(given):
        if rollout["success"] != 1.0:
            rollout["success"] = rollout["reward"] = 0.30000001192092896
    trained(given)


def one_call_of_a_reply_is_executed(given):
    """What is kept for several calls of `check` goes by what is declared."""
    given["environment"] = Replay(Sums())
    given["declared"]["calls"] = 1
    for rollout in rollouts(given):
        (call,) = rollout["messages"][2]["tool_calls"]
        rollout["messages"][2]["tool_calls"] = [call, call | {"id": "d"}]
        without(given, "turns")
    given["declared"].pop("parser")
    given["updates"] = []
    without(given, "advantage", "trained_ids", "trained_mask")


def later_prompts_show_the_calls_that_are_executed(given):
    """And messages all that were sampled."""
    given["declared"] |= {"calls": 1, "max_tokens": 200}
    for rollout in rollouts(given):
        message, turn = rollout["messages"][2], rollout["turns"][0]
        (call,) = message["tool_calls"]
        message["tool_calls"] = [call, call | {"id": "d"}]
        for name in ("output_ids", "logprobs", "adapter_logprobs", "base_logprobs"):
            turn[name] = [*turn[name][:-1], *turn[name]]
    given["updates"] = []
    without(given, "trained_ids", "trained_mask", "advantage")


def a_rollout_is_not_in_the_file(given):
    """Its group's mean was that of all."""
    del given["trajectories"][0][3]


def validation_has_another_environment(given):
    given["validation"] = [rollout_of("1 2", 0, 0) | {"task": "elsewhere", "step": 0} for _ in range(3)]
    given["validation_tasks"] = None
    del given["declared"]["validation_tasks"]


SOUND = [
    groups_without_spread_are_not_trained,
    rows_without_advantage_are_masked,
    overlong_rollouts_are_masked,
    a_rollout_that_raised_is_played_again,
    users_are_models,
    messages_have_images,
    two_epochs,
    a_step_has_two_training_calls,
    groups_of_one,
    advantages_by_leave_one_out,
    advantages_in_16_bits,
    rows_are_padded,
    rollouts_are_kept_at_every_third_step,
    replies_stop_at_a_string,
    the_template_has_a_date,
    the_users_last_message_is_not_kept,
    the_last_calls_answer_is_not_kept,
    a_cut_reply_is_judged,
    a_cut_reply_is_judged_and_nothing_says_how_it_ended,
    a_reward_asks_for_more_than_success,
    successes_are_float32,
    one_call_of_a_reply_is_executed,
    later_prompts_show_the_calls_that_are_executed,
    a_rollout_is_not_in_the_file,
    validation_has_another_environment,
]


# What is told of them is so, whatever is declared
MEANT = {
    the_users_last_message_is_not_kept: {"truncation_counted_as_failure"},
    later_prompts_show_the_calls_that_are_executed: {"replies_served_otherwise"},
}


@pytest.mark.parametrize("said", [True, False], ids=["declared", "undeclared"])
@pytest.mark.parametrize("oddity", SOUND, ids=lambda each: each.__name__)
def test_what_a_sound_loop_may_do_is_no_deviation(oddity, said):
    given = copy.deepcopy(sums())
    oddity(given)
    assert present(given if said else {k: v for k, v in given.items() if k not in KNOWN}) == MEANT.get(oddity, set())
