"""`harness doctor env=NAME [KEY=VALUE …]`: an environment's sets of tasks, and what three agents without a model earn.

A task that the oracle (harness/env/agents.py) does not solve is one that no policy can be expected to solve.
"""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.config import SweepConfig
from harness.env import Environment, agents, load_environment, validation_sets
from harness.errors import ConfigError
from harness.launch.one_run import composed
from harness.policy import load_policy

HEAD = ("set", "tasks", "prompt: median", "longest", "ms an episode", "floor", "random", "oracle")


@dataclass(frozen=True)
class Measured:
    """What was found of one set of tasks.

    prompts: size of what an episode opens with, system prompt, tools and the user's first message, task by task
    rewards: mean by agent; without those that cannot play here
    milliseconds: CPU time of an episode of the agent that does most; None: nobody can play here
    unsolved: ids of the tasks at which the oracle earns less than 1
    """

    name: str
    prompts: tuple[int, ...]
    rewards: dict[str, float]
    milliseconds: float | None
    unsolved: tuple[str, ...]


def lines(options: Sequence[str]) -> list[str]:
    """The examination of the environment that the options choose. Raises ConfigError."""
    config = composed(options)
    environment = load_environment(config.env.source, config.user.identity())
    size, unit = _sizes(config)
    sets = {"train": environment.train_ids, "held out": environment.test_ids, **validation_sets(environment)}
    found = [measured(name, environment, ids, size) for name, ids in sets.items() if ids]
    common = size(opening_of_all(environment))
    text = [f"env={environment.name}: system prompt and tools are {common} {unit}; a prompt is these and the opening"]
    text += _table([HEAD, *map(_row, found)])
    if not agents.has_solutions(environment):
        text.append(
            "oracle: this environment does not say what solves its tasks (`solution` in docs/bring_your_own.md)"
        )
    elif any(not each.rewards for each in found):
        text.append("its user is a model: nothing was played")
    unsolved = [
        f"the oracle fails at {len(e.unsolved)} of {e.name}: {', '.join(e.unsolved)}" for e in found if e.unsolved
    ]
    return [*text, *unsolved]


def measured(name: str, environment: Environment, ids: Sequence[str], size: Callable[[str], int]) -> Measured:
    common = opening_of_all(environment)
    try:
        prompts = tuple(size(common + agents.opening(environment, task_id)) for task_id in ids)
    except agents.Awaits:
        prompts = (size(common),) * len(ids)  # a model's first message costs money
    rewards: dict[str, float] = {}
    milliseconds: float | None = None
    unsolved: tuple[str, ...] = ()
    try:
        for agent in (agents.floor, agents.random, *([agents.oracle] if agents.has_solutions(environment) else [])):
            began = time.process_time()
            earned = [agents.play(environment, task_id, agent).outcome.reward for task_id in ids]
            milliseconds = (time.process_time() - began) / len(ids) * 1000
            rewards[agent.__name__] = statistics.fmean(earned)
            if agent is agents.oracle:
                unsolved = tuple(task_id for task_id, reward in zip(ids, earned, strict=True) if reward < 1)
    except agents.Awaits:
        rewards, milliseconds = {}, None
    return Measured(name, prompts, rewards, milliseconds, unsolved)


def opening_of_all(environment: Environment) -> str:
    return environment.system_prompt + json.dumps(environment.tools)


def _sizes(config: SweepConfig) -> tuple[Callable[[str], int], str]:
    """How long a text is: in tokens of the policy that the options choose, where its tokenizer is here."""
    try:
        policy = load_policy(config.policy)
    except ConfigError:
        return len, "characters"
    file = Path(policy.path) / "tokenizer.json"
    if not file.is_file():
        return len, "characters"
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    return (lambda text: len(tokenizer.encode(text).ids)), f"tokens of policy={policy.name}"


def _row(found: Measured) -> tuple[str, ...]:
    rewards = [f"{found.rewards[name]:.3f}" if name in found.rewards else "-" for name in ("floor", "random", "oracle")]
    spent = "-" if found.milliseconds is None else f"{found.milliseconds:.1f}"
    median, longest = statistics.median_low(found.prompts), max(found.prompts)
    return found.name, str(len(found.prompts)), str(median), str(longest), spent, *rewards


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            f"{cell:<{w}}" if not i else f"{cell:>{w}}" for i, (cell, w) in enumerate(zip(row, wide, strict=True))
        )
        for row in rows
    ]
