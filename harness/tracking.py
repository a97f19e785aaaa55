"""W&B as a view of the records: one W&B run per run, and nothing that the records don't hold.

    group   the sweep                    config.fix.<factor>   the arm's levels
    name    <arm>/seed=<n>               step                  the axis of everything below
    val/reward, reported/reward, val_gap, train/*, check/<factor>/*

Tracking can't break or slow a run. All of W&B happens in one background thread; the first failure is logged
once and ends the tracking of that run (of all runs, if W&B does not start at all). Whatever W&B missed, or
lost when a process died, comes back with

    python -m harness.tracking results/<sweep>

which writes every run of a sweep again from its records. A run's W&B id depends on the sweep and the run
alone, so the newer writing replaces the older one.

Measured on two cores with wandb 0.25.0, offline, 64 interleaved runs of 6 steps: under 3 CPU seconds for start,
logging and finish together; one burst per run costs the same, so runs are logged as they go.
"""

import argparse
import hashlib
import logging
import math
import os
import queue
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from harness.analysis.load import RunRecords, SweepRecords, load_sweep, read_lines, read_object
from harness.errors import HarnessError

if TYPE_CHECKING:
    from wandb import Run, Settings

LOG = logging.getLogger(__name__)
MODES = ("auto", "online", "offline", "off")
PROJECT = "tau-bench-ablation"


class Tracker:
    """The W&B view of one run. Every method returns at once and raises nothing."""

    def __init__(self, background: "Background | None") -> None:
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
    ) -> Self:
        """Begin a W&B run under `dir`/wandb. `mode`: one of MODES; `config`: plain data.

        The levels become `fix.<factor>`; what the config itself holds under `fix` moves to `fix_settings`.
        """
        mode = resolve_mode(mode)
        tracker = cls(None if mode == "off" else background())
        shown = {("fix_settings" if key == "fix" else key): value for key, value in config.items()}
        init = {
            "project": project or (config.get("tracking") or {}).get("project") or PROJECT,
            "group": sweep,
            "name": run_name,
            "id": run_id(sweep, run_name, read_object(Path(dir) / "manifest.json").get("created", "")),
            "config": shown | {"fix": dict(levels), "arm": arm, "seed": seed, "sweep": sweep},
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
        summary = numbers_and_words(
            {"state": status, "validity": validity, "invalid": "; ".join(invalid) or None}
        )
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
        background = self._background

        def guarded() -> None:
            if self._broken or background.down:
                return
            try:
                work()
            except Exception as error:  # W&B is a view: whatever goes wrong in it stays in it
                self._broken, background.down = True, background.down or fatal
                background.report(error)

        background.queue.put(guarded)


class Background:
    """One daemon thread that does all W&B work of the process, in order."""

    def __init__(self) -> None:
        self.queue: queue.Queue[Callable[[], None]] = queue.Queue()
        self.down = False
        self.errors: list[Exception] = []
        self._reported = False
        threading.Thread(target=self._work, name="wandb-view", daemon=True).start()

    def report(self, error: Exception) -> None:
        self.errors.append(error)
        if not self._reported:
            self._reported = True
            LOG.warning(
                "W&B failed and is not waited for (%s: %s). The records are complete; "
                "`python -m harness.tracking <sweep folder>` writes them to W&B later.",
                type(error).__name__,
                error,
            )

    def drain(self, seconds: float) -> bool:
        """Wait until all queued work is done, `seconds` at most; whether it was."""
        done = threading.Event()
        self.queue.put(done.set)
        return done.wait(seconds)

    def _work(self) -> None:
        while True:
            self.queue.get()()


_background: Background | None = None
_lock = threading.Lock()


def background() -> Background:
    """The process's one W&B thread, started when first asked for."""
    global _background
    with _lock:
        if _background is None:
            _background = Background()
            # threading's own exit hooks run before atexit's, so before W&B closes its service.
            threading._register_atexit(_background.drain, 30.0)  # type: ignore[attr-defined]
        return _background


def drain(seconds: float = 60.0) -> bool:
    """Let W&B catch up at the end of a sweep, for `seconds` at most. False: it did not, or it failed."""
    return _background is None or (_background.drain(seconds) and not _background.errors)


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


def run_id(sweep: str, run: str, created: str) -> str:
    """The same for the same run of the same sweep, however often it is written."""
    return hashlib.sha256(f"{sweep}/{created}/{run}".encode()).hexdigest()[:16]


def train_row(record: Mapping[str, Any]) -> dict[str, Any]:
    return {"step": record["step"]} | _prefixed("train", {k: v for k, v in record.items() if k != "step"})


def validation_row(record: Mapping[str, Any]) -> dict[str, Any]:
    reference, reported = record.get("reference") or {}, record.get("reported") or {}
    mean, shown = _number(reference.get("mean")), _number(reported.get("mean"))
    row = {
        "val/reward": mean,
        "val/missing": reference.get("missing"),
        "reported/reward": shown,
        "reported/n": reported.get("n"),
        "reported/nonexistent": reported.get("nonexistent"),
        "val_gap": None if mean is None or shown is None else shown - mean,
    }
    return {"step": record["step"]} | numbers_and_words(row)


def check_rows(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per step: `check/<factor>/<reading>` and `check/<factor>/took_effect` as 0 or 1."""
    rows: dict[int, dict[str, Any]] = {}
    for record in records:
        row = rows.setdefault(record["step"], {"step": record["step"]})
        reading = dict(record.get("reading") or {}) | {"took_effect": record.get("took_effect")}
        row |= _prefixed(f"check/{record['factor']}", reading)
    return [rows[step] for step in sorted(rows)]


def write_run(run: RunRecords, sweep: SweepRecords, mode: str) -> None:
    """Write one run to W&B from its records alone."""
    tracker = Tracker.start(
        run.name, run.arm, run.seed, sweep.name, _config(run), run.levels, sweep.folder, mode
    )
    for name, write in (("steps", tracker.step), ("validation", tracker.validation)):
        for record in read_lines(run.folder / f"{name}.jsonl")[0]:
            write(record)
    tracker.checks(read_lines(run.folder / "checks.jsonl")[0])
    validity = None if run.state != "completed" else "valid" if run.valid else "INVALID"
    tracker.finish(run.state, validity, (f"{factor}: {reading}" for factor, reading in run.invalid))


def _config(run: RunRecords) -> dict[str, Any]:
    import yaml

    path = run.folder / "config.yaml"
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}


def _prefixed(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers only, one level of nesting flattened: {"seconds": {"train": 2}} -> <prefix>/seconds_train."""
    flat: dict[str, float | int] = {}
    for key, value in values.items():
        inner = value.items() if isinstance(value, Mapping) else [("", value)]
        for name, item in inner:
            if (number := _number(item)) is not None:
                flat[f"{prefix}/{key}_{name}" if name else f"{prefix}/{key}"] = number
    return flat


def _number(value: Any) -> float | int | None:
    """A finite number (a bool as 0 or 1); None for anything else: a NaN would spoil the whole chart."""
    if isinstance(value, bool):
        return int(value)
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def numbers_and_words(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row without None and NaN."""
    return {k: v for k, v in row.items() if isinstance(v, str) or _number(v) is not None}


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


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m harness.tracking", description="Write all runs of a sweep to W&B, from its records."
    )
    parser.add_argument("sweep", help="results/<sweep>")
    parser.add_argument("--mode", choices=("auto", "online", "offline"), default="auto")
    asked = parser.parse_args(arguments)
    try:
        sweep = load_sweep(asked.sweep)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 2
    runs = [run for run in sweep.runs if run.state != "missing"]
    for run in runs:
        write_run(run, sweep, asked.mode)
    if not drain(600):
        return 1
    mode = resolve_mode(asked.mode)
    print(f"{len(runs)} runs of {sweep.name} written to W&B, {mode}.")
    if mode == "offline":
        print(f"To upload them: wandb sync {sweep.folder}/wandb/offline-run-*")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
