"""A sweep on this node: plan, one engine, all runs interleaved on it, records, summary."""

import asyncio
import json
import logging
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.analysis.forecast import Plan, plan_lines
from harness.analysis.load import load_sweep
from harness.analysis.page import write_report
from harness.analysis.table import print_report
from harness.config import RunConfig
from harness.env import Domain, load_domain
from harness.errors import ConfigError, HarnessError
from harness.launch.plan import alone_in, sweep_name, write_plan
from harness.launch.progress import Progress
from harness.launch.spent import Spent
from harness.policy import Policy, load_policy
from harness.records import RunRecords, read_lines
from harness.validity import findings, invalid_factors, unequal_starts

if TYPE_CHECKING:
    from harness.engine.server import Server


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
    """Starts the engine and trains the runs, interleaved. Writes reuse.json when it ends, however it ends."""
    # torch, art, litellm and wandb load here, so that planning, help and errors stay quick.
    from harness.engine.server import Server, ServerConfig

    logs = sweep.folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    first, policy = configs[0], sweep.policy
    spent = Spent()
    server = Server(
        ServerConfig(
            path=policy.path,
            name=policy.name,
            tool_parser=policy.tool_parser,
            max_model_len=policy.max_model_len,
            dtype=policy.dtype,
            lora_rank=first.policy.lora_rank,
            max_loras=first.backend.max_loras,
            max_num_seqs=first.backend.in_flight,
            port=first.backend.port,
            log=logs / "vllm.log",
        )
    )
    terminal = sys.stdout
    with (
        open(logs / "harness.log", "a", buffering=1) as log,
        Progress(total_runs=len(configs), total_steps=len(configs) * first.train.steps) as progress,
    ):
        sys.stdout = log  # ART prints; the display belongs to us
        logging.basicConfig(filename=logs / "harness.log", level=logging.WARNING)
        logging.captureWarnings(True)
        try:
            progress.note("starting the vLLM server")
            loading = asyncio.create_task(asyncio.to_thread(_import_parts))
            async with server:
                await loading
                await _interleave(sweep, configs, server, progress, spent.counts)
        finally:
            sys.stdout = terminal
            spent.add_to(sweep.folder / "reuse.json")


def _import_parts() -> None:
    import harness.launch.runner  # noqa: F401 - imported while the server starts


async def _interleave(
    sweep: Sweep, configs: list[RunConfig], server: "Server", progress: Progress, counts: Counter[str]
) -> None:
    from harness.launch.runner import Runner
    from harness.tracking import Tracker, drain

    runner = Runner.build(sweep, configs[0], server, counts)

    async def one(config: RunConfig) -> None:
        run = config.run
        tracker = Tracker.start(
            run_name=run.name,
            arm=run.arm.name,
            seed=run.seed,
            sweep=sweep.name,
            config=config.resolved,
            levels=run.arm.as_dict,
            dir=sweep.folder,
            mode=config.tracking.mode,
        )
        views = {"steps": tracker.step, "validation": tracker.validation, "checks": lambda line: tracker.checks([line])}
        records = RunRecords(
            sweep.folder / "runs" / run.name,
            watch=lambda name, line: views[name](line),
            anew=not config.reuse.enabled,
        )
        started = time.perf_counter()
        progress.start_run(run.name)
        records.set_status(run=run.name, state="running")
        try:
            checks = await runner.run(config, records, progress)
            await server.check_base()  # before the run is called completed: nobody's adapter in the base's answers
        except asyncio.CancelledError:
            tracker.finish("stopped")
            raise
        except Exception as error:  # the run boundary: one failing run never stops the others
            print(traceback.format_exc())
            records.set_status(
                run=run.name,
                state="failed",
                error=str(error) if isinstance(error, HarnessError) else f"{type(error).__name__}: {error}",
                seconds=time.perf_counter() - started,
            )
            tracker.finish("failed")
            progress.finish_run(run.name, "failed", None)
            server.assert_alive()  # without a server no other run can go on
            return
        invalid = invalid_factors(checks, config.seams)
        validity = "INVALID" if invalid else "valid"
        records.set_status(
            run=run.name,
            state="completed",
            validity=validity,
            invalid=invalid,
            findings=findings(records.lines("steps"), run.arm),
            seconds=time.perf_counter() - started,
        )
        tracker.finish("completed", validity, [f"{i['factor']}: {i['reading']}" for i in invalid])
        progress.finish_run(run.name, "completed", validity)

    try:
        async with asyncio.TaskGroup() as group:
            for config in configs:
                group.create_task(one(config))
    except* HarnessError as errors:
        raise _first(errors) from None
    finally:
        _refute_unequal_starts(sweep)
    await asyncio.to_thread(drain)


def _first(errors: BaseExceptionGroup) -> BaseException:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


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
