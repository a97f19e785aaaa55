"""The W&B view of one run."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from harness.records.layout import SweepFiles
from harness.tracking.background import Background
from harness.tracking.metrics import check_rows, numbers_and_words, train_row, validation_row

MODES = ("auto", "online", "offline", "off")
PROJECT = "tau-bench-ablation"


class Tracker:
    """The W&B view of one run. Every method returns at once and raises nothing."""

    def __init__(self, background: Background | None, id: str) -> None:
        self._background, self.id = background, id

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
        self._log(train_row(record))

    def validation(self, record: Mapping[str, Any]) -> None:
        """A line of validation.jsonl, as `val/*`, `reported/*` and their gap."""
        self._log(validation_row(record))

    def checks(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Lines of checks.jsonl, as `check/<factor>/*`; one row per step."""
        for row in check_rows(records):
            self._log(row)

    def finish(self, status: str, validity: str | None = None, invalid: Iterable[str] = ()) -> None:
        """End the W&B run; `status` other than `completed` marks it as failed."""
        summary = numbers_and_words({"state": status, "validity": validity, "invalid": "; ".join(invalid) or None})
        self._send(finish=summary, exit_code=0 if status == "completed" else 1)

    def _log(self, row: dict[str, Any]) -> None:
        self._send(log=row)

    def _send(self, **call: Any) -> None:
        if self._background is not None:
            self._background.send(self.id, **call)


def resolve_mode(mode: str) -> str:
    """`auto` is what WANDB_MODE says, else online with WANDB_API_KEY and offline without."""
    if mode not in MODES:
        raise ValueError(f"tracking mode {mode!r} is none of {', '.join(MODES)}")
    if mode != "auto":
        return mode
    asked = os.environ.get("WANDB_MODE", "")
    if asked in ("disabled", "dryrun", "offline", "online"):
        return {"disabled": "off", "dryrun": "offline"}.get(asked, asked)
    return "online" if os.environ.get("WANDB_API_KEY") else "offline"


def group_of(sweep: str, block: str) -> str:
    """The W&B group of a block's runs. Means over a group must not mix blocks."""
    return f"{sweep}/{block}" if block else sweep


def run_id(sweep: str, run: str, created: str) -> str:
    """The same for the same run of the same sweep, however often it is written."""
    return hashlib.sha256(f"{sweep}/{created}/{run}".encode()).hexdigest()[:16]
