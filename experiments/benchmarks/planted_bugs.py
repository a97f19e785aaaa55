"""Silent bugs of RL loops, one function each, planted into recorded steps; and oddities that are none.

A bug takes the steps of a run (see record_rollouts.py) and changes in them what the bug would have changed in what the
loop leaves behind. What a wrong context or log-prob would have done to later steps is not computed.
"""

import copy
import itertools
import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from harness.policy import MICRO
from harness.probe.material import find
from harness.probe.rendering import words_of

Step = dict[str, Any]
Rollout = dict[str, Any]
Plant = Callable[[list[Step], random.Random], None]
WORDS = words_of(MICRO)
EOS = WORDS.encode("<|im_end|>")[0]


@dataclass(frozen=True)
class Bug:
    """named: symptoms of which one must be present; (): no probe of rollouts can see it
    trainer: whether it changes what the trainer computes, which the recording does not have: then the usual metrics
        are not asked
    since: further symptoms that count, written by who had seen the bug: they say nothing of how far the probe reaches
    """

    name: str
    plant: Plant
    named: tuple[str, ...]
    trainer: bool = False
    since: tuple[str, ...] = ()


def rollouts(steps: list[Step]) -> Iterator[Rollout]:
    return (rollout for step in steps for group in step["groups"] for rollout in group)


def turns(steps: list[Step]) -> Iterator[dict[str, Any]]:
    return (turn for rollout in rollouts(steps) for turn in rollout["turns"])


def scored(steps: list[Step]) -> Iterator[dict[str, Any]]:
    return (turn for turn in turns(steps) if turn["adapter_logprobs"])


def trained(steps: list[Step]) -> Iterator[Rollout]:
    return (rollout for rollout in rollouts(steps) if "trained_ids" in rollout)


# which weights answer


def step_before_answers(steps: list[Step], _: random.Random) -> None:
    for turn in scored(steps):
        turn["logprobs"] = list(turn["base_logprobs"])


def first_adapter_answers(steps: list[Step], _: random.Random) -> None:
    """By its name; the trainer's log-probs are not kept."""
    for turn in turns(steps):
        turn["model"] = turn["model"].partition("@")[0] + "@0"
        turn["base_logprobs"] = turn["adapter_logprobs"] = None


def wrong_slot_answers(steps: list[Step], luck: random.Random) -> None:
    for turn in scored(steps):
        turn["logprobs"] = [min(p - luck.gauss(0.1, 0.3), 0.0) for p in turn["adapter_logprobs"]]


# log-probs


def logprobs_dropped(steps: list[Step], _: random.Random) -> None:
    for turn in turns(steps):
        turn["logprobs"] = None


def some_logprobs_dropped(steps: list[Step], luck: random.Random) -> None:
    for turn in turns(steps):
        if luck.random() < 0.05:
            turn["logprobs"] = None


def one_logprob_is_nan(steps: list[Step], _: random.Random) -> None:
    for step in steps:
        step["groups"][0][0]["turns"][0]["logprobs"][-1] = math.nan


def logprobs_cut_short(steps: list[Step], _: random.Random) -> None:
    for turn in turns(steps):
        turn["logprobs"] = turn["logprobs"][:-1]


def logprobs_zero(steps: list[Step], _: random.Random) -> None:
    for turn in turns(steps):
        turn["logprobs"] = [0.0] * len(turn["logprobs"])


def logprobs_at_half_the_temperature(steps: list[Step], _: random.Random) -> None:
    for turn in turns(steps):
        turn["logprobs"] = [_at(p, 0.5) for p in turn["logprobs"]]


def logprobs_shifted_by_one(steps: list[Step], _: random.Random) -> None:
    for turn in turns(steps):
        turn["logprobs"] = turn["logprobs"][1:] + turn["logprobs"][:1]


def logprobs_of_text_and_not_of_tokens(steps: list[Step], _: random.Random) -> None:
    """Each reply has the mean of its log-probs at every token."""
    for turn in turns(steps):
        mean = sum(turn["logprobs"]) / len(turn["logprobs"])
        turn["logprobs"] = [mean] * len(turn["logprobs"])


# the trained context


def tools_dropped_by_the_trainer(steps: list[Step], _: random.Random) -> None:
    for rollout in trained(steps):
        start, end = _tools(rollout["trained_ids"])
        _cut(rollout, start, end)


def tools_in_another_order(steps: list[Step], _: random.Random) -> None:
    for rollout in trained(steps):
        ids = list(rollout["trained_ids"])
        start, end = _tools(ids)
        lines = WORDS.decode(ids[start:end]).split("\n")
        other = WORDS.encode("\n".join([*lines[:3], *reversed(lines[3:])]))
        _put(rollout, start, end, other)


def calls_doubled(steps: list[Step], _: random.Random) -> None:
    for rollout in trained(steps):
        first = rollout["turns"][0]["output_ids"]
        if len(rollout["turns"]) > 1 and (at := find(rollout["trained_ids"], first)) is not None:
            end = at + len(first) - 1
            _put(rollout, end, end, first[:-1])


def bos_twice(steps: list[Step], _: random.Random) -> None:
    for rollout in trained(steps):
        _put(rollout, 0, 0, rollout["trained_ids"][:1])


def outputs_retokenised(steps: list[Step], _: random.Random) -> None:
    """The last word of each last reply is spelled letter by letter."""
    for rollout in trained(steps):
        at = len(rollout["trained_ids"]) - 3
        word = WORDS.decode(rollout["trained_ids"][at : at + 1])
        letters = [i for letter in word for i in WORDS.encode(letter)]
        _put(rollout, at, at + 1, letters, trained=1)


def system_prompt_lost(steps: list[Step], _: random.Random) -> None:
    for rollout in trained(steps):
        _cut(rollout, 3, 40)


# masks


def first_turn_masked(steps: list[Step], _: random.Random) -> None:
    for rollout in trained(steps):
        first = rollout["turns"][0]["output_ids"]
        at = find(rollout["trained_ids"], first) or 0
        rollout["trained_mask"][at : at + len(first)] = [0] * len(first)


def eos_masked(steps: list[Step], _: random.Random) -> None:
    for rollout in trained(steps):
        pairs = zip(rollout["trained_ids"], rollout["trained_mask"], strict=True)
        rollout["trained_mask"] = [int(mask and i != EOS) for i, mask in pairs]


def whole_context_trained(steps: list[Step], _: random.Random) -> None:
    for rollout in trained(steps):
        rollout["trained_mask"] = [1] * len(rollout["trained_ids"])


def mask_off_by_one(steps: list[Step], _: random.Random) -> None:
    for rollout in trained(steps):
        rollout["trained_mask"] = [0, *rollout["trained_mask"][:-1]]


# groups, rewards, advantages


def greedy_rollouts(steps: list[Step], _: random.Random) -> None:
    for step in steps:
        step["groups"] = [[copy.deepcopy(group[0]) for _ in group] for group in step["groups"]]


def one_reward_for_all(steps: list[Step], _: random.Random) -> None:
    for rollout in rollouts(steps):
        rollout["reward"] = 0.5
        rollout.pop("advantage", None)


def only_perfect_groups_are_paid(steps: list[Step], _: random.Random) -> None:
    """1 for a rollout whose whole group succeeds, else 0."""
    for step in steps:
        for group in step["groups"]:
            paid = float(all(rollout["success"] for rollout in group))
            for rollout in group:
                rollout["reward"] = paid
                rollout.pop("advantage", None)


def advantages_of_another_group(steps: list[Step], luck: random.Random) -> None:
    for step in steps:
        known = [r for r in rollouts([step]) if "advantage" in r]
        values = [r["advantage"] for r in known]
        luck.shuffle(values)
        for rollout, value in zip(known, values, strict=True):
            rollout["advantage"] = value


def advantages_negated(steps: list[Step], _: random.Random) -> None:
    for rollout in rollouts(steps):
        if "advantage" in rollout:
            rollout["advantage"] *= -1


def advantages_lost(steps: list[Step], _: random.Random) -> None:
    for rollout in rollouts(steps):
        rollout["advantage"] = 0.0


def rewards_shuffled(steps: list[Step], luck: random.Random) -> None:
    for step in steps:
        for group in step["groups"]:
            values = [r["reward"] for r in group]
            luck.shuffle(values)
            for rollout, value in zip(group, values, strict=True):
                rollout["reward"] = value
                rollout.pop("advantage", None)


# how rollouts end


def truncated_score_minus_one(steps: list[Step], luck: random.Random) -> None:
    for rollout in rollouts(steps):
        if luck.random() < 0.1:
            rollout.update(end="length", reward=-1.0)
            rollout.pop("advantage", None)


def exceptions_score_zero(steps: list[Step], luck: random.Random) -> None:
    for rollout in rollouts(steps):
        if luck.random() < 0.05:
            rollout.update(messages=[], turns=[], reward=0.0)
            for name in ("advantage", "trained_ids", "trained_mask"):
                rollout.pop(name, None)


# tasks


def validation_on_training_tasks(steps: list[Step], _: random.Random) -> None:
    for step in steps:
        step["validation_tasks"] = step["train_tasks"][:10]


def validation_past_the_end(steps: list[Step], _: random.Random) -> None:
    for step in steps:
        step["validation_tasks"] = [*step["validation_tasks"], *[None] * 5]


def a_task_twice_in_a_batch(steps: list[Step], _: random.Random) -> None:
    for step in steps:
        task = step["groups"][0][0]["task"]
        for rollout in step["groups"][1]:
            rollout["task"] = task


# updates


def update_skipped(steps: list[Step], _: random.Random) -> None:
    for step in steps:
        step["update"].update(gradient_steps=0, trained_tokens=0, grad_norm=0.0)
        step["update"]["weights_after"] = step["update"]["weights_before"]


def optimiser_frozen(steps: list[Step], _: random.Random) -> None:
    for step in steps:
        step["update"]["weights_after"] = step["update"]["weights_before"]


OTHER_WEIGHTS = ("another_adapter_answers", "trainer_and_sampler_disagree")
BUGS = (
    Bug("the step before answers", step_before_answers, OTHER_WEIGHTS),
    Bug("the first adapter answers", first_adapter_answers, ("another_adapter_answers",), trainer=True),
    Bug(
        "an adapter in the wrong slot answers",
        wrong_slot_answers,
        ("another_adapter_answers", "trainer_and_sampler_disagree"),
    ),
    Bug("log-probs dropped", logprobs_dropped, ("logprobs_missing",), trainer=True),
    Bug("log-probs of 5 % of the replies dropped", some_logprobs_dropped, ("logprobs_missing",), trainer=True),
    Bug("one log-prob is NaN", one_logprob_is_nan, ("logprobs_missing",), trainer=True),
    Bug("the last log-prob is cut off", logprobs_cut_short, ("logprobs_missing",), trainer=True),
    Bug("log-probs are 0.0", logprobs_zero, ("logprobs_all_zero",)),
    Bug("log-probs of temperature 0.5", logprobs_at_half_the_temperature, ("logprobs_of_another_temperature",)),
    Bug("log-probs shifted by one token", logprobs_shifted_by_one, ("trainer_and_sampler_disagree",)),
    Bug("a reply's mean log-prob at each token", logprobs_of_text_and_not_of_tokens, ("trainer_and_sampler_disagree",)),
    Bug("tools dropped by the trainer", tools_dropped_by_the_trainer, ("tools_not_trained",), trainer=True),
    Bug("tools in another order", tools_in_another_order, ("tool_keys_reordered", "context_not_served"), trainer=True),
    Bug("calls doubled", calls_doubled, ("calls_doubled",), trainer=True),
    Bug("begin of text twice", bos_twice, ("bos_twice",), trainer=True),
    Bug("a word retokenised", outputs_retokenised, ("outputs_retokenised",), trainer=True),
    Bug("system prompt cut", system_prompt_lost, ("context_not_served",), trainer=True),
    Bug("first turn masked", first_turn_masked, ("assistant_tokens_masked",), trainer=True),
    Bug("end of reply masked", eos_masked, ("eos_never_trained",), trainer=True),
    Bug("whole context trained", whole_context_trained, ("unsampled_tokens_trained",), trainer=True),
    Bug("mask off by one", mask_off_by_one, ("unsampled_tokens_trained", "assistant_tokens_masked"), trainer=True),
    Bug("greedy rollouts", greedy_rollouts, ("rollouts_identical",)),
    Bug("one reward for all", one_reward_for_all, ("no_group_spreads",)),
    Bug("only perfect groups are paid", only_perfect_groups_are_paid, ("no_group_spreads", "rewards_cannot_spread")),
    Bug("advantages of another group", advantages_of_another_group, ("advantages_against_rewards",), trainer=True),
    Bug("advantages negated", advantages_negated, ("advantages_against_rewards",), trainer=True),
    Bug("advantages lost", advantages_lost, ("advantages_zero",), trainer=True),
    Bug("rewards shuffled within groups", rewards_shuffled, ("rewards_not_as_declared",), trainer=True),
    Bug("cut rollouts score −1", truncated_score_minus_one, ("truncation_counted_as_failure",)),
    Bug("exceptions score 0", exceptions_score_zero, ("exceptions_scored",)),
    Bug("validation on training tasks", validation_on_training_tasks, ("validation_on_training_tasks",)),
    Bug("validation past the end", validation_past_the_end, ("tasks_that_do_not_exist",)),
    Bug("a task twice in a batch", a_task_twice_in_a_batch, ("tasks_duplicated",)),
    Bug("updates skipped", update_skipped, ("updates_skipped",)),
    Bug("optimiser frozen", optimiser_frozen, ("weights_do_not_move",)),
)


# oddities that are no bugs


def as_it_is(_: list[Step], __: random.Random) -> None:
    pass


def some_rollouts_missing(steps: list[Step], luck: random.Random) -> None:
    for step in steps:
        step["groups"] = [[r for r in group if luck.random() < 0.9] or group[:1] for group in step["groups"]]


def cut_rollouts_left_out(steps: list[Step], luck: random.Random) -> None:
    """Some are cut, earn what a failure earns and are masked."""
    for rollout in trained(steps):
        if luck.random() < 0.05:
            rollout.update(end="length", reward=0.0, trained_mask=[0] * len(rollout["trained_ids"]))
            rollout.pop("advantage", None)


def rounded_to_16_bits(steps: list[Step], luck: random.Random) -> None:
    for turn in scored(steps):
        turn["adapter_logprobs"] = [p + luck.gauss(0, 0.01) for p in turn["adapter_logprobs"]]
        turn["base_logprobs"] = [p + luck.gauss(0, 0.01) for p in turn["base_logprobs"]]
    for step in steps:
        step["exact"] = False


def little_is_kept(steps: list[Step], _: random.Random) -> None:
    """Messages and rewards alone."""
    for rollout in rollouts(steps):
        for name in ("turns", "trained_ids", "trained_mask", "advantage"):
            rollout.pop(name, None)


def solved(steps: list[Step], _: random.Random) -> None:
    """A policy that has learned its tasks: all succeed, and nothing is trained. The messages are still those of
    failures, so no environment is asked."""
    for rollout in rollouts(steps):
        rollout.update(reward=1.0, success=1.0)
        for name in ("trained_ids", "trained_mask", "advantage"):
            rollout.pop(name, None)
    for step in steps:
        step["played"] = False
        update_skipped([step], random.Random(0))


ODDITIES: tuple[Plant, ...] = (
    as_it_is,
    some_rollouts_missing,
    cut_rollouts_left_out,
    rounded_to_16_bits,
    little_is_kept,
    solved,
)


def _tools(ids: list[int]) -> tuple[int, int]:
    """Where the tools begin and end: the system message's second half."""
    begin = next(n for n in range(len(ids)) if WORDS.decode(ids[n : n + 8]).lstrip().startswith("# Tools"))
    return begin, next(n for n in range(begin, len(ids)) if ids[n] == EOS)


def _cut(rollout: Rollout, start: int, end: int) -> None:
    _put(rollout, start, end, [])


def _put(rollout: Rollout, start: int, end: int, ids: Any, trained: int = 0) -> None:
    rollout["trained_ids"] = [*rollout["trained_ids"][:start], *ids, *rollout["trained_ids"][end:]]
    mask = rollout["trained_mask"]
    rollout["trained_mask"] = [*mask[:start], *[trained] * len(list(ids)), *mask[end:]]


def _at(p: float, temperature: float) -> float:
    """A log-prob at another temperature, where one rival has the rest."""
    p = min(p, -1e-9)
    other = math.log(-math.expm1(p))
    return p / temperature - math.log(math.exp(p / temperature) + math.exp(other / temperature))


def planted(steps: list[Step], plant: Plant, seed: str) -> list[Step]:
    """A copy of the steps with the change in it."""
    made: list[Step] = json.loads(json.dumps(steps))
    plant(made, random.Random(seed))
    return made


def runs_of(lines: list[Step]) -> dict[str, list[Step]]:
    return {run: list(own) for run, own in itertools.groupby(lines, key=lambda line: str(line["run"]))}
