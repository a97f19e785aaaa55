"""A small environment whose rollouts are made by playing it, spelled by a template and a tokenizer of letters."""

import json
from collections import Counter
from typing import Any

from harness.probe import ADVANTAGES
from harness.probe.rendering import render_of
from harness.seams import Outcome

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
TEMPLATE = (
    "{{ tools | tojson }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls or [] %}"
    '<tool_call>{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments }}}</tool_call>'
    "{% endfor %}\x03{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
TASKS = ("1 2", "3 4", "5 6", "7 8")


class Letters:
    bos_token_id, eos_token_id = None, 3

    def encode(self, text, add_special_tokens=False):
        return [ord(letter) for letter in text]

    def decode(self, ids):
        return "".join(map(chr, ids))


class Sum:
    """The user asks for a sum, once more where it is told a wrong one, and stops."""

    done = False

    def __init__(self, task):
        self.numbers, self.said = [int(n) for n in task.split()], []

    async def opening(self):
        return f"{self.numbers[0]} + {self.numbers[1]}?"

    def call_tool(self, call_id, name, arguments):
        return str(sum(arguments.values()))

    async def reply(self, text):
        self.said.append(text)
        return None if self._right() or len(self.said) == 2 else "Sure?"

    def _right(self):
        return self.said[-1:] == [f"It is {sum(self.numbers)}."]

    def outcome(self, stopped):
        return Outcome(float(stopped and self._right()), 0, 0, 0, 0, None)


class Sums:
    system_prompt, tools = "Add.", [TOOL]

    def start(self, task, seed):
        if task not in TASKS:
            raise KeyError(task)
        return Sum(task)


DECLARED: dict[str, Any] = {
    "group_size": 4,
    "groups_per_step": 2,
    "epochs": 1,
    "temperature": 1.0,
    "max_tokens": 80,
    "max_turns": 4,
    "model": "p@{step}",
    "parser": "hermes",
    "reward": "success",
    "advantages": "art",
    "trained": "sampled",
    "batches": {0: TASKS[:2], 1: TASKS[2:]},
    "train_tasks": TASKS,
    "validation_tasks": ["9 9"],
    "groups_per_gradient_step": 2,
    "learning_rate": 1e-4,
}
RENDER = render_of(TEMPLATE, Letters())


def sums() -> dict[str, Any]:
    """What `check` is given of two sound steps."""
    groups = [
        [rollout_of(task, n, step) for n in range(4)] for step in (0, 1) for task in TASKS[2 * step : 2 * step + 2]
    ]
    return trained(
        {
            "trajectories": groups,
            "train_tasks": dict.fromkeys((0, 1), TASKS),
            "validation_tasks": {step: ["9 9"] for step in (0, 1)},
            "declared": dict(DECLARED),
            "environment": Sums(),
            "template": TEMPLATE,
            "tokenizer": Letters(),
            "exact": True,
        }
    )


def trained(given: dict[str, Any]) -> dict[str, Any]:
    """With the advantages and the training calls that these rollouts give, each step apart."""
    declared = given["declared"]
    steps = {
        group[0]["step"]: [g for g in given["trajectories"] if g[0]["step"] == group[0]["step"]]
        for group in given["trajectories"]
    }
    for groups in steps.values():
        made = [ADVANTAGES[declared["advantages"]]([r["reward"] for r in group]) for group in groups]
        sizes = [abs(a) for each in made for a in each if a]
        scale = len(sizes) / sum(sizes) if declared["advantages"] == "art" else 1.0
        for group, advantages in zip(groups, made, strict=True):
            for rollout, advantage in zip(group, advantages, strict=True):
                rollout["advantage"] = advantage * scale
                if not advantage:
                    rollout["trained_ids"] = rollout["trained_mask"] = None
    given["updates"] = [
        {
            "step": step + 1,
            "gradient_steps": declared["epochs"],
            "trained_tokens": declared["epochs"] * sum(sum(r["trained_mask"] or ()) for group in groups for r in group),
            "learning_rate": 1e-4,
            "weights_before": f"weights {step}",
            "weights_after": f"weights {step + 1}",
        }
        for step, groups in steps.items()
    ]
    return given


def rollout_of(task, number, step):
    """Two of four are right at once, one at the second try, one never."""
    one, other = map(int, task.split())
    arguments = json.dumps({"a": one, "b": other})
    call = {"id": "c", "type": "function", "function": {"name": "add", "arguments": arguments}}
    talk = Sum(task)
    messages = [{"role": "system", "content": "Add."}, {"role": "user", "content": f"{one} + {other}?"}]
    replies = [{"role": "assistant", "content": "", "tool_calls": [call]}]
    right = f"It is {one + other}."
    replies += [
        {"role": "assistant", "content": text} for text in ([right], [right], ["No.", right], ["No.", "No!"])[number]
    ]
    turns, ids, mask = [], [], []
    for reply in replies:
        prompt = RENDER(messages, [TOOL], False)
        shown = RENDER([*messages, reply], [TOOL], False)
        output = shown[len(prompt) : len(shown) - len("<assistant>")]
        ids, mask = [*prompt, *output], [*mask, *[0] * (len(prompt) - len(mask)), *[1] * len(output)]
        turns.append(_turn(prompt, output, "tool_calls" if reply.get("tool_calls") else "stop", step))
        messages.append(reply)
        if reply.get("tool_calls"):
            messages.append({"role": "tool", "tool_call_id": "c", "name": "add", "content": str(one + other)})
            continue
        talk.said.append(reply["content"])
        if talk.said[-1] != right and len(talk.said) < 2:
            messages.append({"role": "user", "content": "Sure?"})
    success = float(talk.said[-1] == right)
    return {
        "task": task,
        "step": step,
        "messages": messages,
        "turns": turns,
        "tools": [TOOL],
        "sent_tools": [TOOL],
        "trained_ids": ids,
        "trained_mask": mask,
        "reward": success,
        "success": success,
        "end": "user_stop",
    }


def _turn(prompt, output, finish, step):
    served = [-0.01 * (1 + (token + Counter(output)[token]) % 7) for token in output]
    return {
        "prompt_ids": list(prompt),
        "output_ids": list(output),
        "logprobs": served,
        "adapter_logprobs": list(served),
        "base_logprobs": [p - 0.01 * step for p in served],
        "finish_reason": finish,
        "model": f"p@{step}",
        "temperature": 1.0,
    }
