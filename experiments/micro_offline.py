"""The micro policy on the mock domain without a server: success by kind, and whether a small REINFORCE moves it.

    python experiments/micro_offline.py --checkpoint DIR                      greedy and sampled success
    python experiments/micro_offline.py --checkpoint DIR --rl 6 --reward partial --seeds 3

Episodes run in lockstep through transformers' `generate` (one thread). The harness itself uses vLLM and ART.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.env import Outcome, load_domain
from harness.env.domain import Domain
from harness.env.mock import KINDS
from harness.policy import MICRO

CALL = re.compile(r"<tool_call>\n(.*?)\n</tool_call>", re.DOTALL)
MAX_TURNS = 12


@dataclass
class Play:
    task_id: str
    outcome: Outcome = field(init=False)
    calls: int = 0
    output_tokens: int = 0
    ids: list[int] = field(default_factory=list)  # the last prompt and answer
    trained: list[tuple[int, int]] = field(default_factory=list)  # spans of `ids` that the policy wrote
    malformed: int = 0


def kind_of(task_id: str) -> str:
    return KINDS[int(task_id.split("_")[1]) % len(KINDS)]


@torch.no_grad()
def play(model: Any, tokenizer: Any, domain: Domain, task_ids: list[str], temperature: float, seed: int) -> list[Play]:
    """One episode per entry of `task_ids`, all at once."""
    torch.manual_seed(seed)
    plays = [Play(task_id) for task_id in task_ids]
    episodes = [domain.scripted(task_id) for task_id in task_ids]
    chats: list[list[dict[str, Any]]] = [
        [{"role": "system", "content": domain.system_prompt}, {"role": "user", "content": e.first}] for e in episodes
    ]
    stopped = [False] * len(plays)
    active = list(range(len(plays)))
    for _ in range(MAX_TURNS):
        prompts = [
            tokenizer.apply_chat_template(chats[i], tools=domain.tools, add_generation_prompt=True, return_dict=False)
            for i in active
        ]
        batch = tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
        out = model.generate(**batch, max_new_tokens=48, **sampling)
        still = []
        for row, i in enumerate(active):
            answer = out[row, batch["input_ids"].shape[1] :].tolist()
            if tokenizer.eos_token_id in answer:
                answer = answer[: answer.index(tokenizer.eos_token_id) + 1]
            p = plays[i]
            p.calls += 1
            p.output_tokens += len(answer)
            p.ids = prompts[row] + answer
            p.trained.append((len(prompts[row]), len(p.ids)))
            text = tokenizer.decode(answer).removesuffix("<|im_end|>")
            call = CALL.search(text)
            try:
                made = json.loads(call.group(1)) if call else None
            except json.JSONDecodeError:
                made = None
            if made is None:
                p.malformed += "<tool_call>" in text
                chats[i].append({"role": "assistant", "content": text})
                following = {"role": "user", "content": episodes[i].answer(text)}
                stopped[i] = following["content"] is None
            else:
                function = {"name": made.get("name"), "arguments": made.get("arguments")}
                chats[i].append({"role": "assistant", "content": None, "tool_calls": [{"function": function}]})
                answer_text = episodes[i].call_tool(f"call_{p.calls}", str(made.get("name")), made.get("arguments"))
                following = {"role": "tool", "content": answer_text}
            if not stopped[i]:
                chats[i].append(following)
                still.append(i)
        active = still
        if not active:
            break
    for p, episode, stop in zip(plays, episodes, stopped, strict=True):
        p.outcome = episode.outcome(stop)
    return plays


def partial_credit(o: Outcome) -> float:
    total = o.actions_total + o.facts_total + 1
    return o.reward or 0.9 * (o.actions_matched + o.facts_met + bool(o.db_match)) / total


def report(model: Any, tokenizer: Any, domain: Domain, samples: int) -> None:
    began = time.time()
    greedy = play(model, tokenizer, domain, list(domain.task_ids), 0.0, 0)
    sampled = play(model, tokenizer, domain, list(domain.task_ids) * samples, 1.0, 1)
    by: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for name, plays in (("greedy", greedy), ("sampled", sampled)):
        for p in plays:
            split = "train" if p.task_id in domain.train_ids else "test"
            for key in (kind_of(p.task_id), f"ALL {split}"):
                by[key][name].append(p.outcome.reward)
                by[key][f"{name} partial"].append(partial_credit(p.outcome))
    columns = ("greedy", "sampled", "greedy partial", "sampled partial")
    print(f"{'kind':28s}" + "".join(f"{c:>17s}" for c in columns))
    for key, values in by.items():
        print(f"{key:28s}" + "".join(f"{statistics.mean(values[c]):17.2f}" for c in columns))
    for name, plays in (("greedy", greedy), ("sampled", sampled)):
        print(
            f"{name}: {statistics.mean(p.calls for p in plays):.2f} policy calls an episode,"
            f" {statistics.mean(p.output_tokens / p.calls for p in plays):.1f} output tokens a call,"
            f" {sum(p.malformed for p in plays)} malformed calls,"
            f" longest context {max(len(p.ids) for p in plays)} tokens"
        )
    print(f"{time.time() - began:.0f} s")


def reinforce(
    checkpoint: str, tokenizer: Any, domain: Domain, steps: int, reward: str, seed: int, rate: float, minibatch: int
) -> None:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    luck = random.Random(seed)
    base = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    layers = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules=layers))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], rate, (0.9, 0.99), weight_decay=0)
    order = [i for _ in range(9) for i in luck.sample(domain.train_ids, len(domain.train_ids))]
    curve = []
    for step in range(steps + 1):
        model.eval()
        test = play(model, tokenizer, domain, list(domain.test_ids), 0.0, 0)
        curve.append(statistics.mean(p.outcome.reward for p in test))
        if step == steps:
            break
        tasks = order[6 * step : 6 * step + 6]
        rollouts = play(model, tokenizer, domain, [t for t in tasks for _ in range(6)], 1.0, 1000 * seed + step)
        scores = [p.outcome.reward if reward == "binary" else partial_credit(p.outcome) for p in rollouts]
        kept, spread = [], 0
        for g in range(0, 36, 6):
            mean, std = statistics.mean(scores[g : g + 6]), statistics.pstdev(scores[g : g + 6])
            spread += std > 0
            group = zip(rollouts[g : g + 6], scores[g : g + 6], strict=True)
            kept += [(p, (s - mean) / (std + 1e-6)) for p, s in group if std > 0]
        old = [log_probs(model, p).detach() for p, _ in kept]
        batch = list(zip(kept, old, strict=True))
        luck.shuffle(batch)
        for start in range(0, len(batch), minibatch):
            optimizer.zero_grad()
            loss = torch.zeros(())
            for (p, advantage), before in batch[start : start + minibatch]:
                now = log_probs(model, p)
                ratio = (now.detach() - before).exp().clamp(max=5.0)  # CISPO: a clipped weight, a free gradient
                loss = loss - (ratio * advantage * now).mean() / minibatch
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        raw = statistics.mean(p.outcome.reward for p in rollouts)
        print(
            f"  seed {seed} {reward:7s} step {step}: train {statistics.mean(scores):.2f} raw {raw:.2f}"
            f" spread {spread}/6 test {curve[-1]:.2f}",
            flush=True,
        )
    print(f"seed {seed} {reward:7s} greedy test by step: " + " ".join(f"{x:.2f}" for x in curve), flush=True)
    by: dict[str, list[float]] = defaultdict(list)
    for p in test:
        by[kind_of(p.task_id)].append(p.outcome.reward)
    print("   wrong kinds:", {k: round(statistics.mean(v), 2) for k, v in by.items() if statistics.mean(v) < 1})


def log_probs(model: Any, p: Play) -> torch.Tensor:
    """Of the tokens that the policy wrote, (tokens,). The last context holds all earlier turns."""
    logits: torch.Tensor = model(torch.tensor([p.ids[:-1]])).logits[0]
    chosen = torch.tensor([t for a, b in p.trained for t in range(a, b)])
    return logits.log_softmax(-1)[chosen - 1, torch.tensor(p.ids)[chosen]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default=str(MICRO))
    parser.add_argument("--samples", type=int, default=6)
    parser.add_argument("--rl", type=int, default=0, help="REINFORCE steps of 6 groups x 6 rollouts")
    parser.add_argument("--reward", nargs="+", default=["partial"], choices=["partial", "binary"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--minibatch", type=int, default=12, help="trajectories per gradient step")
    options = parser.parse_args()
    torch.set_num_threads(1)
    domain = load_domain("mock")
    tokenizer = AutoTokenizer.from_pretrained(options.checkpoint)
    if not options.rl:
        model = AutoModelForCausalLM.from_pretrained(options.checkpoint, dtype=torch.float32).eval()
        report(model, tokenizer, domain, options.samples)
    for seed in range(options.seeds if options.rl else 0):
        for reward in options.reward:
            reinforce(options.checkpoint, tokenizer, domain, options.rl, reward, seed, options.rate, options.minibatch)


if __name__ == "__main__":
    main()
