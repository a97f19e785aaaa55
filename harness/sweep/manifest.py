"""The plan of a sweep, written before anything runs. A folder mixes no configurations, and sources only if asked to."""

import fcntl
import hashlib
import json
import os
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from harness.blocks import NONE
from harness.config import MIXED, NEWER, RunConfig, SweepConfig
from harness.disk import writing
from harness.errors import ConfigError, StoreError
from harness.factors import NOTE
from harness.machine.gpu import gpus
from harness.machine.inventory import cpu
from harness.printed import plain
from harness.records.archive import unpack
from harness.records.layout import SweepFiles
from harness.records.links import refuse_links
from harness.records.looks import plan_more_seeds
from harness.records.schema import PlannedRun, Record, TaskGroups
from harness.sweep.block_records import joined, recorded, stored_config, unlike
from harness.sweep.source import Source, commit, differences, git, joined_sources, listed, versions

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
    source: Source | None = None,
    task_groups: TaskGroups | None = None,
    bounds: tuple[float, float] | None = None,
    certificate: Record | None = None,
) -> str | None:
    """Writes manifest.json and plan.jsonl; the name of the source in the manifest. Raises ConfigError for a folder that
    holds another configuration, or runs of another source without `resume=mixed`.

    content: digests of what the configuration only names: the policy's files, the domain's tasks and tools.
    source: None: it is not recorded
    task_groups, bounds: as the environment declares them, no part of the configuration: a sweep keeps those of its plan
    certificate: how far answers in company differ from answers alone, where that was measured on this machine
    Runs may be added to a folder (more seeds, arms, blocks); what a run is may not change. A sweep that is archived is
    unpacked where there is something to compute.
    """
    refuse_links(folder)
    refuse_full_disk(folder)
    files = SweepFiles(folder)
    planned, torn = files.plan_and_torn()
    if planned and not files.manifest_path.exists():
        raise StoreError(
            f"{folder} has a plan and no manifest.json, which says what its runs are. Take it from a backup or from "
            "git, or start the sweep in another folder (sweep=NAME)."
        )
    of_blocks = {each.block.name: _identity(each.shared) for each in config.runs}
    if files.is_begun():
        refuse_another(folder, config, content, source)
        kept = files.manifest()
        now = joined(kept, recorded(config, kept["config"], of_blocks)) | {"content": content | kept["content"]}
        if now != kept:
            files.write_manifest(now)
        plan_more_seeds(files, {each.run.seed for each in config.runs})
    else:
        manifest = _manifest(name, config, train_ids, reference_ids) | {"design": design, "content": content}
        manifest |= {"task_groups": task_groups} if task_groups else {}
        manifest |= {"bounds": list(bounds)} if bounds else {}
        files.write_manifest(manifest | recorded(config, manifest["config"], of_blocks))
    name_of_source = _record_start(files, config, source, certificate)
    if files.archived and _is_open(files, config):
        unpack(folder)
        print(f"{folder} was archived; its records are in {folder / 'runs'} again, to be continued.", flush=True)
    for each in config.runs:
        run = each.run
        digest = config_digest(config, each)
        planned[run.name] = PlannedRun(run.name, run.arm.name, run.arm.as_dict, run.seed, digest, run.block)
        if not files.config(run.name):
            files.run(run.name).write_config(config.resolved(each))
    files.write_plan(planned.values())
    if torn:
        print(
            f"{files.plan_path} had {torn} torn line{'s' * (torn > 1)}, written anew for the runs of this command. "
            "Runs of earlier commands that are no longer in it come back when their command is started again.",
            flush=True,
        )
    return name_of_source


def _record_start(
    files: SweepFiles, config: SweepConfig, source: Source | None, certificate: Record | None
) -> str | None:
    """Adds a start that has something to compute, its source and its certificate, to the manifest; the source's name
    there."""
    if source is None or not _is_open(files, config):
        return None
    manifest = files.manifest()
    name, known = joined_sources(manifest if _is_begun(files) else {}, source)
    start: Record = {"command": typed_command(), "at": _now(), "source": name}
    start |= {"certificate": certificate} if certificate else {}
    starts = [*manifest.get("starts", ()), start]
    files.write_manifest(manifest | {"source": name, "sources": known, "starts": starts})
    return name


def record_end(folder: Path) -> None:
    """That the last start has ended by itself: one that was killed never says what it cost."""
    files = SweepFiles(folder)
    manifest = files.manifest()
    if starts := manifest.get("starts"):
        files.write_manifest(manifest | {"starts": [*starts[:-1], starts[-1] | {"ended": _now()}]})


def _is_begun(files: SweepFiles) -> bool:
    """Whether something was computed."""
    return any(files.status(run) or files.run(run).status.exists() for run in files.plan())  # a damaged one counts


def _is_open(files: SweepFiles, config: SweepConfig) -> bool:
    return not all(files.is_completed(each.run.name) for each in config.runs)


def refuse_full_disk(folder: Path) -> None:
    if shutil.disk_usage(_existing(folder)).free < NEEDED_BYTES:
        raise ConfigError(f"Less than 1 GiB is free for {folder}. Free some space, or choose results=<folder>.")


def refuse_another(folder: Path, config: SweepConfig, content: dict[str, str], source: Source | None = None) -> None:
    """Raises ConfigError for a folder that holds another configuration, or runs of another source where runs are left
    to do; nothing for one that holds none."""
    files = SweepFiles(folder)
    if not files.is_begun():
        return
    if differences := _differences(files, config, content):
        raise ConfigError(
            f"{folder} holds results of another configuration:\n  "
            + "\n  ".join(differences[:12])
            + f"\nChoose another folder (sweep=<name>), or delete {folder} to start over."
        )
    if source and config.resume != MIXED and _is_begun(files) and _is_open(files, config):
        _refuse_another_source(files, source)


def _refuse_another_source(files: SweepFiles, source: Source) -> None:
    manifest = files.manifest()
    kept = (manifest.get("sources") or {}).get(manifest.get("source"), {"git": manifest.get("git")})
    if lines := differences(kept, source):
        place = commit(kept)
        raise ConfigError(
            f"{files.folder} was computed with another source, and runs are left to do:\n  {listed(lines)}\n"
            f"Go back to that source{f' ({place})' if place else ''}, or start anew with sweep=<name>. The same "
            "command with resume=mixed goes on; the report then says which runs come from which source."
        )


def check_plan(
    folder: Path, config: SweepConfig, content: dict[str, str], source: Source | None = None, name: str | None = None
) -> None:
    """Raises ConfigError where this machine's files, versions, policy or tasks are not those of the plan in the folder.

    name: of the start's source in the manifest
    """
    files = SweepFiles(folder)
    lines = _differences(files, config, content)
    if source and name:
        lines += differences(files.manifest()["sources"][name], source)
    if lines:
        raise ConfigError(
            f"{platform.node()} cannot take part in {folder}:\n  {listed(lines)}\n"
            "Have the same files and versions there; `python -m harness doctor` shows versions."
        )


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Holds the sweep's folder for this process; makes it where there is none, and takes it back if nothing was put in.

    Raises ConfigError while another process computes in it, and for a link in it that leads out; changes nothing then.
    """
    refuse_links(folder)
    there = folder.is_dir()
    path = folder / ".lock"
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    if not _taken(lock, path):
        os.close(lock)
        raise ConfigError(
            f"Another process is computing in {folder}. Wait for it, or choose another folder (sweep=<name>)."
        )
    try:
        yield
    finally:
        if not there and [each.name for each in folder.glob("*")] == [path.name]:
            path.unlink()
            folder.rmdir()
        os.close(lock)


def _taken(lock: int, path: Path) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # a file system without locks: what is computed twice is stored once
        print(f"warning: {path.parent} cannot be locked ({error.strerror}): start no second sweep in it.", flush=True)
    return path.exists() and os.path.samestat(os.fstat(lock), path.stat())  # not one that was just taken back


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


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def typed_command() -> str:
    """As it was typed, to be typed again: Hydra is given other arguments (launch/command_line.py)."""
    given, place = sys.orig_argv, 1
    while place < len(given) and given[place].startswith("-") and given[place] not in ("-m", "-c"):
        place += 2 if given[place] in ("-X", "-W") else 1  # Python's own options
    place += 2 if given[place : place + 1] in (["-m"], ["-c"]) else 1
    return shlex.join(["python", "-m", "harness", *given[place:]])


def _manifest(name: str, config: SweepConfig, train_ids: Sequence[str], reference_ids: Sequence[str]) -> Record:
    return {
        "sweep": name,
        "created": _now(),
        "command": typed_command(),
        "versions": versions(),
        "git": git(),
        "machine": {
            "cpu": cpu(),
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


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None
