"""The W&B view of one run."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from harness.records.layout import SweepFiles
from harness.tracking.background import Background, background
from harness.tracking.metrics import check_rows, numbers_and_words, train_row, validation_row

if TYPE_CHECKING:
    from wandb import Run, Settings

MODES = ("auto", "online", "offline", "off")
PROJECT = "tau-bench-ablation"


class Tracker:
    """The W&B view of one run. Every method returns at once and raises nothing."""

    def __init__(self, background: Background | None) -> None:
        self._background = background
        self._run: Run | None = None
        self._broken = background is None

    @classmethod
    def start(
        cls,
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
        tracker = cls(None if mode == "off" else background())
        shown = {("fix_settings" if key == "fix" else key): value for key, value in config.items()}
        init = {
            "project": project or (config.get("tracking") or {}).get("project") or PROJECT,
            "group": group_of(sweep, block),
            "name": run_name,
            "id": run_id(sweep, run_name, SweepFiles(Path(dir)).manifest().get("created", "")),
            "config": shown
            | {"fix": dict(levels), "arm": arm, "seed": seed, "sweep": sweep}
            | ({"block": block} if block else {}),
            "dir": str(dir),
            "mode": mode,
        }
        tracker._do(lambda: tracker._start(init), fatal=True)
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
        self._do(lambda: self._finish(summary, exit_code=0 if status == "completed" else 1))

    def _start(self, init: dict[str, Any]) -> None:
        import wandb

        if init["mode"] == "offline":
            for older in Path(init["dir"]).glob(f"wandb/offline-run-*-{init['id']}"):
                shutil.rmtree(older)  # an earlier view of the same records
        self._run = wandb.init(**init, reinit="create_new", settings=_quiet_settings())
        self._run.define_metric("step", hidden=True)
        for keys in ("val/*", "reported/*", "val_gap", "train/*", "check/*"):
            self._run.define_metric(keys, step_metric="step")

    def _log(self, row: dict[str, Any]) -> None:
        self._do(lambda: self._run.log(row) if self._run else None)

    def _finish(self, summary: dict[str, Any], exit_code: int) -> None:
        if self._run is not None:
            self._run.summary.update(summary)
            self._run.finish(exit_code=exit_code)

    def _do(self, work: Callable[[], None], fatal: bool = False) -> None:
        """Queue `work`, unless this run's tracking has failed before. `fatal`: W&B itself is not there."""
        if self._background is None or self._broken:
            return
        thread = self._background

        def guarded() -> None:
            if self._broken or thread.down:
                return
            try:
                work()
            except Exception as error:  # W&B is a view: whatever goes wrong in it stays in it
                self._broken, thread.down = True, thread.down or fatal
                thread.report(error)

        thread.queue.put(guarded)


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


def _quiet_settings() -> "Settings":
    import wandb

    # Many runs share this process: its console, code, git state and machine load belong to none of them
    # (the sweep's manifest has them), and looking them up 64 times costs more than all the logging.
    return wandb.Settings(
        console="off",
        silent=True,
        disable_git=True,
        disable_code=True,
        save_code=False,
        init_timeout=30,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )
