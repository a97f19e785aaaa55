"""How fast the environment alone is, beside tau2's naive use of it.

    python experiments/benchmarks/env_speed.py [--domains retail mock] [--processes 16] [--seconds 5] [--out DIR]

An episode is a task's gold conversation: start, every gold tool call, the report of what was done, the user's stop, and
the outcome with all partial readings. Naive is what tau2 offers for the same: a new environment from its constructor,
the same calls, then its official evaluators. Both must give the same reward, or the benchmark fails. No model is asked.
Writes env_speed.json and env_speed.md to --out.
"""

import argparse
import importlib
import json
import multiprocessing
import os
import platform
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

from harness.env import DOMAINS, load_domain
from harness.env.domain import Domain, ScriptedConversation

NAIVE = {"mock": 30, "retail": 4, "airline": 2}  # episodes; one takes about 1 s on retail, 2.5 s on airline


def gold_episode(domain: Domain, task_id: str) -> tuple[ScriptedConversation, float]:
    """One gold conversation; the episode and its reward."""
    criteria = domain.world(task_id).task.evaluation_criteria
    assert criteria is not None
    episode = domain.scripted(task_id)
    for i, action in enumerate(criteria.actions or []):
        episode.call_tool(f"call_{i}", action.name, action.arguments)
    said: str | None = "Done: " + "; ".join(criteria.communicate_info or [])
    while said is not None:
        said = episode.answer(said)
        said = said and "ok"
    return episode, episode.outcome(stopped=True).reward


def naive_episode(
    name: str, domain: Domain, task_id: str, finished: ScriptedConversation
) -> tuple[float, float, float]:
    """The same conversation by tau2's own means; its reward, seconds to construct and play, seconds to evaluate."""
    from tau2.data_model.message import ToolMessage
    from tau2.evaluator.evaluator_action import ActionEvaluator
    from tau2.evaluator.evaluator_communicate import CommunicateEvaluator
    from tau2.evaluator.evaluator_env import EnvironmentEvaluator

    construct = importlib.import_module(f"tau2.domains.{name}.environment").get_environment
    task = domain.world(task_id).task
    begun = time.perf_counter()
    environment = construct()
    initial = task.initial_state
    environment.set_state(initial.initialization_data if initial else None, None, [])
    for message in finished.messages:
        if isinstance(message, ToolMessage):
            continue
        for call in getattr(message, "tool_calls", None) or []:
            environment.get_response(call)
    played = time.perf_counter()
    reward = EnvironmentEvaluator.calculate_reward(construct, task, finished.messages).reward
    reward *= CommunicateEvaluator.calculate_reward(task, finished.messages).reward
    if "ACTION" in [kind.value for kind in task.evaluation_criteria.reward_basis]:
        reward *= ActionEvaluator.calculate_reward(task, finished.messages).reward
    return reward, played - begun, time.perf_counter() - played


def rate(domain: Domain, seconds: float) -> tuple[float, float]:
    """Episodes and tool calls per second of this thread, after each task's gold changes are known."""
    for task_id in domain.task_ids:
        _ = domain.world(task_id).gold
    calls = 0
    begun = time.perf_counter()
    for episodes, task_id in enumerate(cycle(domain.task_ids), start=1):
        finished, _ = gold_episode(domain, task_id)
        calls += sum(bool(getattr(m, "tool_calls", None)) for m in finished.messages)
        spent = time.perf_counter() - begun
        if spent > seconds:
            return episodes / spent, calls / spent
    raise AssertionError("a domain has tasks")


def _work(name: str, seconds: float, ready: Any, results: Any) -> None:
    domain = load_domain(name)
    for task_id in domain.task_ids:
        _ = domain.world(task_id).gold
    ready.wait()
    results.put(rate(domain, seconds)[0])


def rate_of_processes(name: str, count: int, seconds: float) -> float:
    """Episodes per second of all processes together, all of them busy at the same time."""
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(count), context.Queue()
    workers = [context.Process(target=_work, args=(name, seconds, ready, results)) for _ in range(count)]
    for worker in workers:
        worker.start()
    total: float = sum(results.get(timeout=300) for _ in workers)
    for worker in workers:
        worker.join()
    return total


def measure(name: str, processes: int, seconds: float) -> dict[str, Any]:
    """All figures of one domain. Raises SystemExit when a reward differs from the official one."""
    begun = time.perf_counter()
    domain = load_domain(name)
    loaded = time.perf_counter() - begun
    begun = time.perf_counter()
    for task_id in domain.task_ids:
        _ = domain.world(task_id).gold
    gold = time.perf_counter() - begun
    episodes, calls = rate(domain, seconds)
    print(f"{name}: {episodes:.0f} episodes/s on one thread", flush=True)
    naive = [_compared(name, domain, task_id) for task_id in domain.task_ids[: NAIVE[name]]]
    construct, evaluate = (sum(column) / len(naive) for column in zip(*naive, strict=True))
    print(f"{name}: naive {1 / (construct + evaluate):.2f} episodes/s; {processes} processes next", flush=True)
    together = rate_of_processes(name, processes, seconds)
    return {
        "domain": name,
        "tasks": len(domain.task_ids),
        "load_seconds": loaded,
        "gold_seconds": gold,
        "episodes_per_second": episodes,
        "tool_calls_per_second": calls,
        "processes": processes,
        "episodes_per_second_processes": together,
        "naive_construct_and_play_seconds": construct,
        "naive_evaluate_seconds": evaluate,
        "naive_episodes_per_second": 1 / (construct + evaluate),
        "times_naive": episodes * (construct + evaluate),
    }


def _compared(name: str, domain: Domain, task_id: str) -> tuple[float, float]:
    finished, reward = gold_episode(domain, task_id)
    official, construct, evaluate = naive_episode(name, domain, task_id, finished)
    if reward != official:
        raise SystemExit(f"{name} task {task_id}: reward {reward}, and tau2's evaluators say {official}.")
    return construct, evaluate


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The Markdown table, line by line."""
    yield "| domain | load + gold, s | episodes/s, 1 thread | ms each | episodes/s, processes | tau2's way | ratio |"
    yield "|---|---|---|---|---|---|---|"
    for r in rows:
        yield (
            f"| {r['domain']} | {r['load_seconds']:.1f} + {r['gold_seconds']:.1f} | {r['episodes_per_second']:.0f} | "
            f"{1e3 / r['episodes_per_second']:.2f} | {r['episodes_per_second_processes']:.0f} ({r['processes']}) | "
            f"{r['naive_episodes_per_second']:.2f} | {r['times_naive']:.0f} × |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domains", nargs="+", choices=DOMAINS, default=["retail", "mock", "airline"])
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--out", type=Path, help="folder for env_speed.json and env_speed.md")
    options = parser.parse_args()
    rows = [measure(name, options.processes, options.seconds) for name in options.domains]
    lines = list(table(rows))
    print("\n".join(lines))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        machine = {"machine": platform.machine(), "cpus": os.cpu_count(), "python": platform.python_version()}
        content = {"machine": machine, "domains": rows}
        (options.out / "env_speed.json").write_text(json.dumps(content, indent=1) + "\n")
        text = f"The environment alone, {os.cpu_count()} CPUs, CPython {platform.python_version()}.\n\n"
        (options.out / "env_speed.md").write_text(text + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
