"""Twelve silent bugs of RL loops by somebody who had not read the probe, after its third version.

In the form of bugs_of_others.py. Who wrote these saw the symptoms' names there and no more; which symptoms count was
chosen from docs/probe.md before the probe was asked.
"""

import math
import random
import statistics

from experiments.benchmarks.bugs_of_others import (
    CALL_END,
    LINE,
    START,
    USER,
    _count_tokens,
    _train_again,
    _trained_with,
)
from experiments.benchmarks.further_bugs_of_others import _logprob, _odds
from experiments.benchmarks.planted_bugs import EOS, WORDS, Bug, Step, _tools, rollouts, scored, trained

# sampling and serving


def stop_string_left_out_of_calls(steps: list[Step], _: random.Random) -> None:
    """`</tool_call>` is a stop string and is not returned: a call's ids end before it and have no end of text.

    The template closes the call in the next prompt. So what closes it is in the trained row, but was not sampled there.
    """
    for rollout in rollouts(steps):
        ids, at = rollout.get("trained_ids", []), 0
        for turn in rollout["turns"]:
            output = turn["output_ids"]
            keep = output.index(CALL_END) if turn["finish_reason"] == "tool_calls" else len(output)
            if ids:
                at = next(n for n in range(at, len(ids)) if ids[n : n + len(output)] == output)
                rollout["trained_mask"][at + keep : at + len(output)] = [0] * (len(output) - keep)
                at += len(output)
            for name in ("output_ids", "logprobs", "adapter_logprobs", "base_logprobs"):
                turn[name] = turn[name][:keep] if turn[name] else turn[name]
    _count_tokens(steps)


def end_of_turn_does_not_stop(steps: list[Step], luck: random.Random) -> None:
    """The server stops at the base model's end of text, not at the template's: the model goes on as the user.

    A reply runs to its limit of tokens. The client reads it up to the first end; the trainer takes all of its ids.
    """
    for step in steps:
        asked = [m["content"] for r in rollouts([step]) for m in r["messages"] if m["role"] == "user"]
        for rollout in rollouts([step]):
            for turn in rollout["turns"]:
                more = [LINE, START, USER, LINE, *WORDS.encode(luck.choice(asked))[:8]]
                own = [round(-abs(luck.gauss(0, 0.5)), 6) for _token in more]
                moved = turn["adapter_logprobs"] != turn["base_logprobs"]
                turn["output_ids"] = [*turn["output_ids"], *more]
                turn["logprobs"] = [*turn["logprobs"], *own]
                if turn["adapter_logprobs"]:
                    rival = [round(min(p + luck.gauss(0, 0.01), 0.0), 6) if moved else p for p in own]
                    turn["adapter_logprobs"] = [*turn["adapter_logprobs"], *own]
                    turn["base_logprobs"] = [*turn["base_logprobs"], *rival]
                if turn["finish_reason"] == "stop":
                    turn["finish_reason"] = "length"
            if "trained_ids" in rollout:  # which ends with the last reply
                rollout["trained_ids"] = [*rollout["trained_ids"], *more]
                rollout["trained_mask"] = [*rollout["trained_mask"], *[1] * len(more)]
    _count_tokens(steps)


# adapters


def decoding_graphs_without_the_adapter(steps: list[Step], _: random.Random) -> None:
    """The graphs for decoding were captured before an adapter was there: only a reply's first token is the adapter's.

    The prompt's keys are the adapter's all the same, and move the other tokens a quarter of the way.
    """
    for turn in scored(steps):
        if turn["adapter_logprobs"] != turn["base_logprobs"]:
            pairs = list(zip(turn["adapter_logprobs"], turn["base_logprobs"], strict=True))
            decoded = [round(_logprob(0.25 * _odds(a) + 0.75 * _odds(b)), 6) for a, b in pairs[1:]]
            turn["logprobs"] = [pairs[0][0], *decoded]


# chat templates


def newline_lost_where_turns_are_joined(steps: list[Step], _: random.Random) -> None:
    """The trainer joins ids: what was sampled, then the next message. The template's newline between them is lost."""
    for rollout in trained(steps):
        pairs = list(zip(rollout["trained_ids"], rollout["trained_mask"], strict=True))
        lost = {n + 1 for n, pair in enumerate(pairs[:-1]) if pair == (EOS, 1) and pairs[n + 1] == (LINE, 0)}
        rollout["trained_ids"] = [i for n, (i, _mask) in enumerate(pairs) if n not in lost]
        rollout["trained_mask"] = [mask for n, (_i, mask) in enumerate(pairs) if n not in lost]


def tools_only_in_the_first_request(steps: list[Step], _: random.Random) -> None:
    """The client passes `tools` with an episode's first request alone; later prompts are rendered without them.

    The trainer renders an episode once, with its tools.
    """
    for rollout in rollouts(steps):
        for turn in rollout["turns"][1:]:
            if turn["prompt_ids"]:
                start, end = _tools(turn["prompt_ids"])
                turn["prompt_ids"] = [*turn["prompt_ids"][:start], *turn["prompt_ids"][end:]]


# environment


def each_reset_draws_another_instance(steps: list[Step], luck: random.Random) -> None:
    """A task is drawn from a template when the environment is reset, and the seed is not passed on.

    So each rollout of a group is asked for other tasks and users, and is compared with the others all the same.
    """
    for rollout in rollouts(steps):
        other = dict(zip(NUMBERS, luck.sample(NUMBERS, len(NUMBERS)), strict=True))
        for user, new in zip(USERS, luck.sample(USERS, len(USERS)), strict=True):
            other.update(zip(user, new, strict=True))
        for message in rollout["messages"]:
            message["content"] = _text(message["content"], other)
            for call in message.get("tool_calls", ()):
                call["function"]["arguments"] = _text(call["function"]["arguments"], other)
        for turn in rollout["turns"]:
            for name in ("prompt_ids", "output_ids"):
                turn[name] = [other.get(i, i) for i in turn[name]] if turn[name] else turn[name]
        if "trained_ids" in rollout:
            rollout["trained_ids"] = [other.get(i, i) for i in rollout["trained_ids"]]


def limit_of_replies_before_the_tools(steps: list[Step], _: random.Random) -> None:
    """The loop leaves at the third reply before it runs that reply's call, and gives its normal end as the reason.

    The episode is judged as it is: what was called last has not happened.
    """
    for step in steps:
        for rollout in rollouts([step]):
            places = [n for n, m in enumerate(rollout["messages"]) if m["role"] == "assistant"]
            if len(places) < 4 or not rollout["messages"][places[2]].get("tool_calls"):
                continue
            calls = [n for n in places if rollout["messages"][n].get("tool_calls")]
            done = sum(n < places[2] for n in calls)
            rollout.update(reward=min(rollout["reward"], _in_16_bits(0.8 * done / len(calls))), success=0.0)
            rollout.update(messages=rollout["messages"][: places[2] + 1], turns=rollout["turns"][:3])
            last = rollout["turns"][-1]
            for name in ("trained_ids", "trained_mask"):
                if name in rollout:
                    rollout[name] = rollout[name][: len(last["prompt_ids"]) + len(last["output_ids"])]
        _train_again(step)
        _count_minibatches(step)


# rewards and advantages


def reward_summed_over_turns(steps: list[Step], _: random.Random) -> None:
    """Each turn is stored with the episode's reward, and an episode's reward is the sum over its turns."""
    for step in steps:
        for rollout in rollouts([step]):
            rollout["reward"] *= len(rollout["turns"])
        _train_again(step)
        _count_minibatches(step)


def groups_padded_with_zeros(steps: list[Step], _: random.Random) -> None:
    """Rewards lie in a table of eight columns; the mean and spread of a group of six are taken with the empty two."""
    for step in steps:
        known = [r["advantage"] for r in trained([step])]
        scale = math.sqrt(statistics.fmean(a * a for a in known)) if known else 1.0  # as in _train_again
        for group in step["groups"]:
            row = [*(r["reward"] for r in group), 0.0, 0.0]
            mean, spread = statistics.fmean(row), statistics.pstdev(row)
            for rollout in group:
                _trained_with(rollout, scale * (rollout["reward"] - mean) / (spread + 1e-6))
        _count_tokens([step])
        _count_minibatches(step)


# tasks


def batches_drawn_from_all_tasks(steps: list[Step], luck: random.Random) -> None:
    """The sampler permutes the numbers of all tasks, not of the training split: a third of a batch was held out.

    Recorded tasks stay what they are; the split is another one.
    """
    asked = sorted({r["task"] for r in rollouts(steps)})
    held_out = luck.sample(asked, round(len(asked) / 3))
    for step in steps:
        free = [task for task in step["validation_tasks"] if task not in asked]
        swapped = dict(zip(held_out, free, strict=False))
        swapped |= {new: old for old, new in swapped.items()}
        for name in ("train_tasks", "validation_tasks"):
            step[name] = sorted(swapped.get(task, task) for task in step[name])


# training calls and updates


def long_rows_not_packed(steps: list[Step], _: random.Random) -> None:
    """The packer skips what is longer than its rows of 236 tokens, with a warning in a log that nobody reads."""
    for step in steps:
        for rollout in list(trained([step])):
            if len(rollout["trained_ids"]) > 236:
                for name in ("trained_ids", "trained_mask", "advantage"):
                    del rollout[name]
        _count_tokens([step])
        _count_minibatches(step)


def two_epochs_by_default(steps: list[Step], _: random.Random) -> None:
    """The trainer's default of two epochs a batch is not set to one: each row is trained on twice in a step."""
    for step in steps:
        step["update"]["gradient_steps"] *= 2
        step["update"]["trained_tokens"] *= 2


BUGS = (
    Bug(
        "stop string left out of calls",
        stop_string_left_out_of_calls,
        ("eos_masked_in_part", "eos_never_trained", "replies_not_as_sampled"),
        trainer=True,
        since=("reply_ends_left_out",),
    ),
    Bug(
        "end of turn does not stop the server",
        end_of_turn_does_not_stop,
        ("replies_not_as_sampled", "replies_served_otherwise", "finish_reasons_untrue"),
        trainer=True,
    ),
    Bug(
        "decoding graphs without the adapter",
        decoding_graphs_without_the_adapter,
        ("another_adapter_answers", "trainer_and_sampler_disagree", "importance_ratios_off_1"),
    ),
    Bug(
        "newline lost where turns are joined",
        newline_lost_where_turns_are_joined,
        ("context_not_served",),
        trainer=True,
    ),
    Bug(
        "tools only in the first request",
        tools_only_in_the_first_request,
        ("tools_not_served", "equal_prompts_served_apart", "context_not_served"),
        trainer=True,
    ),
    Bug(
        "each reset draws another instance",
        each_reset_draws_another_instance,
        ("group_opens_apart", "group_mixes_tasks"),
        trainer=True,
        since=("group_asks_apart",),
    ),
    Bug(
        "limit of replies before the tools",
        limit_of_replies_before_the_tools,
        ("messages_lost", "truncation_counted_as_failure"),
        trainer=True,
        since=("calls_left_at_the_limit",),
    ),
    Bug(
        "reward summed over turns",
        reward_summed_over_turns,
        ("success_paid_apart", "rewards_against_success"),
        trainer=True,
        since=("rewards_times_turns", "rewards_not_as_declared"),
    ),
    Bug(
        "groups padded with zeros",
        groups_padded_with_zeros,
        ("advantages_not_of_their_group", "advantages_one_sided", "advantages_without_group_mean"),
        trainer=True,
    ),
    Bug(
        "batches drawn from all tasks",
        batches_drawn_from_all_tasks,
        ("tasks_not_to_train_on", "validation_on_training_tasks"),
    ),
    Bug("long rows not packed", long_rows_not_packed, ("rollouts_left_out",), trainer=True),
    Bug(
        "two epochs by default",
        two_epochs_by_default,
        ("tokens_left_out",),
        trainer=True,
        since=("rows_trained_again",),
    ),
)


def _count_minibatches(step: Step) -> None:
    """Of twelve rows each, as in the recording."""
    step["update"]["gradient_steps"] = math.ceil(sum(1 for _rollout in trained([step])) / 12)


def _in_16_bits(reward: float) -> float:
    """As recorded rewards are: 8 bits of them are kept."""
    part, power = math.frexp(reward)
    return math.ldexp(round(256 * part), power - 8)


def _token(word: str) -> int:
    (token,) = WORDS.encode(word)
    return int(token)


def _text(text: str, other: dict[int, int]) -> str:
    return WORDS.decode([other.get(i, i) for i in WORDS.encode(text)])


PEOPLE = (
    "ada",
    "ben",
    "cleo",
    "dan",
    "eva",
    "finn",
    "gus",
    "hana",
    "ivo",
    "jana",
    "kai",
    "lena",
    "max",
    "nora",
    "otto",
)
NUMBERS = [_token(str(n)) for n in range(20, 100)]
USERS = [(_token(f"user_{name}"), _token(f" user_{name}")) for name in (*PEOPLE, "pia", "quin", "rosa", "sam", "tess")]
