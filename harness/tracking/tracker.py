"""The W&B view of one run."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from harness.machine import inventory
from harness.records.layout import SweepFiles
from harness.report.arm_rows import area, slope
from harness.tracking.background import Background
from harness.tracking.metrics import check_rows, numbers_and_words, train_row, validation_row

MODES = ("auto", "online", "offline", "off")
PROJECT = "tau-bench-ablation"
JOB_TYPE = "train"
TAG = 64  # characters of a tag, at most; W&B refuses longer ones


class Tracker:
    """The W&B view of one run. Every method returns at once and raises nothing.

    A step is one row: its lines are put together, and sent with its validation or when a later step begins.
    """

    def __init__(self, background: Background | None, id: str) -> None:
        self._background, self.id = background, id
        self._row: dict[str, Any] = {}
        self._curve: dict[int, float] = {}  # reference reward by step

    @classmethod
    def start(
        cls,
        background: Background,
        run_name: str,
        arm: str,
        seed: int,
        sweep: str,
        config: Mapping[str, Any],
        levels: Mapping[str, str],
        dir: Path,
        mode: str = "auto",
        project: str | None = None,
        block: str = "",
    ) -> Self:
        """Begin a W&B run under `dir`/wandb. `mode`: one of MODES; `config`: plain data; `block`: its name, if any.

        The levels become `fix.<factor>`; what the config itself holds under `fix` moves to `fix_settings`.
        """
        mode = resolve_mode(mode)
        id = run_id(sweep, run_name, SweepFiles(Path(dir)).manifest().get("created", ""))
        tracker = cls(None if mode == "off" else background, id)
        shown = {("fix_settings" if key == "fix" else key): value for key, value in config.items()}
        init = {
            "project": project or (config.get("tracking") or {}).get("project") or PROJECT,
            "group": group_of(sweep, block),
            "name": run_name,
            "id": id,
            "job_type": JOB_TYPE,
            "tags": tags(config, arm, block),
            "notes": notes(sweep, SweepFiles(Path(dir)).manifest()),
            "config": shown
            | {"fix": dict(levels), "arm": arm, "seed": seed, "sweep": sweep}
            | ({"block": block} if block else {}),
            "dir": str(dir),
            "mode": mode,
        }
        tracker._send(start=init)
        return tracker

    def step(self, record: Mapping[str, Any]) -> None:
        """A line of steps.jsonl, as `train/*`."""
        self._add(train_row(record))

    def validation(self, record: Mapping[str, Any]) -> None:
        """A line of validation.jsonl, as `val/*`, `reported/*` and their gap."""
        row = validation_row(record)
        if "val/reward" in row:
            self._curve[row["step"]] = row["val/reward"]
        self._add(row)
        self._send_row()

    def checks(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Lines of checks.jsonl, as `check/<factor>/*`."""
        for row in check_rows(records):
            self._add(row)

    def finish(
        self,
        status: str,
        validity: str | None = None,
        invalid: Iterable[str] = (),
        effects: Mapping[str, Any] | None = None,
    ) -> None:
        """End the W&B run; `status` other than `completed` marks it as failed. The summary gets what the report's table
        of arms has. effects: of the run's arm (arm_effects.py), where the sweep has ended"""
        self._send_row()
        curve = sorted(self._curve.items())
        summary = numbers_and_words(
            {
                "state": status,
                "validity": validity,
                "invalid": "; ".join(invalid) or None,
                "first": curve[0][1] if curve else None,
                "last": curve[-1][1] if curve else None,
                "slope": slope(curve),
                "area": area(curve),
            }
            | dict(effects or {})
        )
        self._send(finish=summary, exit_code=0 if status == "completed" else 1)

    def _add(self, row: dict[str, Any]) -> None:
        if row["step"] != self._row.get("step"):
            self._send_row()
        self._row |= row

    def _send_row(self) -> None:
        if self._row:
            self._send(log=self._row)
        self._row = {}

    def _send(self, **call: Any) -> None:
        if self._background is not None:
            self._background.send(self.id, **call)


def resolve_mode(mode: str) -> str:
    """`auto` is what WANDB_MODE says, else online with a key (WANDB_API_KEY, `wandb login`) and offline without."""
    if mode not in MODES:
        raise ValueError(f"tracking mode {mode!r} is none of {', '.join(MODES)}")
    if mode != "auto":
        return mode
    asked = os.environ.get("WANDB_MODE", "")
    if asked in ("disabled", "dryrun", "offline", "online"):
        return {"disabled": "off", "dryrun": "offline"}.get(asked, asked)
    return "online" if inventory.wandb_key() else "offline"


def project_of(config: Mapping[str, Any]) -> str:
    """Where a sweep's runs go that are written now: what WANDB_PROJECT says, else where they went. config: of a run"""
    return os.environ.get("WANDB_PROJECT") or (config.get("tracking") or {}).get("project") or PROJECT


def tags(config: Mapping[str, Any], arm: str, block: str) -> list[str]:
    """What runs are looked up by: arm, block, loop, environment, policy."""
    policy, env = config.get("policy") or {}, config.get("env") or {}
    found = [arm, block, config.get("baseline"), env.get("domain"), policy.get("name")]
    return list(dict.fromkeys(tag for tag in found if isinstance(tag, str) and 0 < len(tag) <= TAG))


def notes(sweep: str, manifest: Mapping[str, Any]) -> str:
    made = f", made by `{manifest['command']}`" if manifest.get("command") else ""
    return f"A run of the sweep {sweep}{made}. Its records are the truth; this is a view of them."


def group_of(sweep: str, block: str) -> str:
    """The W&B group of a block's runs. Means over a group must not mix blocks."""
    return f"{sweep}/{block}" if block else sweep


def run_id(sweep: str, run: str, created: str) -> str:
    """The same for the same run of the same sweep, however often it is written."""
    return hashlib.sha256(f"{sweep}/{created}/{run}".encode()).hexdigest()[:16]
