"""Read a sweep, live or archived. The records are the truth; nothing here writes, and
what is handed on has no control characters.

A sweep may be read at any moment of its life: planned, running, killed, finished, archived. So a missing file
is an empty one, a line that a crash tore apart is skipped and counted, and a step that a replay
wrote twice counts once (the later line wins).
"""

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from harness.errors import ConfigError, visible
from harness.factors import NOTE, Factor, Factors
from harness.records.json_files import parse_lines
from harness.records.layout import SweepFiles
from harness.records.schema import (
    CheckRecord,
    PlannedRun,
    Record,
    RunContent,
    StatusRecord,
    StepRecord,
    TaskGroups,
    ValidationRecord,
    not_shown,
)

SCRIPTED: dict[str, Any] = {"kind": "scripted"}  # the user of sweeps that name none
MARGIN = 0.05  # of sweeps that were made before it could be chosen
MOCK_KINDS = 15  # of the tasks mock_000, mock_001, …, one after the other


def user_of(manifest: Record) -> dict[str, Any]:
    """Who talked to the policy in a sweep, by its manifest."""
    declared = (manifest.get("content") or {}).get("user")
    named = next(iter(parse_lines(str(declared))[0]), None) if declared else (manifest.get("config") or {}).get("user")
    return named if isinstance(named, dict) else dict(SCRIPTED)


@dataclass(frozen=True)
class RecordedRun:
    """All that is known about one run (arm x seed; block: empty without blocks). `state` is one of schema.STATES."""

    name: str
    arm: str
    seed: int
    levels: dict[str, str]
    state: str
    valid: bool
    invalid: tuple[tuple[str, str], ...]  # (factor, the reading that shows it)
    findings: tuple[str, ...]
    error: str | None
    seconds: float | None
    ended_at: int | None  # the step at which its loop ended by itself, earlier than planned
    steps: tuple[StepRecord, ...]  # by step
    validations: tuple[ValidationRecord, ...]  # by step
    checks: tuple[CheckRecord, ...]  # by step
    unreadable_lines: int
    block: str = ""
    sources: tuple[str, ...] = ()  # names of those that it comes from, in the manifest

    @property
    def not_shown(self) -> tuple[str, ...]:
        """Factors of the arm that were checked, and whose switch neither a step nor all together could judge."""
        return tuple(factor for factor in not_shown(self.checks) if factor in self.levels)


@dataclass(frozen=True)
class SweepRecords:
    """A sweep: its manifest, the runs that were planned (in plan order), what the store counted.

    runs: those that effects are made of; controls: the negative controls, which no effect, claim or ranking may use
    """

    name: str
    folder: Path
    manifest: Record
    factors: tuple[str, ...]
    runs: tuple[RecordedRun, ...]
    reuse: Record
    controls: tuple[RecordedRun, ...] = ()
    torn_plan_lines: int = 0  # the runs that they name are not among these

    @property
    def with_controls(self) -> "SweepRecords":
        """The sweep with its negative controls among the runs: for what lists runs and compares none."""
        return replace(self, runs=(*self.runs, *self.controls), controls=())

    @property
    def declared(self) -> Factors:
        """The factors as the sweep keeps them. Of one that kept none, the names: nothing is assumed of them."""
        kept = self.manifest.get("factors")
        return Factors(tuple(map(Factor.from_record, kept))) if kept else Factors.named(self.factors)

    @property
    def user(self) -> dict[str, Any]:
        """Who talked to the policy: whom the environment declared, else whom the configuration named."""
        return user_of(self.manifest)

    @property
    def baseline(self) -> str:
        """Which loop `off` means; a sweep that was recorded without one is of the note's."""
        return str(self.manifest.get("baseline") or NOTE)

    @property
    def design(self) -> str:
        """The ablation's name; empty where the arms were chosen on the command line."""
        return str(self.manifest.get("design") or "")

    @property
    def arms(self) -> tuple[str, ...]:
        """Arm names in plan order."""
        return tuple(self._by_arm)

    def runs_of(self, arm: str) -> tuple[RecordedRun, ...]:
        return tuple(self._by_arm.get(arm, ()))

    @cached_property
    def _by_arm(self) -> dict[str, list[RecordedRun]]:
        by_arm: dict[str, list[RecordedRun]] = {}
        for run in self.runs:
            by_arm.setdefault(run.arm, []).append(run)
        return by_arm

    @property
    def blocks(self) -> tuple[str, ...]:
        """Block names in plan order; one empty name for a sweep without blocks."""
        return tuple(dict.fromkeys(run.block for run in self.runs))

    @property
    def main_block(self) -> str:
        """The block that has the default values of what the blocks differ in, else the first one."""
        named = str(self.manifest.get("main_block") or "")
        return named if named in self.blocks else self.blocks[0]

    @property
    def main(self) -> "SweepRecords":
        """The main block as a sweep: what is said of a sweep when no block is named."""
        return self.of_block(self.main_block)

    def of_block(self, name: str) -> "SweepRecords":
        """The runs of one block as an ordinary sweep, with the block's values in its configuration. Raises KeyError."""
        if name not in self.blocks:
            raise KeyError(f"{self.name} has no block {name!r}; blocks: {', '.join(self.blocks)}")
        own = (self.manifest.get("blocks") or {}).get(name) or {}
        config = merged(self.manifest.get("config") or {}, own.get("config") or {})
        manifest = self.manifest | ({"config": config} if own else {})
        runs, controls = (tuple(run for run in each if run.block == name) for each in (self.runs, self.controls))
        return replace(self, manifest=manifest, runs=runs, controls=controls)

    def options_of(self, block: str) -> Record:
        """What sets a block apart: option -> value; {} for a sweep without blocks."""
        return dict(((self.manifest.get("blocks") or {}).get(block) or {}).get("options") or {})

    @property
    def split(self) -> str:
        """Which tasks the reference validation has: those held out (test) or those trained on (train)."""
        return str(((self.manifest.get("config") or {}).get("validation") or {}).get("split", "test"))

    @property
    def task_groups(self) -> TaskGroups:
        """Which tasks are variants of one another. A manifest that is older than this has them by the ids of domain
        mock, whose numbers walk through the kinds; of other domains it has none."""
        manifest = self.manifest
        if "task_groups" in manifest or ((manifest.get("config") or {}).get("env") or {}).get("domain") != "mock":
            return dict(manifest.get("task_groups") or {})
        ids = [str(task) for key in ("train_ids", "reference_ids") for task in manifest.get(key) or ()]
        return {task: f"kind {int(task[5:]) % MOCK_KINDS}" for task in ids if re.fullmatch(r"mock_\d+", task)}

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Mean rewards on the reference tasks of an agent that does nothing, and of one that makes no mistake."""
        kept = self.manifest.get("bounds")
        return (float(kept[0]), float(kept[1])) if isinstance(kept, list) and len(kept) == 2 else None

    @property
    def margin(self) -> float:
        """What the sweep was to call next to nothing (stats.margin), in reward."""
        return float(((self.manifest.get("config") or {}).get("stats") or {}).get("margin", MARGIN))

    @property
    def threshold(self) -> float | None:
        """The reward at which the sweep was to call an arm there (stats.threshold); None: not chosen."""
        chosen = ((self.manifest.get("config") or {}).get("stats") or {}).get("threshold")
        return None if chosen is None else float(chosen)

    @property
    def total_steps(self) -> int | None:
        """Training steps that each run was planned to take, where the manifest says so."""
        steps = self.manifest.get("steps")
        return int(steps) if isinstance(steps, int | float) else None

    def config_of(self, run: RecordedRun) -> Record:
        """The resolved configuration of a run as plain data; {} where none was kept."""
        return SweepFiles(self.folder).config(run.name)

    def rollouts(self) -> list[Record]:
        """The sample of rollouts with their token ids (sweep/sample.py); [] where none was taken."""
        return [_visible(rollout) for rollout in SweepFiles(self.folder).rollouts()]


def load_sweep(folder: Path | str) -> SweepRecords:
    """Read `results/<sweep>`. Raises ConfigError if the folder is no sweep, StoreError if its manifest is damaged."""
    folder = Path(folder)
    files = SweepFiles(folder)
    if not files.plan_path.is_file():
        raise ConfigError(_no_sweep(folder))
    plan, torn = files.plan_and_torn()
    if not plan:
        raise ConfigError(
            f"{files.plan_path} holds no readable run. Expected one JSON object a line with "
            "`run`, `arm`, `levels`, `seed`. Start the sweep again: it writes its plan first."
        )
    manifest = _visible(files.manifest())
    runs = [_run(planned, files.content(planned.run)) for planned in plan.values()]
    levels = dict.fromkeys(factor for run in runs for factor in run.levels)
    compared = {factor["name"] for factor in manifest.get("factors") or ()}
    if not any(run.levels.keys() <= compared for run in runs):
        compared = set(levels)  # nothing is compared: a sweep that kept no factors, or of control runs alone
    return SweepRecords(
        name=visible(str(manifest.get("sweep") or folder.resolve().name)),
        folder=folder,
        manifest=manifest,
        factors=tuple(factor for factor in levels if factor in compared),
        runs=tuple(run for run in runs if run.levels.keys() <= compared),
        reuse=_visible(files.reuse()),
        controls=tuple(run for run in runs if not run.levels.keys() <= compared),
        torn_plan_lines=torn,
    )


def _run(planned: PlannedRun, content: RunContent) -> RecordedRun:
    """A run that never started has the state `missing`."""
    status = StatusRecord.of(_visible(content.status), content.started)
    steps, validation, checks = map(_visible, (content.steps, content.validation, content.checks))
    judged = tuple(map(CheckRecord.of, _in_order(checks, lambda r: (r["step"], r.get("factor")))))
    status = replace(status, findings=_still_true(status.findings, judged))
    return RecordedRun(
        name=visible(planned.run),
        arm=visible(planned.arm),
        seed=planned.seed,
        levels=_visible(planned.levels),
        block=visible(planned.block),
        **vars(status),
        steps=cast(tuple[StepRecord, ...], _in_order(steps, lambda r: r["step"])),
        validations=tuple(map(ValidationRecord.of, _in_order(validation, lambda r: r["step"]))),
        checks=judged,
        unreadable_lines=content.unreadable,
    )


def _still_true(findings: Iterable[str], checks: Sequence[CheckRecord]) -> tuple[str, ...]:
    """Without those that call a switch not shown which all steps together show: older code looked at each alone."""
    shown = {check.factor for check in checks} - set(not_shown(checks))
    return tuple(each for each in findings if not any(each.startswith(f"{name}: not shown") for name in shown))


def _visible(value: Any) -> Any:
    """JSON whose texts may be shown; see `errors.visible`."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(key): _visible(each) for key, each in value.items()}
    return [_visible(each) for each in value] if isinstance(value, list) else value


def merged(config: Record, other: Record) -> Record:
    """A nested configuration with another's values where that has some."""
    both = {
        key: merged(config[key], value) for key, value in other.items() if isinstance(value, dict) and key in config
    }
    return config | other | both


def _in_order(records: Iterable[Record], key: Callable[[Record], Hashable]) -> tuple[Record, ...]:
    last: dict[Any, Record] = {key(r): r for r in records if isinstance(r.get("step"), int)}
    return tuple(sorted(last.values(), key=lambda record: int(record["step"])))


def _no_sweep(folder: Path) -> str:
    expected = "Expected a sweep folder: plan.jsonl, manifest.json and runs/ or records.jsonl.xz."
    if not folder.is_dir():
        what, near = f"There is no folder {folder}.", folder.parent
    else:
        what, near = f"{folder} is no sweep folder: it has no plan.jsonl.", folder
    sweeps = sorted(path.parent for path in near.glob("*/plan.jsonl"))[:5]
    if sweeps:
        return f"{what} {expected} Sweeps nearby: {', '.join(map(str, sweeps))}."
    return f"{what} {expected} `python -m harness +ablation=smoke` makes one under results/."
