"""Twelve more silent bugs of RL loops by somebody who had not read the probe.

In the form of bugs_of_others.py. Who wrote these had read the lists before this one, in order not to write a bug twice,
and reports about other loops. A number is that of an issue or a pull request that tells of the bug or of its like.
"""

import json
import math
import random
import statistics
from collections.abc import Sequence
from typing import Any

from experiments.benchmarks.bugs_of_others import START, USER, _count_tokens, _put, _see, _trained_with
from experiments.benchmarks.further_bugs_of_others import _logprob, _odds
from experiments.benchmarks.planted_bugs import WORDS, Bug, Rollout, Step, rollouts, scored, trained
from experiments.benchmarks.third_bugs_of_others import _count_minibatches
from harness.env.mock import STATUS, Variant, gold_action, variants

# sampling and serving


def server_in_eight_bits(steps: list[Step], luck: random.Random) -> None:
    """The server is started with a recipe for inference, which rounds weights to 8 bits: verl #5459, Flash-RL #26.

    A rounded model is another one, but always the same: where two rollouts have the same context, they are off by the
    same; what is won by the likely word is lost by the rest. What it would have sampled is not computed.
    """
    errors: dict[tuple[str, tuple[int, ...]], float] = {}
    for rollout in rollouts(steps):
        said: tuple[int, ...] = ()  # with the task, all that a context follows from: the environment has no luck
        for turn in rollout["turns"]:
            for n, (i, p) in enumerate(zip(turn["output_ids"], turn["logprobs"], strict=True)):
                error = errors.setdefault((rollout["task"], said), luck.gauss(0, 0.2))
                turn["logprobs"][n] = round(_logprob(_odds(p) + (error if p > math.log(0.5) else -error)), 6)
                said = (*said, i)


def logprobs_in_order_of_arrival(steps: list[Step], luck: random.Random) -> None:
    """Log-probs are gathered as requests finish and dealt out in the order in which they were sent: vLLM #394.

    What was sent at once are a step's replies of one number; a table for each length, so nothing is padded or cut.
    """
    for step in steps:
        sent: dict[tuple[int, int], list[dict[str, Any]]] = {}
        for rollout in rollouts([step]):
            for number, turn in enumerate(rollout["turns"]):
                sent.setdefault((number, len(turn["output_ids"])), []).append(turn)
        for batch in sent.values():
            arrived = [turn["logprobs"] for turn in batch]
            luck.shuffle(arrived)
            for turn, logprobs in zip(batch, arrived, strict=True):
                turn["logprobs"] = logprobs


# adapters


def dropout_while_scoring(steps: list[Step], luck: random.Random) -> None:
    """The trainer computes old log-probs in its training mode: the adapter's dropout is on, as in unsloth-zoo #832.

    It works on what the adapter adds alone, which is nothing in the first step; and the step before is scored right.
    """
    for turn in scored(steps):
        pairs = list(zip(turn["adapter_logprobs"], turn["base_logprobs"], strict=True))
        turn["adapter_logprobs"] = [
            a if a == b else round(_logprob(_odds(b) + luck.gauss(1, 0.2) * (_odds(a) - _odds(b))), 6) for a, b in pairs
        ]


# chat templates


def empty_thoughts_only_before_the_last_reply(steps: list[Step], _: random.Random) -> None:
    """Qwen3's template without thoughts: each request ends with an empty one, and none is in the history.

    The trainer renders an episode once, where the last reply alone has it: verl #5576, LlamaFactory #9092.
    """
    for rollout in rollouts(steps):
        for turn in rollout["turns"]:
            if turn["prompt_ids"]:
                turn["prompt_ids"] = [*turn["prompt_ids"], *EMPTY_THOUGHT]
        if "trained_ids" in rollout:
            last = len(rollout["trained_ids"]) - len(rollout["turns"][-1]["output_ids"])
            _put(rollout, last, last, EMPTY_THOUGHT)


# masks


def replies_looked_for_from_the_start(steps: list[Step], _: random.Random) -> None:
    """The mask is where a reply's ids are found first. One that was given before is found there again.

    As in collators that look for a reply's text or ids; NeMo Automodel #3739 is about text that repeats.
    """
    for rollout in trained(steps):
        ids, mask = rollout["trained_ids"], [0] * len(rollout["trained_ids"])
        for turn in rollout["turns"]:
            size = len(turn["output_ids"])
            at = next(n for n in range(len(ids)) if ids[n : n + size] == turn["output_ids"])
            mask[at : at + size] = [1] * size
        rollout["trained_mask"] = mask
    _count_tokens(steps)


# environment and user


def answers_of_tools_cut_off(steps: list[Step], _: random.Random) -> None:
    """The loop keeps 64 characters of a tool's answer, by a default that nobody set: verl #4918 and #6313."""
    for rollout in rollouts(steps):
        for message in rollout["messages"]:
            if message["role"] == "tool" and len(message["content"]) > 64:
                _see(rollout, message["name"], message["content"], message["content"][:64] + "...(truncated)")


def user_leaves_after_the_first_request(steps: list[Step], luck: random.Random) -> None:
    """The user's model often says its stop word as soon as its first request is served: tau2-bench #297, #392.

    The episode is judged as it then is.
    """
    for step in steps:
        replies, left = list(scored([step])), False
        for rollout in rollouts([step]):
            asked = [n for n, m in enumerate(rollout["messages"]) if m["role"] == "user"]
            if len(asked) < 2 or luck.random() >= 0.5:
                continue
            last = rollout["turns"][-1]
            ids = [*last["prompt_ids"], *last["output_ids"]]
            second = [n for n in range(len(ids) - 1) if ids[n] == START and ids[n + 1] == USER][1]
            messages = rollout["messages"][: asked[1]]
            turns = rollout["turns"][: sum(m["role"] == "assistant" for m in messages)]
            rollout.update(messages=messages, turns=turns)
            _score_as_last(turns[-1], ids[: second - 1], replies, luck)
            for name in ("trained_ids", "trained_mask"):
                if name in rollout:
                    rollout[name] = rollout[name][: second - 1]
            own = _variant(rollout["task"])
            rollout["reward"], rollout["success"] = _earned(messages, own, own)
            left = True
        if left:
            _train(step, step["groups"])


# rewards


def length_penalty_counts_answers_of_tools(steps: list[Step], _: random.Random) -> None:
    """DAPO's soft penalty takes a reply's length from its first sampled token to its last: OpenRLHF #1243.

    So what tools and users said counts. It begins at 64 tokens and is 1 at 128, which no policy here samples.
    """
    for step in steps:
        for rollout in rollouts([step]):
            first, last = rollout["turns"][0], rollout["turns"][-1]
            size = len(last["prompt_ids"]) + len(last["output_ids"]) - len(first["prompt_ids"])
            rollout["reward"] -= min(max(size - 64, 0) / 64, 1.0)
        _train(step, step["groups"])


# groups and advantages


def groups_cut_at_a_fixed_stride(steps: list[Step], luck: random.Random) -> None:
    """A rollout of each step fails and is left out; groups are still taken to be six rows each: AReaL #1419.

    Those after it are compared across tasks. The last five rows are no group, and keep their rewards as advantages.
    """
    for step in steps:
        size = len(step["groups"][0])
        short = luck.choice(step["groups"])
        del short[luck.randrange(len(short))]
        rows = list(rollouts([step]))
        full = len(rows) // size * size
        _train(step, [rows[n : n + size] for n in range(0, full, size)], rows[full:])


# order of the data


def goals_one_row_off(steps: list[Step], luck: random.Random) -> None:
    """A filter takes a task out of the prompts, but not out of the column of goals that the judge reads.

    Each task after it is judged by the goals of the one before. Prompts and the columns beside them are often kept in
    two lists: unsloth-zoo #832 warns of it and reads both at one place.
    """
    tasks = list(steps[0]["train_tasks"])
    asked = {rollout["task"] for rollout in rollouts(steps)}
    gone = luck.choice([task for task in tasks[: len(tasks) // 2] if task not in asked])
    for step in steps:
        step["train_tasks"] = [task for task in step["train_tasks"] if task != gone]
        for rollout in rollouts([step]):
            place = tasks.index(rollout["task"])
            if place > tasks.index(gone):
                goals = _variant(tasks[place - 1])
                found = _earned(rollout["messages"], _variant(rollout["task"]), goals)
                rollout["reward"], rollout["success"] = found
        _train(step, step["groups"])
    _leave_weights_where_nothing_is_trained(steps)


# updates


def optimiser_steps_at_each_micro_batch(steps: list[Step], _: random.Random) -> None:
    """Gradients of the four micro-batches of a minibatch are not gathered: three rows make a step, as in TRL #5645."""
    for step in steps:
        step["update"]["gradient_steps"] = math.ceil(sum(1 for _rollout in trained([step])) / 3)


# validation


def validation_padded_and_not_cut_back(steps: list[Step], _: random.Random) -> None:
    """Tasks are filled up with the first ones to a multiple of eight workers, and all are averaged: accelerate #350."""
    for step in steps:
        tasks = step["validation_tasks"]
        step["validation_tasks"] = [*tasks, *tasks[: -len(tasks) % 8]]


# Which symptoms count was chosen from docs/probe.md at 8cbdda4, before the probe was asked.
BUGS = (
    Bug("server in eight bits", server_in_eight_bits, ("trainer_and_sampler_disagree", "another_adapter_answers")),
    Bug(
        "log-probs in order of arrival",
        logprobs_in_order_of_arrival,
        ("trainer_and_sampler_disagree", "equal_contexts_other_logprobs"),
    ),
    Bug(
        "dropout while scoring",
        dropout_while_scoring,
        ("trainer_and_sampler_disagree", "equal_contexts_other_logprobs"),
    ),
    Bug(
        "empty thoughts only before the last reply",
        empty_thoughts_only_before_the_last_reply,
        ("context_not_served", "thinking_stripped"),
        trainer=True,
    ),
    Bug(
        "replies looked for from the start",
        replies_looked_for_from_the_start,
        ("assistant_tokens_masked", "masks_not_as_declared"),
        trainer=True,
    ),
    Bug(
        "answers of tools cut off",
        answers_of_tools_cut_off,
        ("tool_answers_cut", "environment_answers_otherwise"),
        trainer=True,
    ),
    Bug(
        "user leaves after the first request",
        user_leaves_after_the_first_request,
        ("user_says_otherwise", "episode_ends_elsewhere"),
        trainer=True,
    ),
    Bug(
        "length penalty counts answers of tools",
        length_penalty_counts_answers_of_tools,
        ("rewards_not_as_declared",),
        trainer=True,
    ),
    Bug(
        "groups cut at a fixed stride",
        groups_cut_at_a_fixed_stride,
        ("advantages_not_of_their_group", "advantages_not_as_declared"),
        trainer=True,
    ),
    Bug("goals one row off", goals_one_row_off, ("success_not_as_judged",), trainer=True),
    Bug(
        "optimiser steps at each micro-batch",
        optimiser_steps_at_each_micro_batch,
        ("updates_not_as_declared",),
        trainer=True,
    ),
    Bug(
        "validation padded and not cut back",
        validation_padded_and_not_cut_back,
        ("tasks_duplicated", "task_lists_not_as_declared"),
    ),
)


def _train(step: Step, groups: list[list[Rollout]], alone: Sequence[Rollout] = ()) -> None:
    """As the recorded trainer does, where a mean advantage has the size 1. alone: what is in no group"""
    found = [(rollout, rollout["reward"]) for rollout in alone]
    for group in groups:
        values = [rollout["reward"] for rollout in group]
        mean, spread = statistics.fmean(values), statistics.pstdev(values)
        found += [(rollout, (rollout["reward"] - mean) / (spread + 1e-6)) for rollout in group]
    moved = [abs(advantage) for _rollout, advantage in found if advantage]
    for rollout, advantage in found:
        _trained_with(rollout, advantage / statistics.fmean(moved) if advantage else 0.0)
    _count_tokens([step])
    _count_minibatches(step)


def _score_as_last(
    turn: dict[str, Any], context: list[int], replies: list[dict[str, Any]], luck: random.Random
) -> None:
    """Prompt and trainer's log-probs of a reply that was in the middle: an episode's first and last have them.

    replies: of the step, scored; the adapter moved this reply by as much as one of the same words.
    """
    size = len(turn["output_ids"])
    turn["prompt_ids"] = context[:-size]
    if turn["adapter_logprobs"]:
        return
    like = [other for other in replies if other["output_ids"] == turn["output_ids"]]
    other = luck.choice(like) if like else {"adapter_logprobs": [0.0] * size, "base_logprobs": [0.0] * size}
    moved = zip(turn["logprobs"], other["adapter_logprobs"], other["base_logprobs"], strict=True)
    turn["base_logprobs"] = [round(min(p + b - a, 0.0), 6) for p, a, b in moved]
    turn["adapter_logprobs"] = list(turn["logprobs"])


def _leave_weights_where_nothing_is_trained(steps: list[Step]) -> None:
    """A step without a trained row leaves the weights as they are, and the next one begins and answers with them."""
    for number, step in enumerate(steps):
        update = step["update"]
        if number:
            before = steps[number - 1]["update"]
            if not before["gradient_steps"]:
                update["weights_before"] = before["weights_after"]
                for turn in scored([step]):
                    turn["adapter_logprobs"] = list(turn["base_logprobs"])
                    turn["logprobs"] = list(turn["base_logprobs"])
        if not update["gradient_steps"]:
            update.update(grad_norm=0.0, weights_after=update["weights_before"])


def _variant(task: str) -> Variant:
    """What a recorded task asks for: those of the domain's first seed."""
    number = int(task.removeprefix("mock_"))
    while number >= len(TASKS):
        TASKS.extend(variants(2 * number + 1, 0)[len(TASKS) :])
    return TASKS[number]


def _earned(messages: list[dict[str, Any]], world: Variant, goals: Variant) -> tuple[float, float]:
    """Reward and success of a conversation in a world, judged by these goals: as fix/reward=on does."""
    calls = [
        (call["function"]["name"], json.loads(call["function"]["arguments"]))
        for message in messages
        for call in message.get("tool_calls", ())
    ]
    gold = [gold_action(request, "") for request in goals.requests]
    text = "\n".join(m["content"] for m in messages if m["role"] == "assistant").lower()
    met = [
        any(
            name == action.name and all(own.get(a) == action.arguments[a] for a in action.compare_args)
            for name, own in calls
        )
        for action in gold
    ]
    met += [request.fact.lower() in text for request in goals.requests if request.report]
    met.append(_database(world, calls) == _database(world, [(a.name, a.arguments) for a in gold]))
    if all(met):
        return 1.0, 1.0
    return round(0.8 * sum(met) / len(met) * 1024) / 1024, 0.0


def _database(world: Variant, calls: list[tuple[str, dict[str, Any]]]) -> Any:
    """A world's tasks after these calls. A call for what is not there changes nothing."""
    tasks = {"task_1": ("", "", "pending")} | {i: (t["title"], "", t["status"]) for i, t in world.tasks.items()}
    for name, own in calls:
        if name == "create_task" and own.get("user_id") in {*world.users, "user_1"} and "title" in own:
            tasks[f"task_{len(tasks) + 1}"] = (own["title"], own["user_id"], "pending")
        elif name == "update_task_status" and own.get("task_id") in tasks and own.get("status") in STATUS.values():
            title, user, _status = tasks[own["task_id"]]
            tasks[own["task_id"]] = (title, user, own["status"])
    return tasks


EMPTY_THOUGHT = list(WORDS.encode("<think>\n\n</think>\n\n"))
TASKS: list[Variant] = []
