"""Rollouts of a small sound loop whose tokens spell its messages, one token a letter, to plant one fault in."""

import copy
import json
from collections.abc import Iterator
from typing import Any

EOS = 3
TASKS = ("apples", "bridges", "candles", "doors", "engines", "flowers")
TOOL = {"type": "function", "function": {"name": "count", "parameters": {"type": "object"}}}
LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
RULES = "Count things. Never guess, but count(thing)."


class Letters:
    """A tokenizer whose every id is a letter."""

    eos_token_id = EOS

    def decode(self, ids):
        return "".join("<|im_end|>" if i == EOS else chr(i) for i in ids)


def encode(text: str) -> list[int]:
    return [n for part in text.split("<|im_end|>") for n in (*map(ord, part), EOS)][:-1]


def rendered(message: dict[str, Any]) -> list[int]:
    """As a chat template has it, but a reply as it was sampled."""
    return encode(f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n")


def call(thing: str, number: int) -> tuple[dict[str, Any], str]:
    arguments = json.dumps({"thing": thing, "near": f"house {number}"})
    function = {"name": "count", "arguments": arguments}
    text = f'<tool_call>{{"name": "count", "arguments": {arguments}}}</tool_call>'
    return {"id": "c", "type": "function", "function": function}, text


def rollout(task: str, number: int, step: int) -> dict[str, Any]:
    """A call, its answer, a text. The first two of four succeed."""
    made, spelled = call(task, number % 2)
    said = f"There are {number + 3} {task}."
    messages = [
        {"role": "system", "content": RULES},
        {"role": "user", "content": f'How many "{task}" are there?'},
        {"role": "assistant", "content": "", "tool_calls": [made]},
        {"role": "tool", "tool_call_id": "c", "name": "count", "content": f'{{"thing": "{task}", "count": 3}}'},
        {"role": "assistant", "content": said},
    ]
    begin = encode("<|im_start|>assistant\n")
    first = [*rendered(messages[0]), *rendered(messages[1]), *begin]
    outputs = [[*encode(spelled), EOS], [*encode(said), EOS]]
    second = [*first, *outputs[0], 10, *rendered(messages[3]), *begin]
    reward = float(number < 2)
    return {
        "messages": messages,
        "turns": [turn(first, outputs[0], "tool_calls", step), turn(second, outputs[1], "stop", step)],
        "tools": [TOOL],
        "sent_tools": [TOOL],
        "trained_ids": [*second, *outputs[1]],
        "trained_mask": [
            *[False] * len(first),
            *[True] * len(outputs[0]),
            *[False] * (len(second) - len(first) - len(outputs[0])),
            *[True] * len(outputs[1]),
        ],
        "reward": reward,
        "success": reward,
        "advantage": reward - 0.5,
        "end": "user_stop",
        "step": step,
        "task": task,
    }


def turn(prompt: list[int], output: list[int], finish: str, step: int) -> dict[str, Any]:
    return {
        "prompt_ids": prompt,
        "output_ids": output,
        "logprobs": [-0.001 - 1e-5 * (token % 7) for token in output],
        "finish_reason": finish,
        "model": f"p@{step}",
        "temperature": 1.0,
    }


def loop() -> dict[str, Any]:
    """The arguments of `check` for a sound loop: two steps of six groups of four."""
    groups = [[rollout(f"{task} {step}", number, step) for number in range(4)] for step in range(2) for task in TASKS]
    listed = [f"{task} {step}" for step in range(2) for task in TASKS]
    given = {
        "trajectories": groups,
        "train_tasks": {0: listed, 1: listed},
        "validation_tasks": {0: ["v", "w"], 1: ["v", "w"]},
        "group_size": 4,
        "epochs": 1,
        "tokenizer": Letters(),
        "exact": True,
    }
    return given | {"updates": [update(given, step) for step in range(2)]}


def update(given: dict[str, Any], step: int) -> dict[str, Any]:
    masks = [one["trained_mask"] for one in each(given) if one["step"] == step]
    norm = 0.123456 + step / 7
    return {
        "step": step + 1,
        "gradient_steps": 2,
        "trainable_tokens": sum(map(sum, masks)),
        "weights_before": f"digest {step}",
        "weights_after": f"digest {step + 1}",
        "grad_norm": norm,
    }


def each(given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (rollout for group in given["trajectories"] for rollout in group)


def turns(given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (turn for rollout in each(given) for turn in rollout["turns"])


def planted(fault) -> dict[str, Any]:
    """The sound loop with what `fault` changes in it."""
    given = copy.deepcopy({k: v for k, v in loop().items() if k != "tokenizer"}) | {"tokenizer": Letters()}
    fault(given)
    return given


def seen_otherwise(one: dict[str, Any], old: str, new: str) -> None:
    """Other text in all contexts of a rollout, served and trained."""
    before, after = encode(old), encode(new)
    for own in one["turns"]:
        own["prompt_ids"], _ = replaced(own["prompt_ids"], None, before, after)
    one["trained_ids"], one["trained_mask"] = replaced(one["trained_ids"], one["trained_mask"], before, after)


def replaced(ids: list[int], mask: list[bool] | None, old: list[int], new: list[int]) -> tuple[list[int], Any]:
    at = next((n for n in range(len(ids)) if ids[n : n + len(old)] == old), None)
    if at is None:
        return ids, mask
    end = at + len(old)
    return [*ids[:at], *new, *ids[end:]], mask and [*mask[:at], *[False] * len(new), *mask[end:]]
