"""Read a sweep folder. The records are the truth; nothing here writes.

A sweep may be read at any moment of its life: planned, running, killed, finished. So a missing file
is an empty one, a line that a crash tore apart is skipped and counted, and a step that a replay
wrote twice counts once (the later line wins).
"""

import json
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import ConfigError
from harness.factors import Factor, Factors

Record = dict[str, Any]
STATES = ("completed", "running", "failed", "missing")


@dataclass(frozen=True)
class RecordedValidation:
    """One validation of one run, as read back. Rewards are means in 0..1, None where there is no reading."""

    step: int
    reference: float | None
    by_task: dict[str, float | None]
    missing: int
    reported: float | None
    reported_n: int
    nonexistent: int

    @property
    def asked(self) -> int:
        """Episodes that it takes."""
        return len(self.by_task) + self.reported_n - self.nonexistent


@dataclass(frozen=True)
class RecordedCheck:
    """One reading of one manipulation check, as read back. `took_effect` None: nothing to judge at that step."""

    step: int
    factor: str
    level: str
    reading: dict[str, float | None]
    took_effect: bool | None
    text: str


@dataclass(frozen=True)
class RecordedRun:
    """All that is known about one run (arm x seed). `state` is one of STATES."""

    name: str
    arm: str
    seed: int
    levels: dict[str, str]
    folder: Path
    state: str
    valid: bool
    invalid: tuple[tuple[str, str], ...]  # (factor, the reading that shows it)
    findings: tuple[str, ...]
    error: str | None
    seconds: float | None
    steps: tuple[Record, ...]  # as written to steps.jsonl, by step
    validations: tuple[RecordedValidation, ...]  # by step
    checks: tuple[RecordedCheck, ...]  # by step
    unreadable_lines: int


@dataclass(frozen=True)
class SweepRecords:
    """A sweep: its manifest, the runs that were planned (in plan order), what the store counted."""

    name: str
    folder: Path
    manifest: Record
    factors: tuple[str, ...]
    runs: tuple[RecordedRun, ...]
    reuse: Record

    @property
    def declared(self) -> Factors:
        """The factors as the sweep keeps them. Of one that kept none, the names: nothing is assumed of them."""
        kept = self.manifest.get("factors")
        return Factors(tuple(map(Factor.from_record, kept))) if kept else Factors.named(self.factors)

    @property
    def design(self) -> str:
        """The ablation's name; empty where the arms were chosen on the command line."""
        return str(self.manifest.get("design") or "")

    @property
    def arms(self) -> tuple[str, ...]:
        """Arm names in plan order."""
        return tuple(dict.fromkeys(run.arm for run in self.runs))

    def runs_of(self, arm: str) -> tuple[RecordedRun, ...]:
        return tuple(run for run in self.runs if run.arm == arm)

    @property
    def split(self) -> str:
        """Which tasks the reference ruler has: those held out (test) or those trained on (train)."""
        return ((self.manifest.get("config") or {}).get("validation") or {}).get("split", "test")

    @property
    def total_steps(self) -> int | None:
        """Training steps that each run was planned to take, where the manifest says so."""
        steps = self.manifest.get("steps")
        return int(steps) if isinstance(steps, int | float) else None


def load_sweep(folder: Path | str) -> SweepRecords:
    """Read `results/<sweep>`. Raises ConfigError if the folder is no sweep."""
    folder = Path(folder)
    if not (folder / "plan.jsonl").is_file():
        raise ConfigError(_no_sweep(folder))
    plan, _ = read_lines(folder / "plan.jsonl")
    if not plan:
        raise ConfigError(
            f"{folder / 'plan.jsonl'} holds no readable run. Expected one JSON object a line with "
            "`run`, `arm`, `levels`, `seed`. Start the sweep again: it writes its plan first."
        )
    manifest = read_object(folder / "manifest.json")
    factors = tuple(dict.fromkeys(factor for line in plan for factor in line.get("levels", {})))
    return SweepRecords(
        name=str(manifest.get("sweep") or folder.resolve().name),
        folder=folder,
        manifest=manifest,
        factors=factors,
        runs=tuple(load_run(folder, line) for line in _last_by(lambda r: r.get("run"), plan)),
        reuse=read_object(folder / "reuse.json"),
    )


def load_run(sweep: Path, plan: Record) -> RecordedRun:
    """Read the folder of one planned run; a run that never started has the state `missing`."""
    folder = sweep / "runs" / str(plan["arm"]) / f"seed={plan['seed']}"
    status = read_object(folder / "status.json")
    steps, torn_steps = read_lines(folder / "steps.jsonl")
    validations, torn_validations = read_lines(folder / "validation.jsonl")
    checks, torn_checks = read_lines(folder / "checks.jsonl")
    started = bool(status or steps or validations)
    state = status.get("state", "running" if started else "missing")
    return RecordedRun(
        name=str(plan.get("run", f"{plan['arm']}/seed={plan['seed']}")),
        arm=str(plan["arm"]),
        seed=int(plan["seed"]),
        levels=dict(plan.get("levels", {})),
        folder=folder,
        state=state if state in STATES else "running",
        valid=status.get("validity") != "INVALID",  # a running or failed run has no verdict yet
        invalid=tuple(
            (str(item.get("factor", "?")), str(item.get("reading", ""))) for item in status.get("invalid") or ()
        ),
        findings=tuple(str(text) for text in status.get("findings") or ()),
        error=status.get("error"),
        seconds=status.get("seconds"),
        steps=_in_order(steps, lambda r: r["step"]),
        validations=tuple(_validation(r) for r in _in_order(validations, lambda r: r["step"])),
        checks=tuple(_check(r) for r in _in_order(checks, lambda r: (r["step"], r.get("factor")))),
        unreadable_lines=torn_steps + torn_validations + torn_checks,
    )


def read_lines(path: Path) -> tuple[list[Record], int]:
    """(records, number of unreadable lines) of a JSONL file; NaN and Infinity become None."""
    if not path.is_file():
        return [], 0
    records, unreadable = [], 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.strip():
            continue
        try:
            record = json.loads(line, parse_constant=lambda _: None)
        except json.JSONDecodeError:
            record = None
        if isinstance(record, dict):
            records.append(record)
        else:
            unreadable += 1
    return records, unreadable


def read_object(path: Path) -> Record:
    """The JSON object in a file; empty where the file is missing or half-written."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _validation(record: Record) -> RecordedValidation:
    reference, reported = record.get("reference") or {}, record.get("reported") or {}
    return RecordedValidation(
        step=int(record["step"]),
        reference=reference.get("mean"),
        by_task=dict(reference.get("by_task") or {}),
        missing=int(reference.get("missing") or 0),
        reported=reported.get("mean"),
        reported_n=int(reported.get("n") or 0),
        nonexistent=int(reported.get("nonexistent") or 0),
    )


def _check(record: Record) -> RecordedCheck:
    return RecordedCheck(
        step=int(record["step"]),
        factor=str(record.get("factor", "?")),
        level=str(record.get("level", "?")),
        reading=dict(record.get("reading") or {}),
        took_effect=record.get("took_effect"),
        text=str(record.get("text", "")),
    )


def _last_by(key: Callable[[Record], Hashable], records: Iterable[Record]) -> list[Record]:
    return list({key(record): record for record in records}.values())


def _in_order(records: Iterable[Record], key: Callable[[Record], Any]) -> tuple[Record, ...]:
    whole = [record for record in records if isinstance(record.get("step"), int)]
    return tuple(sorted(_last_by(key, whole), key=lambda record: int(record["step"])))


def _no_sweep(folder: Path) -> str:
    expected = "Expected a sweep folder: plan.jsonl, manifest.json and runs/."
    if not folder.is_dir():
        what, near = f"There is no folder {folder}.", folder.parent
    else:
        what, near = f"{folder} is no sweep folder: it has no plan.jsonl.", folder
    sweeps = sorted(path.parent for path in near.glob("*/plan.jsonl"))[:5]
    if sweeps:
        return f"{what} {expected} Sweeps nearby: {', '.join(map(str, sweeps))}."
    return f"{what} {expected} `python -m harness +ablation=smoke` makes one under results/."
