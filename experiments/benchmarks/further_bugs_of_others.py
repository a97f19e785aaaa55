"""Twelve further silent bugs of RL loops by somebody who had not read the probe, in the form of bugs_of_others.py."""

import json
import math
import random
import statistics
from collections.abc import Iterator
from typing import Any

from experiments.benchmarks.bugs_of_others import START, _count_tokens, _see, _train_again
from experiments.benchmarks.planted_bugs import EOS, WORDS, Bug, Rollout, Step, rollouts, scored, trained

# sampling and serving


def repetition_penalty_of_the_model_card(steps: list[Step], _: random.Random) -> None:
    """The server applies the repetition penalty 1.05 of generation_config.json: words seen before are less likely."""
    for rollout in rollouts(steps):
        seen: set[int] = set()
        for turn in rollout["turns"]:
            seen.update(turn["prompt_ids"] or ())
            for n, (i, p) in enumerate(zip(turn["output_ids"], turn["logprobs"], strict=True)):
                if i in seen:
                    turn["logprobs"][n] = _logprob(_odds(p) - 0.8)  # 1 - 1 / 1.05 of a logit of 17
                seen.add(i)


def prompt_cache_outlives_the_update(steps: list[Step], _: random.Random) -> None:
    """Prefixes are not dropped from the cache at an update: the system message's keys are still the old adapter's.

    The share of the context that is old moves a log-prob, at most half way to the old adapter's.
    """
    for turn in scored(steps[1:]):
        old = turn["prompt_ids"].index(EOS) // 16 * 16
        pairs = zip(turn["adapter_logprobs"], turn["base_logprobs"], strict=True)
        turn["logprobs"] = [
            _logprob(_odds(a) + 0.5 * old / (len(turn["prompt_ids"]) + n) * (_odds(b) - _odds(a)))
            for n, (a, b) in enumerate(pairs)
        ]


# adapters


def adapter_served_at_twice_its_scale(steps: list[Step], _: random.Random) -> None:
    """The adapter's saved config has another alpha than the trainer's: the server adds twice of what was learned."""
    for turn in scored(steps):
        if turn["adapter_logprobs"] != turn["base_logprobs"]:
            pairs = zip(turn["adapter_logprobs"], turn["base_logprobs"], strict=True)
            turn["logprobs"] = [_logprob(2 * _odds(a) - _odds(b)) for a, b in pairs]


# chat templates


def arguments_encoded_twice_in_the_history(steps: list[Step], _: random.Random) -> None:
    """The served template makes JSON of arguments that are JSON already: earlier calls show a string, not an object.

    The trainer joins what was sampled.
    """
    for rollout in rollouts(steps):
        of_turns = [m.get("tool_calls", ()) for m in rollout["messages"] if m["role"] == "assistant"]
        changes: list[tuple[list[int], list[int]]] = []
        for turn, calls in zip(rollout["turns"], of_turns, strict=True):
            for old, new in changes if turn["prompt_ids"] else ():
                turn["prompt_ids"] = _with(turn["prompt_ids"], old, new)
            text = WORDS.decode(turn["output_ids"][:-1])
            for call in calls:
                arguments = call["function"]["arguments"]
                text = text.replace(arguments, json.dumps(arguments))
            if calls:
                changes.append((turn["output_ids"], [*WORDS.encode(text), EOS]))


# masks


def calls_masked_as_if_cut(steps: list[Step], _: random.Random) -> None:
    """Replies that do not finish with `stop` count as cut and are masked: so are all that finish with `tool_calls`."""
    for rollout in trained(steps):
        ids, at = rollout["trained_ids"], 0
        for turn in rollout["turns"]:
            size = len(turn["output_ids"])
            at = next(n for n in range(at, len(ids)) if ids[n : n + size] == turn["output_ids"])
            if turn["finish_reason"] != "stop":
                rollout["trained_mask"][at : at + size] = [0] * size
            at += size
    _count_tokens(steps)


# rewards and judges


def judge_fails_open(steps: list[Step], luck: random.Random) -> None:
    """The judge is asked too often at once; where its answer is no JSON, the default stands, which is a success."""
    for step in steps:
        for rollout in rollouts([step]):
            if luck.random() < 0.15:
                rollout.update(reward=1.0, success=1.0)
        _train_again(step)


# groups and advantages


def group_counted_by_turns(steps: list[Step], _: random.Random) -> None:
    """Each turn is a row, and a group's mean and spread are taken over rows: long rollouts weigh more in them."""
    for step in steps:
        known = [r["advantage"] for r in trained([step])]
        scale = math.sqrt(statistics.fmean(a * a for a in known)) if known else 1.0  # as in _train_again
        for group in step["groups"]:
            if len({len(r["turns"]) for r in group}) == 1:
                continue
            rows = [r["reward"] for r in group for _turn in r["turns"]]
            mean, spread = statistics.fmean(rows), statistics.pstdev(rows)
            for rollout in group:
                if "advantage" in rollout:
                    rollout["advantage"] = round(scale * (rollout["reward"] - mean) / (spread + 1e-6), 6)


# truncation and limits


def slow_rollouts_not_waited_for(steps: list[Step], _: random.Random) -> None:
    """A group is closed as soon as four of its six rollouts are in: the longest are never trained."""
    for step in steps:
        for group in step["groups"]:
            quick = sorted(range(len(group)), key=lambda n: _length(group[n]))[:4]
            group[:] = [group[n] for n in sorted(quick)]
        _train_again(step)


def oldest_messages_fall_out(steps: list[Step], _: random.Random) -> None:
    """The client drops the oldest messages after the system's from requests above 200 tokens; the trainer has them."""
    for turn in scored(steps):
        ids = turn["prompt_ids"]
        starts = [n for n, i in enumerate(ids) if i == START]
        parts = [ids[a:b] for a, b in zip(starts, [*starts[1:], len(ids)], strict=True)]
        while len(parts) > 3 and sum(map(len, parts)) > 200:
            del parts[1]
        turn["prompt_ids"] = [*ids[: starts[0]], *(i for part in parts for i in part)]


# environment and tools


def answers_of_tools_cross(steps: list[Step], luck: random.Random) -> None:
    """Rollouts share a tool client that has no ids: when two ask at once, each may read the other's answer."""
    for step in steps:
        asking = [(r, m) for r in rollouts([step]) if (m := next(_tools(r), None))]
        luck.shuffle(asking)
        for (one, first), (other, second) in zip(asking[:8:2], asking[1:8:2], strict=False):
            mine, theirs = first["content"], second["content"]
            _see(one, first["name"], mine, theirs)
            _see(other, second["name"], theirs, mine)


# data, splits, resume


def split_drawn_anew_at_a_resume(steps: list[Step], luck: random.Random) -> None:
    """The split is drawn without a seed, so a resume after the first step draws another: tasks change sides."""
    later = steps[1:]
    if not later:
        return
    needed = {r["task"] for r in rollouts(later)}
    tasks = [*later[0]["train_tasks"], *later[0]["validation_tasks"]]
    free = [task for task in tasks if task not in needed]
    held_out = set(luck.sample(free, min(len(later[0]["validation_tasks"]), len(free))))
    for step in later:
        step["train_tasks"] = [task for task in tasks if task not in held_out]
        step["validation_tasks"] = [task for task in tasks if task in held_out]


# updates


def both_ranks_read_one_shard(steps: list[Step], _: random.Random) -> None:
    """The loader of the second rank does not know its rank: half of the rollouts are trained twice, half never."""
    for step in steps:
        for rollout in list(trained([step]))[1::2]:
            for name in ("trained_ids", "trained_mask", "advantage"):
                del rollout[name]
        _count_tokens([step])
        step["update"]["trained_tokens"] *= 2


BUGS = (
    Bug(
        "repetition penalty of the model card",
        repetition_penalty_of_the_model_card,
        ("trainer_and_sampler_disagree", "importance_ratios_off_1"),
    ),
    Bug(
        "prompt cache outlives the update",
        prompt_cache_outlives_the_update,
        ("another_adapter_answers", "trainer_and_sampler_disagree", "importance_ratios_off_1"),
    ),
    Bug(
        "adapter served at twice its scale",
        adapter_served_at_twice_its_scale,
        ("another_adapter_answers", "trainer_and_sampler_disagree", "importance_ratios_off_1"),
    ),
    Bug(
        "arguments encoded twice in the history",
        arguments_encoded_twice_in_the_history,
        ("arguments_encoded_twice", "context_not_served"),
        trainer=True,
        since=("replies_served_otherwise",),
    ),
    Bug("calls masked as if cut", calls_masked_as_if_cut, ("assistant_tokens_masked",), trainer=True),
    Bug(
        "judge fails open",
        judge_fails_open,
        ("same_conversation_other_reward",),
        trainer=True,
        since=("success_not_as_judged", "rewards_not_as_declared"),
    ),
    Bug(
        "a group's mean over its turns",
        group_counted_by_turns,
        ("advantages_by_length", "advantages_without_group_mean"),
        trainer=True,
        since=("advantages_not_of_their_group",),
    ),
    Bug(
        "slow rollouts not waited for",
        slow_rollouts_not_waited_for,
        (),
        trainer=True,
        since=("groups_of_another_size",),
    ),
    Bug(
        "oldest messages fall out of requests",
        oldest_messages_fall_out,
        ("history_not_served", "context_not_served"),
        trainer=True,
    ),
    Bug(
        "answers of tools cross",
        answers_of_tools_cross,
        ("tool_answers_unmatched",),
        trainer=True,
        since=("answers_of_other_calls", "equal_calls_answered_apart"),
    ),
    Bug(
        "split drawn anew at a resume",
        split_drawn_anew_at_a_resume,
        ("validation_on_training_tasks",),
        since=("validation_changes",),
    ),
    Bug(
        "both ranks read one shard",
        both_ranks_read_one_shard,
        ("tokens_left_out",),
        trainer=True,
        since=("rollouts_left_out",),
    ),
)


def _odds(p: float) -> float:
    """Of a log-prob, where one rival has the rest."""
    p = min(p, -1e-9)
    return p - math.log(-math.expm1(p))


def _logprob(odds: float) -> float:
    return -math.log1p(math.exp(-odds)) if odds > 0 else odds - math.log1p(math.exp(odds))


def _with(ids: list[int], old: list[int], new: list[int]) -> list[int]:
    """The first `old` replaced."""
    at = next((n for n in range(len(ids)) if ids[n : n + len(old)] == old), None)
    return ids if at is None else [*ids[:at], *new, *ids[at + len(old) :]]


def _length(rollout: Rollout) -> tuple[int, int]:
    """How long it took: requests, then sampled tokens."""
    return len(rollout["turns"]), sum(len(turn["output_ids"]) for turn in rollout["turns"])


def _tools(rollout: Rollout) -> Iterator[dict[str, Any]]:
    return (m for m in rollout["messages"] if m["role"] == "tool")
