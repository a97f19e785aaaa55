"""A sweep on this node: plan, one engine, all runs interleaved on it, records, summary."""

import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.analysis.forecast import Plan, plan_lines
from harness.analysis.load import load_sweep
from harness.analysis.page import write_report
from harness.analysis.table import print_report
from harness.config import RunConfig
from harness.env import Domain, load_domain
from harness.errors import ConfigError
from harness.launch.plan import alone_in, sweep_name, write_plan
from harness.launch.progress import Progress
from harness.launch.spent import Spent
from harness.launch.worker import only, work
from harness.policy import Policy, load_policy
from harness.records import RunRecords, read_lines
from harness.validity import unequal_starts


@dataclass(frozen=True)
class Sweep:
    """A planned sweep: its folder, its runs, and the parts that all of them share."""

    name: str
    folder: Path
    configs: tuple[RunConfig, ...]
    domain: Domain
    policy: Policy
    reference_ids: tuple[str, ...]


def execute(configs: Sequence[RunConfig], name: str | None, plan_only: bool = False) -> int:
    """Runs a sweep, or what is left of it; 0, or 1 if a run failed. Everything wrong with the input is
    raised as ConfigError before the engine starts."""
    sweep = prepare(configs, name)
    open_runs = [c for c in sweep.configs if not _completed(sweep.folder, c)]
    print(
        f"{sweep.folder}: {len(sweep.configs)} runs planned, {len(open_runs)} to do "
        f"({sweep.configs[0].train.steps} steps each, domain {sweep.domain.name}, policy {sweep.policy.name})",
        flush=True,
    )
    if plan_only:
        print("\n".join(plan_lines(_plan(sweep))))
        return 0
    if open_runs:
        with alone_in(sweep.folder):
            asyncio.run(_run_all(sweep, open_runs))
    records = load_sweep(sweep.folder)
    write_report(records)
    print_report(records)
    print(f"report: {sweep.folder / 'report.html'}   plots: {sweep.folder / 'figures'}")
    failed = [c for c in sweep.configs if not _completed(sweep.folder, c)]
    return 1 if failed else 0


def _plan(sweep: Sweep) -> Plan:
    first = sweep.configs[0]
    return Plan(
        runs=tuple(c.run for c in sweep.configs),
        steps=first.train.steps,
        validate_every=first.validation.every,
        episodes=first.train.groups_per_step * first.train.rollouts_per_group,
        tasks=len(sweep.reference_ids),
        policy=sweep.policy.name,
        domain=sweep.domain.name,
        reuse=first.reuse.enabled,
        results=first.results,
    )


def prepare(configs: Sequence[RunConfig], name: str | None) -> Sweep:
    """Loads the domain and the policy and writes the plan. Raises ConfigError."""
    first = configs[0]
    if any(c.shared() != first.shared() for c in configs):
        raise ConfigError(
            "The runs of a sweep may differ in their fixes and seeds only. Give every other option one value, "
            "and start one sweep per value."
        )
    if len({c.run.name for c in configs}) < len(configs):
        raise ConfigError("The same run is asked for twice; each arm needs each seed once.")
    domain = load_domain(first.env.domain, tasks=first.env.tasks, seed=first.env.task_seed)
    reference = domain.test_ids[: first.validation.max_tasks]
    if not reference:
        raise ConfigError(
            f"Domain {domain.name} has no held-out task with {len(domain.task_ids)} tasks in all; "
            "the reference validation needs some. Raise env.tasks."
        )
    train_ids = _training_ids(configs, domain, reference)
    policy = load_policy(first.policy.name)
    _fits(domain, policy, first)
    name = sweep_name(configs, name)
    folder = first.results / name
    content = {"policy": policy.digest, "domain": domain.digest}
    write_plan(folder, name, configs, train_ids, reference, content)
    return Sweep(name, folder, tuple(configs), domain, policy, tuple(reference))


def _training_ids(configs: Sequence[RunConfig], domain: Domain, reference: Sequence[str]) -> tuple[str, ...]:
    """The tasks to train on. Raises ConfigError if the ruler would be trained on, or a split switch cannot act."""
    train = configs[0].train
    seams = {c.seams.split.level: c.seams.split for c in configs}
    splits = {
        level: seam.split(domain.index_order, train.train_tasks, train.val_tasks) for level, seam in seams.items()
    }
    for level, split in splits.items():
        if shared := set(split.train) & set(reference):
            raise ConfigError(
                f"train.train_tasks={train.train_tasks} reaches into the held-out tasks of domain {domain.name} "
                f"({len(shared)} of {len(reference)}); it has {len(domain.train_ids)} training tasks. Lower it."
            )
        if level == "off" and None not in split.validation:
            raise ConfigError(
                f"fix/split=off would have no effect: {train.train_tasks} + {train.val_tasks} ids fit into the "
                f"{len(domain.index_order)} tasks of domain {domain.name}. Raise train.val_tasks, or use fix/split=on."
            )
    return next(iter(splits.values())).train


def _fits(domain: Domain, policy: Policy, config: RunConfig) -> None:
    """Raises ConfigError if the domain's policy text and tools leave no room in the model's context."""
    from tokenizers import Tokenizer

    text = domain.system_prompt + json.dumps(domain.tools)
    tokens = len(Tokenizer.from_file(str(policy.path / "tokenizer.json")).encode(text).ids)
    if tokens + config.rollout.max_tokens > policy.max_model_len:
        raise ConfigError(
            f"env={domain.name} opens with about {tokens} tokens (policy text and tools), and policy={policy.name} "
            f"has room for {policy.max_model_len}. Choose a policy with a longer context, or env=mock."
        )


def _completed(folder: Path, config: RunConfig) -> bool:
    path = folder / "runs" / config.run.name / "status.json"
    return path.exists() and json.loads(path.read_text())["state"] == "completed"


async def _run_all(sweep: Sweep, configs: list[RunConfig]) -> None:
    """One engine trains the runs. Writes reuse.json when it ends, however it ends."""
    logs = sweep.folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    spent = Spent()
    terminal = sys.stdout
    with (
        open(logs / "harness.log", "a", buffering=1) as log,
        Progress(total_runs=len(configs), total_steps=len(configs) * configs[0].train.steps) as progress,
    ):
        sys.stdout = log  # ART prints; the display belongs to us
        logging.basicConfig(filename=logs / "harness.log", level=logging.WARNING)
        logging.captureWarnings(True)
        try:
            await work(sweep, only(configs), progress, spent.counts, logs)
        finally:
            sys.stdout = terminal
            spent.add_to(sweep.folder / "reuse.json")
            _refute_unequal_starts(sweep)


def _refute_unequal_starts(sweep: Sweep) -> None:
    """Marks runs INVALID whose step-0 reference validation is not that of the other arms of their seed."""
    for seed in {c.run.seed for c in sweep.configs}:
        names = [c.run.name for c in sweep.configs if c.run.seed == seed]
        lines = {name: read_lines(sweep.folder / "runs" / name / "validation.jsonl") for name in names}
        starts = {name: found[0]["reference"]["by_task"] for name, found in lines.items() if found}
        for name, reading in unequal_starts(starts).items():
            records = RunRecords(sweep.folder / "runs" / name)
            status = records.status() or {"run": name}
            others = [i for i in status.get("invalid", []) if i["factor"] != "engine"]
            invalid = [*others, {"factor": "engine", "reading": reading}]
            records.set_status(**status | {"validity": "INVALID", "invalid": invalid})
