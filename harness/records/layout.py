"""Which file holds what. Only this room knows.

    results/<sweep>/
      plan.jsonl  manifest.json      written before anything runs
      reuse.json                     what was computed and shared, and what it cost; in the archive once there is one
      runs/<arm>/seed=<n>/           one run, while the sweep is live (of a block: runs/<arm>/<block>/seed=<n>/):
        config.yaml status.json steps.jsonl validation.jsonl checks.jsonl
        trajectories.parquet         every training rollout, and the last validation; local, never committed
      records.jsonl.xz               instead of runs/, once the sweep is archived (archive.py)
      rollouts.jsonl                 a sample of rollouts (sweep/sample.py) of a sweep that has ended
      rollouts/2.html                those that report.html has no room for; local, never committed
      logs/now.json  logs/stop       where a sweep that runs stands, and that it is asked to stop (sweep/board.py)
      store/ art/ logs/ wandb/       local, never committed

While there is an archive, it is the truth and runs/ is not read.
"""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.errors import StoreError
from harness.records.archive_format import Archive, read_archive
from harness.records.json_files import is_damaged, read_and_count, read_lines, read_object, write_lines, write_object
from harness.records.schema import FILES, PlannedRun, Record, RunContent
from harness.records.store import write_synced


@dataclass(frozen=True)
class RunFiles:
    """The files of one run of a live sweep; any of them may be missing."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def status(self) -> Path:
        return self.folder / "status.json"

    @property
    def trajectories(self) -> Path:
        return self.folder / "trajectories.parquet"

    def lines(self, name: str) -> Path:
        """name: one of FILES."""
        return self.folder / f"{name}.jsonl"

    @property
    def archivable(self) -> tuple[Path, ...]:
        return (self.config, self.status, *(self.lines(name) for name in FILES))

    def content(self) -> RunContent:
        """Lines without a step count as unreadable. So does a damaged status, and what a completed run had more."""
        status, lines, unreadable = read_object(self.status), {}, int(is_damaged(self.status))
        for name in FILES:
            found, torn = read_and_count(self.lines(name))
            whole = [line for line in found if isinstance(line.get("step"), int)]
            lines[name] = sorted(whole, key=lambda line: int(line["step"]))  # a line that was made again is the last
            torn += len(found) - len(whole)
            unreadable += max(torn, (status.get("lines") or {}).get(name, 0) - len(lines[name]))
        return RunContent(status, **lines, unreadable=unreadable)

    def write(self, content: RunContent) -> None:
        if content.status:
            write_object(self.status, content.status)
        for name in FILES:
            if found := getattr(content, name):
                write_lines(self.lines(name), found)

    def read_config(self) -> Record:
        """As plain data; {} where there is none, or a damaged one."""
        if not self.config.is_file():
            return {}
        try:
            found = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        except (yaml.YAMLError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def write_config(self, resolved: Mapping[str, Any]) -> None:
        text = yaml.safe_dump(dict(resolved), sort_keys=False, allow_unicode=True)
        write_synced(self.config, text.encode())


@dataclass(frozen=True)
class SweepFiles:
    """A sweep's folder, live or archived."""

    folder: Path

    @property
    def plan_path(self) -> Path:
        return self.folder / "plan.jsonl"

    @property
    def manifest_path(self) -> Path:
        return self.folder / "manifest.json"

    @property
    def reuse_path(self) -> Path:
        return self.folder / "reuse.json"

    @property
    def archive_path(self) -> Path:
        return self.folder / "records.jsonl.xz"

    @property
    def sample_path(self) -> Path:
        return self.folder / "rollouts.jsonl"

    @property
    def further_rollouts(self) -> list[Path]:
        """The pages beside report.html."""
        return sorted((self.folder / "rollouts").glob("*.html"))

    def keep_further(self, names: Collection[str]) -> None:
        """Of the pages beside report.html these alone, by their path in the folder."""
        for path in self.further_rollouts:
            if str(path.relative_to(self.folder)) not in names:
                path.unlink()
        with suppress(OSError):  # not there, or still in use
            (self.folder / "rollouts").rmdir()

    @property
    def now_path(self) -> Path:
        return self.folder / "logs" / "now.json"

    @property
    def stop_path(self) -> Path:
        return self.folder / "logs" / "stop"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def plan(self) -> dict[str, PlannedRun]:
        """By name, in plan order; {} where there is no plan."""
        return self.plan_and_torn()[0]

    def plan_and_torn(self) -> tuple[dict[str, PlannedRun], int]:
        """As `plan`, and how many of its lines name no run: torn ones."""
        found, torn = read_and_count(self.plan_path)
        whole = [line for line in found if "arm" in line and "seed" in line]
        return {run.run: run for run in map(PlannedRun.of, whole)}, torn + len(found) - len(whole)

    def write_plan(self, runs: Iterable[PlannedRun]) -> None:
        write_lines(self.plan_path, (run.line() for run in runs))

    def manifest(self) -> Record:
        """{} where it is missing. Raises StoreError for a damaged one: nothing else says what the sweep is."""
        if is_damaged(self.manifest_path):
            raise StoreError(
                f"{self.manifest_path} is damaged: it is empty or half-written. It keeps the sweep's configuration, "
                "its versions and how often it was looked at, so without it nothing is computed or judged. Take it "
                "from a backup or from git, or start the sweep in another folder (sweep=NAME)."
            )
        return read_object(self.manifest_path)

    def is_begun(self) -> bool:
        """Whether the folder holds a sweep. A damaged manifest alone is what the very first write left."""
        return self.manifest_path.exists() and bool(self.plan() or self.archived or not is_damaged(self.manifest_path))

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        write_object(self.manifest_path, manifest)

    def reuse(self) -> Record:
        kept = self.archive().reuse if self.archived else {}
        return kept or read_object(self.reuse_path)

    @property
    def archived(self) -> bool:
        return self.archive_path.is_file()

    def archive(self) -> Archive:
        return read_archive(self.archive_path)

    def run(self, name: str) -> RunFiles:
        """A run's files in the live sweep."""
        return RunFiles(self.folder / "runs" / name)

    def content(self, run: str) -> RunContent:
        if self.archived:
            return self.archive().runs.get(run, RunContent({}, [], [], []))
        return self.run(run).content()

    def config(self, run: str) -> Record:
        return self.archive().configs.get(run, {}) if self.archived else self.run(run).read_config()

    def status(self, run: str) -> Record:
        return self.content(run).status if self.archived else read_object(self.run(run).status)

    def is_completed(self, run: str) -> bool:
        """Whether nothing is left to do. A completed run of a live sweep that has lost a line is made again."""
        if self.archived:
            return bool(self.status(run).get("state") == "completed")
        content = self.run(run).content()
        return bool(content.status.get("state") == "completed" and not content.unreadable)

    def rollouts(self) -> list[Record]:
        """The sample of rollouts; [] where none was taken."""
        return self.archive().rollouts() if self.archived else read_lines(self.sample_path)
