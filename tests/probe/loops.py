"""Rollouts of a small sound loop, as plain dictionaries, to plant one fault in."""

import copy
import math
from typing import Any

BOS, EOS, SYSTEM, TOOLS, USER, RESULT = 1, 2, (11, 12, 13, 14, 15), tuple(range(40, 60)), (21, 22, 23), (31, 32)
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALL = {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}


# By task and number; an advantage is the reward without the group's mean.
EARNED = [
    [{"reward": reward, "success": float(reward == 1.0), "advantage": reward - sum(rewards) / 4} for reward in rewards]
    for rewards in ((1.0, 0.25, 1.0, 0.0), (1.0, 0.25, 0.0, 0.0))
]


class Words:
    """A tokenizer whose every id is a word."""

    bos_token_id, eos_token_id = BOS, EOS

    def decode(self, ids):
        return " ".join("add" if i == TOOLS[0] else f"w{i}" for i in ids)


def rollout(task: str, number: int, step: int = 0, **changed: Any) -> dict[str, Any]:
    """Two turns: a call, then a text. One or two of four succeed, by the task."""
    first, second = (210 + number, 201, 202, 203, 204, 205, 206, EOS), (300 + number, 301, 302, EOS)
    prompt = (BOS, *SYSTEM, *TOOLS, *USER, int(task) + 400)
    later = (*prompt, *first, *RESULT)
    ids = (*later, *second)
    sampled = {*range(len(prompt), len(prompt) + len(first)), *range(len(later), len(ids))}
    return {
        "messages": [
            {"role": "system", "content": "Add."},
            {"role": "user", "content": f"Task {task}"},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c", "content": "3"},
            {"role": "assistant", "content": f"It is {number}."},
        ],
        "turns": [turn(prompt, first, "tool_calls", step), turn(later, second, "stop", step)],
        "tools": [TOOL],
        "sent_tools": [TOOL],
        "trained_ids": list(ids),
        "trained_mask": [n in sampled for n in range(len(ids))],
        **EARNED[int(task) % 2][number % 4],
        "end": "user_stop",
        "step": step,
        "task": task,
        **changed,
    }


def turn(prompt, output, finish, step) -> dict[str, Any]:
    served = [-0.1 - 0.3 * (token % 7) for token in output]
    return {
        "prompt_ids": list(prompt),
        "output_ids": list(output),
        "logprobs": served,
        "adapter_logprobs": [p + 1e-6 for p in served],
        "base_logprobs": [p - 0.2 - 0.1 * (n % 3) for n, p in enumerate(served)],
        "finish_reason": finish,
        "model": f"p@{step}",
        "temperature": 1.0,
    }


def loop(steps: int = 2, tasks: int = 4, rollouts: int = 4) -> dict[str, Any]:
    """The arguments of `check` for a sound loop."""
    groups = [
        [rollout(str(task), number, step) for number in range(rollouts)]
        for step in range(steps)
        for task in range(step * tasks, (step + 1) * tasks)
    ]
    return {
        "trajectories": groups,
        "updates": [
            {
                "step": s + 1,
                "gradient_steps": 2,
                "trainable_tokens": 192,
                "weights_before": s,
                "weights_after": s + 1,
                "grad_norm": 0.1,
            }
            for s in range(steps)
        ],
        "train_tasks": list(range(steps * tasks)),
        "validation_tasks": [100, 101],
        "known_tasks": range(200),
        "tokenizer": Words(),
        "exact": True,
    }


def each(given: dict[str, Any]):
    return (rollout for group in given["trajectories"] for rollout in group)


def turns(given: dict[str, Any]):
    return (turn for rollout in each(given) for turn in rollout["turns"])


def planted(fault) -> dict[str, Any]:
    """The sound loop with what `fault` changes in it."""
    given = copy.deepcopy({k: v for k, v in loop().items() if k != "tokenizer"}) | {"tokenizer": Words()}
    fault(given)
    return given


def retrained(given: dict[str, Any], change) -> None:
    """Every trained context becomes `change` of (id, is trained) pairs."""
    for one in each(given):
        pairs = change(list(zip(one["trained_ids"], one["trained_mask"], strict=True)))
        one["trained_ids"], one["trained_mask"] = [i for i, _ in pairs], [m for _, m in pairs]


def at_temperature(p: float, heat: float) -> float:
    """The log-prob of a token beside one rival at another temperature."""
    other = math.log(-math.expm1(p))
    return p / heat - math.log(math.exp(p / heat) + math.exp(other / heat))
