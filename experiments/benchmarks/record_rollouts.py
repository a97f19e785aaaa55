"""Records what a real loop leaves behind, for silent_bugs.py: rollouts with the token ids that were served, sampled and
trained, log-probs of server and trainer, rewards, advantages, updates.

    PYTHONPATH=. .venv/bin/python experiments/benchmarks/record_rollouts.py --out results/probe_rollouts.jsonl.xz

All fixes on, policy micro on generated mock tasks, the real server and trainer. A line for each step of each run; the
first line holds what all steps share. Ten minutes on two cores. Further options are those of a sweep: in 16 bits
policy.path=harness/policy/micro/checkpoint policy.tool_parser=hermes policy.dtype=bfloat16.
"""

import argparse
import json
import lzma
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from experiments.benchmarks.overrides import replaced
from harness import loop
from harness.backend import Backend, ScoredReply
from harness.config import typed
from harness.evidence import RolloutTable, gather_evidence
from harness.launch.in_process import train_here
from harness.launch.one_run import untyped
from harness.launch.quiet import quiet
from harness.scoring import served_scores
from harness.seams import Names
from harness.sweep.plan import prepare

SMALL = ("env.tasks=45", "train.train_tasks=30", "validation.max_tasks=1", "validation.every=100", "tracking=off")


class Recorder:
    """Stands in the loop where it scores and where it gathers evidence, and keeps what passes there."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.scores: dict[tuple[int, str, int], tuple[list[float], list[float]]] = {}

    async def score(self, sampled: RolloutTable, asked: str, names: Names, backend: Backend, exact: bool) -> Any:
        found = await served_scores(sampled, asked, names, backend, exact)
        replies = {
            (one.key, n): ScoredReply(one.key, n, turn.prompt_ids, turn.output_ids)
            for one in sampled.asked.values()
            for n, turn in enumerate(one.episode.turns)
            if turn.prompt_ids
        }
        own = await backend.score(asked, list(replies.values()))
        rival = await backend.score(names.rival(asked), list(replies.values()))
        for place, a, b in zip(replies, own or (), rival or (), strict=True):
            self.scores[id(sampled), *place] = _rounded(a), _rounded(b)
        return found

    def gather(self, sampled: RolloutTable, metrics: Any, trained: Any, contexts: Any, **known: Any) -> Any:
        evidence = gather_evidence(sampled, metrics, trained, contexts, **known)
        episodes = {one.key: one for one in sampled.asked.values()}
        judged = contexts.judge(known["trained_contexts"], list(sampled.asked.values()))
        of_key: dict[str, list[Any]] = {}
        for context, found in zip(known["trained_contexts"], judged, strict=True):
            of_key.setdefault(found.key, []).append(context)
        assert set(of_key) <= set(episodes)
        self.steps.append(
            {
                "run": known["names"].pinned.partition("@")[0],
                "step": sampled.step,
                "groups": [
                    [self._row(sampled, task, number, of_key, known["names"]) for number in range(len(group))]
                    for task, group in zip(sampled.tasks, sampled.groups, strict=True)
                ],
                "update": {
                    "step": sampled.step + 1,
                    "gradient_steps": int(metrics.get("data/step_num_gradient_steps", 0)),
                    "trained_tokens": int(metrics.get("data/step_trainer_tokens", 0)),
                    "grad_norm": float(metrics.get("loss/grad_norm", 0.0)),
                    "weights_before": known["weights"](known["names"].current),
                    "weights_after": known["weights"](known["after"]),
                },
                "train_tasks": known["split"].train,
                "validation_tasks": known["split"].validation,
                **({} if known["exact"] else {"exact": False}),
            }
        )
        return evidence

    def _row(self, sampled: RolloutTable, task: str, number: int, of_key: Any, names: Names) -> dict[str, Any]:
        one = sampled.asked[task, number]
        (group,) = [g for g, t in zip(sampled.groups, sampled.tasks, strict=True) if t == task]
        episode = one.episode
        messages = [_message(episode.turns[m]) if isinstance(m, int) else m for m in episode.messages]
        left = of_key.get(one.key) or []
        context = left.pop(0) if left else None
        places = set(context.trained) if context else set()
        trained = (
            {
                "trained_ids": context.ids,
                "trained_mask": [int(n in places) for n in range(len(context.ids))],
                "advantage": round(context.advantage, 6),
            }
            if context
            else {}
        )
        return {
            "task": task,
            "messages": messages,
            "turns": [self._turn(sampled, one.key, n, turn, names) for n, turn in enumerate(episode.turns)],
            "reward": group.trajectories[number].reward,
            "success": episode.outcome.reward,
            "end": episode.end,
            **trained,
        }

    def _turn(self, sampled: RolloutTable, key: str, number: int, turn: Any, names: Names) -> dict[str, Any]:
        own, rival = self.scores.get((id(sampled), key, number), (None, None))
        return {
            "prompt_ids": turn.prompt_ids,
            "output_ids": turn.output_ids,
            "logprobs": _rounded(turn.logprobs),
            "adapter_logprobs": own,
            "base_logprobs": rival,
            "finish_reason": turn.finish_reason,
            "model": names.current,
            "temperature": turn.temperature,
        }


def _message(turn: Any) -> dict[str, Any]:
    calls = [
        {"id": c["id"], "type": "function", "function": {n: c[n] for n in ("name", "arguments")}}
        for c in turn.tool_calls
    ]
    return {"role": "assistant", "content": turn.content or ""} | ({"tool_calls": calls} if calls else {})


def _rounded(logprobs: Any) -> list[float]:
    return [round(float(p), 6) for p in np.asarray(logprobs)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("options", metavar="KEY=VALUE", nargs="*")
    options = parser.parse_args()
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        own = (*SMALL, f"train.steps={options.steps}", f"results={folder}", "sweep=record")
        runs = []
        for seed in range(options.seeds):
            cfg = untyped([*replaced(own, options.options), f"seed={seed}"])
            cfg.factors = [str(name) for name in cfg.fix if cfg.fix[name] is not None]
            runs.append(cfg)
        sweep, recorder = prepare(typed(*runs)), Recorder()
        with (
            patch.object(loop, "served_scores", recorder.score),
            patch.object(loop, "gather_evidence", recorder.gather),
        ):
            train_here(sweep, sweep.config.runs)
        domain = sweep.domain
    shared = {"tools": domain.tools, "known_tasks": [*domain.train_ids, *domain.test_ids]}
    steps = sorted(recorder.steps, key=lambda step: (step["run"], step["step"]))
    with lzma.open(options.out, "wt", preset=9) as file:
        file.writelines(json.dumps(line, separators=(",", ":")) + "\n" for line in (shared, *steps))
    print(f"{len(steps)} steps, {options.out.stat().st_size:,} bytes: {options.out}")


if __name__ == "__main__":
    main()
