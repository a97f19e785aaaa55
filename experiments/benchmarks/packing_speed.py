"""What ART's tokenisation of a batch costs by pieces (harness.backend.tokenizer) and with the tokenizer itself.

    PYTHONPATH=. .venv/bin/python experiments/benchmarks/packing_speed.py                    # 8 groups of 6 on retail

Rollouts are scripted demonstrations of retail tasks with made-up log-probs; both ways must give the same ids. Each time
is that of a batch whose own pieces were never seen; system prompt and tools were. Needs the base of smollm2_135m:
python -m harness policy fetch smollm2_135m_raw.
"""

import argparse
import json
import random
import statistics
import time
from random import Random
from typing import Any

import art
from art.preprocessing.tokenize import tokenize_trajectory_groups
from openai.types.chat.chat_completion import Choice
from transformers import AutoTokenizer

from experiments.warm_starts.retail import agent
from experiments.warm_starts.retail.demonstrations import demonstrate
from harness.backend.tokenizer import by_pieces
from harness.env import load_domain
from harness.env.domain import Domain
from harness.env.retail_tasks import generator
from harness.episode import Turn
from harness.policy import load_policy
from harness.rollout import choice_of


def trajectory(domain: Domain, task_id: str, number: int, tokenizer: Any) -> art.Trajectory:
    """A demonstration as a rollout: each reply's ids with a log-prob each."""
    system: Any = {"role": "system", "content": domain.system_prompt}
    shown = demonstrate(generator.known(domain, task_id), Random(number), agent.RIGHT).messages
    said: list[Any] = [_choice(m, tokenizer) if m["role"] == "assistant" else m for m in shown]
    tools: Any = domain.tools
    return art.Trajectory(messages_and_choices=[system, *said], tools=tools, reward=number % 8 / 8)


def _choice(message: dict[str, Any], tokenizer: Any) -> Choice:
    text = tokenizer.apply_chat_template([message], tokenize=False).removeprefix("<|im_start|>assistant\n")
    ids = tokenizer(text.rstrip("\n"), add_special_tokens=False)["input_ids"]
    calls = tuple(
        {"id": c["id"], "name": c["function"]["name"], "arguments": json.dumps(c["function"]["arguments"])}
        for c in message.get("tool_calls", ())
    )
    return choice_of(Turn(None, tuple(ids), (-0.1,) * len(ids), message["content"], calls, "stop", ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--rollouts", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    domain, own = load_domain("retail"), AutoTokenizer.from_pretrained(load_policy("smollm2_135m_raw").path)

    def batch(number: int) -> list[art.TrajectoryGroup]:
        seeds = range(1000 * number, 1000 * number + options.rollouts)
        names = domain.train_ids[number * options.groups : (number + 1) * options.groups]
        return [art.TrajectoryGroup([trajectory(domain, task, seed, own) for seed in seeds]) for task in names]

    def ids(tokenizer: Any, groups: list[art.TrajectoryGroup]) -> list[list[int]]:
        random.seed(0)  # ART shuffles with the global generator
        how: Any = {"chat_template_tool_schema_format": "vllm_openai"}
        made = tokenize_trajectory_groups(tokenizer, groups, False, True, **how)
        return [result.token_ids for result in made]

    pieces = by_pieces(own)
    took: dict[str, list[float]] = {"whole": [], "pieces": []}
    ids(pieces, batch(0))  # the first texts are tokenised both ways
    tokens = 0
    for number in range(1, 1 + options.repeats):
        groups, found = batch(number), {}
        for name, tokenizer in (("whole", own), ("pieces", pieces)):
            begun = time.perf_counter()
            found[name] = ids(tokenizer, groups)
            took[name].append(time.perf_counter() - begun)
        assert found["whole"] == found["pieces"], "The ids differ."
        tokens += sum(map(len, found["whole"]))
    whole, by_piece = (statistics.median(seconds) for seconds in took.values())
    print(
        f"{options.groups} groups of {options.rollouts} rollouts, {tokens // options.repeats:,} tokens: {whole:.2f} s "
        f"whole, {by_piece:.2f} s by pieces, factor {whole / by_piece:.1f} (medians of {options.repeats} batches)"
    )


if __name__ == "__main__":
    main()
