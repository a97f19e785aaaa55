"""Silent bugs of RL loops by somebody who had not read the probe, one function each, as in planted_bugs.py.

`named` holds the symptoms that would name the bug, of those that planted_bugs.py knows: they were chosen before the
probe was asked. () is a bug for which that file has no symptom, though rollouts or updates show the bug. `since` holds
symptoms that were written after the probe had missed the bug, by somebody who knew it.
"""

import copy
import itertools
import math
import random
import statistics
from collections.abc import Iterator
from typing import Any

from experiments.benchmarks.planted_bugs import EOS, OTHER_WEIGHTS, WORDS, Bug, Rollout, Step, rollouts, scored, trained

TOOL, USER, START, CALL_END = (WORDS.encode(word)[0] for word in ("tool", "user", "<|im_start|>", "</tool_call>"))
LINE = WORDS.encode("\n")[0]
DISAGREE = ("trainer_and_sampler_disagree",)

# which weights answer


def adapters_swapped_for_one_step(steps: list[Step], luck: random.Random) -> None:
    """Two runs share a server; for one step each is answered by the other's adapter, under its own name.

    The other adapter is as far from the base as this one, elsewhere: its shifts are this one's in another order.
    """
    for step in steps[1:2]:
        places = list(scored([step]))
        shifts = [
            a - b for turn in places for a, b in zip(turn["adapter_logprobs"], turn["base_logprobs"], strict=True)
        ]
        luck.shuffle(shifts)
        for turn in places:
            turn["logprobs"] = [min(p + shifts.pop(), 0.0) for p in turn["base_logprobs"]]


def one_replica_keeps_the_old_weights(steps: list[Step], luck: random.Random) -> None:
    """One of two inference replicas missed the update; each episode goes to one of them."""
    for rollout in rollouts(steps[1:]):
        if luck.random() < 0.5:
            for turn in rollout["turns"]:
                if turn["adapter_logprobs"]:
                    turn["logprobs"] = list(turn["base_logprobs"])


def groups_of_the_step_before(steps: list[Step], luck: random.Random) -> None:
    """A rollout buffer is not emptied: half of a step's groups are the last step's, under the name they had there."""
    for before, step in itertools.pairwise(steps):
        half = len(step["groups"]) // 2
        stale = copy.deepcopy(before["groups"][:half])
        shifts = _shifts(step)
        for turn in scored([{"groups": stale}]):
            # what the trainer now thinks of it
            turn["adapter_logprobs"] = [min(p + luck.choice(shifts), 0.0) for p in turn["adapter_logprobs"]]
        step["groups"][:half] = stale
    _count_tokens(steps)


# log-probs


def logprobs_after_top_p(steps: list[Step], luck: random.Random) -> None:
    """The server returns log-probs of the distribution that top-p 0.95 left over."""
    for turn in scored(steps):
        kept = [1.0 if p > math.log(0.95) else luck.uniform(max(0.95, math.exp(p)), 1) for p in turn["logprobs"]]
        turn["logprobs"] = [
            0.0 if p > math.log(0.95) else min(p - math.log(mass), 0.0)
            for p, mass in zip(turn["logprobs"], kept, strict=True)
        ]


def logprobs_to_base_ten(steps: list[Step], _: random.Random) -> None:
    for rollout in rollouts(steps):
        for turn in rollout["turns"]:
            turn["logprobs"] = [p / math.log(10) for p in turn["logprobs"]]


def logprob_of_the_best_token(steps: list[Step], _: random.Random) -> None:
    """The first of the top candidates is read, not the sampled one. It has the rest, where the sampled one has less."""
    for rollout in rollouts(steps):
        for turn in rollout["turns"]:
            turn["logprobs"] = [max(p, math.log(-math.expm1(min(p, -1e-9)))) for p in turn["logprobs"]]


def logprobs_of_the_last_chunk_padded(steps: list[Step], _: random.Random) -> None:
    """A stream's last chunk comes without log-probs; the collator pads them with zeros to the length of the reply."""
    for rollout in rollouts(steps):
        for turn in rollout["turns"]:
            if len(turn["output_ids"]) > 8:
                turn["logprobs"] = [*turn["logprobs"][:-3], 0.0, 0.0, 0.0]


# the trained context


def last_tool_message_not_trained(steps: list[Step], _: random.Random) -> None:
    """The trained context lacks the last tool message; the served one had it."""
    for rollout in trained(steps):
        if spans := list(_messages_of(TOOL, rollout["trained_ids"])):
            _put(rollout, *spans[-1], [])


def prompt_rendered_on_another_day(steps: list[Step], _: random.Random) -> None:
    """The system prompt holds the date. The trainer renders it again after midnight."""
    served, later = (list(WORDS.encode(f"Today is 2026-11-{day}.\n")) for day in (24, 25))
    for rollout in rollouts(steps):
        rollout["messages"][0]["content"] = "Today is 2026-11-24.\n" + rollout["messages"][0]["content"]
        for turn in rollout["turns"]:
            if turn["prompt_ids"]:
                turn["prompt_ids"] = [*turn["prompt_ids"][:3], *served, *turn["prompt_ids"][3:]]
        if "trained_ids" in rollout:
            _put(rollout, 3, 3, later)


def tool_messages_trained_as_the_users(steps: list[Step], _: random.Random) -> None:
    """The trainer's copy of the chat template is older and gives tool messages the role `user`."""
    for rollout in trained(steps):
        for start, _end in _messages_of(TOOL, rollout["trained_ids"]):
            rollout["trained_ids"][start + 1] = USER


def contexts_cut_at_the_row_length(steps: list[Step], _: random.Random) -> None:
    """The collator cuts what is longer than 200 tokens, on the right."""
    for rollout in trained(steps):
        for name in ("trained_ids", "trained_mask"):
            rollout[name] = rollout[name][:200]
    _count_tokens(steps)


def newline_after_a_call_stripped(steps: list[Step], _: random.Random) -> None:
    """The trainer's template strips white space before `</tool_call>`; the model had sampled it."""
    for rollout in trained(steps):
        ids = rollout["trained_ids"]
        for at in reversed([n for n in range(1, len(ids)) if ids[n] == CALL_END and ids[n - 1] == LINE]):
            if rollout["trained_mask"][at]:
                _put(rollout, at - 1, at, [])
    _count_tokens(steps)


# masks


def tool_messages_trained(steps: list[Step], _: random.Random) -> None:
    for rollout in trained(steps):
        for start, end in _messages_of(TOOL, rollout["trained_ids"]):
            rollout["trained_mask"][start + 3 : end - 1] = [1] * (end - start - 4)
    _count_tokens(steps)


def end_of_a_cut_reply_trained(steps: list[Step], luck: random.Random) -> None:
    """Some last replies stop at the token limit. The template ends them all the same, and that end is trained."""
    for rollout in rollouts(steps):
        if luck.random() < 0.2:
            last = rollout["turns"][-1]
            last.update(finish_reason="length", output_ids=last["output_ids"][:-2], logprobs=last["logprobs"][:-2])
            for name in ("adapter_logprobs", "base_logprobs"):
                last[name] = last[name][:-2] if last[name] else None
            rollout["messages"][-1]["content"] = WORDS.decode(last["output_ids"])
            rollout["end"] = "length"
            if "trained_ids" in rollout:
                _put(rollout, len(rollout["trained_ids"]) - 2, len(rollout["trained_ids"]) - 1, [])
    _count_tokens(steps)


# groups, rewards, advantages


def half_of_a_group_has_one_seed(steps: list[Step], _: random.Random) -> None:
    """Half of a group's workers draw the same seed: three rollouts are one."""
    for step in steps:
        for group in step["groups"]:
            group[1:3] = [copy.deepcopy(group[0]), copy.deepcopy(group[0])]
        _train_again(step)


def halves_of_two_tasks_in_a_group(steps: list[Step], _: random.Random) -> None:
    """Finished rollouts are grouped in the order they come in; those of two tasks mix, and advantages with them."""
    for step in steps:
        for one, other in zip(step["groups"][::2], step["groups"][1::2], strict=False):
            half = len(one) // 2
            one[half:], other[half:] = other[half:], one[half:]
        _train_again(step)


def rewards_of_the_next_group(steps: list[Step], _: random.Random) -> None:
    for step in steps:
        rewards = [[r["reward"] for r in group] for group in step["groups"]]
        for group, values in zip(step["groups"], [*rewards[1:], rewards[0]], strict=True):
            for rollout, value in zip(group, values, strict=False):
                rollout["reward"] = value
        _train_again(step)


def grader_remembers_a_task(steps: list[Step], _: random.Random) -> None:
    """The grader's cache is keyed by the task: all of a group have what its first rollout earned."""
    for step in steps:
        for group in step["groups"]:
            for rollout in group:
                rollout.update(reward=group[0]["reward"], success=group[0]["success"])
        _train_again(step)
        step["update"].update(gradient_steps=0, grad_norm=0.0, weights_after=step["update"]["weights_before"])


def one_task_judged_upside_down(steps: list[Step], _: random.Random) -> None:
    """A task's assertion is written the wrong way round."""
    for step in steps:
        for rollout in step["groups"][0]:
            rollout.update(reward=1.0 - rollout["reward"], success=1.0 - rollout["success"])
        _train_again(step)


def advantages_over_the_batch(steps: list[Step], _: random.Random) -> None:
    """Rewards are centred and scaled over the whole batch, not over the group."""
    for step in steps:
        values = [r["reward"] for r in rollouts([step])]
        mean, spread = statistics.fmean(values), statistics.pstdev(values)
        for rollout in rollouts([step]):
            _trained_with(rollout, (rollout["reward"] - mean) / (spread + 1e-6))
    _count_tokens(steps)


def advantages_by_length(steps: list[Step], _: random.Random) -> None:
    """An advantage is divided by how many tokens were sampled, for a mean that the loss takes once more."""
    for rollout in trained(steps):
        rollout["advantage"] = round(10 * rollout["advantage"] / sum(rollout["trained_mask"]), 6)


# the environment


def database_shared_by_a_group(steps: list[Step], _: random.Random) -> None:
    """The environment is not reset between rollouts of a group: each sees the tasks that the others have made."""
    for step in steps:
        for group in step["groups"]:
            for number, rollout in enumerate(group):
                _see(rollout, "create_task", "task_4", f"task_{4 + number}")


def tools_time_out(steps: list[Step], luck: random.Random) -> None:
    """The tool server is overloaded. The model gets its time-out as a tool message, and the rollout is judged."""
    for step in steps:
        for rollout in rollouts([step]):
            tools = [m for m in rollout["messages"] if m["role"] == "tool"]
            if tools and luck.random() < 0.25:
                for message in tools:
                    _see(rollout, message["name"], message["content"], "Error: timed out")
                rollout.update(reward=0.0, success=0.0)
        _train_again(step)


def call_not_parsed(steps: list[Step], luck: random.Random) -> None:
    """The tool parser fails on some calls: they pass as text, the user has no answer, the episode is a failure."""
    for step in steps:
        for rollout in rollouts([step]):
            first = next((n for n, m in enumerate(rollout["messages"]) if m.get("tool_calls")), None)
            if first is None or luck.random() >= 0.25:
                continue
            number = sum(m["role"] == "assistant" for m in rollout["messages"][:first])
            turn = rollout["turns"][number]
            if not turn["prompt_ids"]:
                continue
            turn["finish_reason"] = "stop"
            text = {"role": "assistant", "content": WORDS.decode(turn["output_ids"][:-1])}
            rollout.update(messages=[*rollout["messages"][:first], text], turns=rollout["turns"][: number + 1])
            rollout.update(reward=0.0, success=0.0)
            if "trained_ids" in rollout:
                keep = len(turn["prompt_ids"]) + len(turn["output_ids"])
                for name in ("trained_ids", "trained_mask"):
                    rollout[name] = rollout[name][:keep]
        _train_again(step)


# tasks


def tasks_begin_again_each_step(steps: list[Step], luck: random.Random) -> None:
    """The iterator over tasks is made anew in each step: the first batch is all that is ever trained."""
    for before, step in itertools.pairwise(steps):
        model, shifts = step["groups"][0][0]["turns"][0]["model"], _shifts(step)
        step["groups"] = copy.deepcopy(before["groups"])
        for group in step["groups"]:
            luck.shuffle(group)
        for rollout in rollouts([step]):
            for turn in rollout["turns"]:
                turn["model"] = model
                if turn["adapter_logprobs"]:
                    turn["adapter_logprobs"] = [min(p + luck.choice(shifts), 0.0) for p in turn["adapter_logprobs"]]
                    turn["logprobs"] = list(turn["adapter_logprobs"])
    _count_tokens(steps)


# updates


def updates_round_away(steps: list[Step], _: random.Random) -> None:
    """Weights are kept in 16 bits and the rate is small: after the first step, which begins at 0, nothing is added."""
    for step in steps[1:]:
        step["update"]["weights_after"] = step["update"]["weights_before"]


def each_step_begins_at_the_base(steps: list[Step], _: random.Random) -> None:
    """The trainer loads its first checkpoint before each step."""
    for step in steps[1:]:
        step["update"]["weights_before"] = steps[0]["update"]["weights_before"]


def last_minibatch_dropped(steps: list[Step], _: random.Random) -> None:
    """The loader drops a minibatch that is not full."""
    for step in steps:
        each = step["update"]["trained_tokens"] // max(step["update"]["gradient_steps"], 1)
        step["update"]["gradient_steps"] -= 1
        step["update"]["trained_tokens"] -= each


BUGS = (
    Bug("two runs' adapters swapped for a step", adapters_swapped_for_one_step, OTHER_WEIGHTS),
    Bug("one of two replicas keeps the old weights", one_replica_keeps_the_old_weights, OTHER_WEIGHTS),
    Bug(
        "half of the groups are the last step's",
        groups_of_the_step_before,
        OTHER_WEIGHTS,
        since=("rollouts_trained_again",),
    ),
    Bug(
        "log-probs after top-p",
        logprobs_after_top_p,
        DISAGREE,
        since=("importance_ratios_off_1", "zeros_where_not_certain"),
    ),
    Bug("log-probs to base ten", logprobs_to_base_ten, DISAGREE, since=("importance_ratios_off_1",)),
    Bug("log-prob of the best token", logprob_of_the_best_token, DISAGREE, since=("importance_ratios_off_1",)),
    Bug(
        "log-probs of the last chunk padded with 0.0",
        logprobs_of_the_last_chunk_padded,
        DISAGREE,
        since=("zeros_where_not_certain",),
    ),
    Bug("last tool message not trained", last_tool_message_not_trained, ("context_not_served",), trainer=True),
    Bug("trained prompt has another date", prompt_rendered_on_another_day, ("context_not_served",), trainer=True),
    Bug(
        "tool messages trained as the user's", tool_messages_trained_as_the_users, ("context_not_served",), trainer=True
    ),
    Bug(
        "contexts cut at 200 tokens",
        contexts_cut_at_the_row_length,
        ("context_not_served", "assistant_tokens_masked"),
        trainer=True,
        since=("context_cut_off",),
    ),
    Bug("newline after a call stripped", newline_after_a_call_stripped, ("outputs_retokenised",), trainer=True),
    Bug("tool messages trained", tool_messages_trained, ("unsampled_tokens_trained",), trainer=True),
    Bug(
        "end of a cut reply trained",
        end_of_a_cut_reply_trained,
        ("unsampled_tokens_trained", "outputs_retokenised"),
        trainer=True,
    ),
    Bug(
        "half of a group has one seed",
        half_of_a_group_has_one_seed,
        ("rollouts_identical",),
        trainer=True,
        since=("rollouts_copied",),
    ),
    Bug("a group mixes two tasks", halves_of_two_tasks_in_a_group, (), trainer=True, since=("group_mixes_tasks",)),
    Bug(
        "rewards of the next group",
        rewards_of_the_next_group,
        (),
        trainer=True,
        since=("rewards_against_success", "same_conversation_other_reward"),
    ),
    Bug("grader's cache keyed by task", grader_remembers_a_task, ("no_group_spreads",)),
    Bug(
        "one task judged upside down",
        one_task_judged_upside_down,
        (),
        trainer=True,
        since=("success_not_as_judged", "rewards_not_as_declared"),
    ),
    Bug(
        "advantages over the batch",
        advantages_over_the_batch,
        ("advantages_against_rewards",),
        trainer=True,
        since=("advantages_without_group_mean",),
    ),
    Bug(
        "advantages divided by length",
        advantages_by_length,
        ("advantages_against_rewards",),
        trainer=True,
        since=("advantages_by_length", "advantages_not_as_declared"),
    ),
    Bug(
        "database shared by a group",
        database_shared_by_a_group,
        (),
        since=("environment_keeps_state", "environment_answers_otherwise"),
    ),
    Bug("tools time out", tools_time_out, ("exceptions_scored",), trainer=True, since=("tool_failures_scored",)),
    Bug("some calls not parsed", call_not_parsed, (), trainer=True, since=("calls_left_as_text",)),
    Bug(
        "the same tasks in each step",
        tasks_begin_again_each_step,
        ("tasks_duplicated",),
        trainer=True,
        since=("tasks_repeat_each_step",),
    ),
    Bug("updates round away", updates_round_away, ("weights_do_not_move",)),
    Bug("each step begins at the base", each_step_begins_at_the_base, (), since=("update_begins_elsewhere",)),
    Bug("last minibatch dropped", last_minibatch_dropped, (), since=("tokens_left_out",)),
)


def _messages_of(role: int, ids: list[int]) -> Iterator[tuple[int, int]]:
    """Where the messages of a role begin, and end after their newline."""
    for start in range(len(ids) - 1):
        if ids[start] == START and ids[start + 1] == role:
            yield start, ids.index(EOS, start) + 2


def _put(rollout: Rollout, start: int, end: int, ids: list[int]) -> None:
    rollout["trained_ids"] = [*rollout["trained_ids"][:start], *ids, *rollout["trained_ids"][end:]]
    rollout["trained_mask"] = [*rollout["trained_mask"][:start], *[0] * len(ids), *rollout["trained_mask"][end:]]


def _see(rollout: Rollout, tool: str, old: str, new: str) -> None:
    """Another text in a tool's messages, as the model saw it and as it was trained."""
    for message in rollout["messages"]:
        if message["role"] != "tool" or message["name"] != tool or old not in message["content"]:
            continue
        before = [LINE, *WORDS.encode(message["content"]), EOS]
        message["content"] = message["content"].replace(old, new)
        after = [LINE, *WORDS.encode(message["content"]), EOS]
        for turn in rollout["turns"]:
            if turn["prompt_ids"]:
                turn["prompt_ids"], _ = _replaced(turn["prompt_ids"], turn["prompt_ids"], before, after)
        if "trained_ids" in rollout:
            ids, mask = _replaced(rollout["trained_ids"], rollout["trained_mask"], before, after)
            rollout.update(trained_ids=ids, trained_mask=mask)


def _replaced(ids: list[int], mask: list[int], old: list[int], new: list[int]) -> tuple[list[int], list[int]]:
    for at in reversed(range(len(ids) - len(old) + 1)):
        if ids[at : at + len(old)] == old:
            ids = [*ids[:at], *new, *ids[at + len(old) :]]
            mask = [*mask[:at], *[0] * len(new), *mask[at + len(old) :]]
    return ids, mask


def _shifts(step: Step) -> list[float]:
    """By how much this step's adapter differs from the base, token by token."""
    pairs = [zip(turn["adapter_logprobs"], turn["base_logprobs"], strict=True) for turn in scored([step])]
    return [a - b for each in pairs for a, b in each] or [0.0]


def _train_again(step: Step) -> None:
    """What the trainer makes of the groups as they now are: advantages, contexts, how many tokens."""
    known = [r["advantage"] for r in trained([step])]
    scale = math.sqrt(statistics.fmean(a * a for a in known)) if known else 1.0  # the trainer's, one for each step
    for group in step["groups"]:
        values = [r["reward"] for r in group]
        mean, spread = statistics.fmean(values), statistics.pstdev(values)
        for rollout in group:
            _trained_with(rollout, scale * (rollout["reward"] - mean) / (spread + 1e-6) if spread else 0.0)
    _count_tokens([step])


def _count_tokens(steps: list[Step]) -> None:
    for step in steps:
        step["update"]["trained_tokens"] = sum(sum(r["trained_mask"]) for r in trained([step]))


def _trained_with(rollout: Rollout, advantage: float) -> None:
    """Trained with this advantage; not at all with 0."""
    if not advantage:
        for name in ("trained_ids", "trained_mask", "advantage"):
            rollout.pop(name, None)
        return
    rollout["advantage"] = round(advantage, 6)
    if "trained_ids" in rollout:
        return
    last = rollout["turns"][-1]
    ids = [*last["prompt_ids"], *last["output_ids"]]
    mask, at = [0] * len(ids), 0
    for turn in rollout["turns"]:
        sampled: list[Any] = turn["output_ids"]
        at = next((n for n in range(at, len(ids)) if ids[n : n + len(sampled)] == sampled), len(ids))
        mask[at : at + len(sampled)] = [1] * len(ids[at : at + len(sampled)])
        at += len(sampled)
    rollout.update(trained_ids=ids, trained_mask=mask)
