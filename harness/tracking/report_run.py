"""The report of a sweep as a W&B run of its group: job type `report`, one per sweep, replaced when it is written again.

summary     effects/<fix> with _low, _high, _verdict: the final reward's, of the kind that the report leads with;
            _mixed_with: its aliases, of a fraction of the factorial
tables      rollouts: the sample that the sweep keeps; effects: effects.json
figures/*   the report's, as images
artifact    <sweep>-report: report.html, report.md, effects.json, figures/, rollouts/; a report that is the same
            makes no new version
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.records.layout import SweepFiles
from harness.records.load import SweepRecords
from harness.report.effect_text import SINGLE_KINDS
from harness.tracking.arm_effects import read_effects, run_effects
from harness.tracking.background import Background
from harness.tracking.metrics import numbers_and_words
from harness.tracking.tables import effects_table, rollout_table
from harness.tracking.tracker import group_of, notes, resolve_mode, run_id, tags

JOB_TYPE = NAME = "report"
EFFECTS = "effects"  # what the keys of effects begin with
FILES = ("report.html", "report.md", "effects.json")
NAME_LENGTH = 128  # of an artifact, at most


def is_reported(folder: Path) -> bool:
    """Whether the sweep has a report to show."""
    return all((folder / name).is_file() for name in FILES)


class ReportRun:
    """The run that shows a sweep's report. Every method returns before W&B has it, and raises nothing.

    It is begun while the report is made: W&B takes seconds for a run.
    """

    def __init__(self, sweep: SweepRecords, mode: str, project: str, background: Background) -> None:
        """mode: one of MODES"""
        self.id = run_id(sweep.name, NAME, sweep.manifest.get("created", ""))
        self._sweep, self._background, self._on = sweep, background, resolve_mode(mode) != "off"
        self._send(begin(sweep, self.id, resolve_mode(mode), project))

    def finish(self, runs_ended: bool = False) -> None:
        """Sends the report as it stands in the sweep's folder.

        runs_ended: the runs of the sweep are at W&B without what their arms do; online it is added to their summaries
        """
        self._send(end(self._sweep, runs_ended))

    def _send(self, calls: Iterable[dict[str, Any]]) -> None:
        try:
            for call in calls if self._on else ():
                self._background.send(self.id, **call)
        except Exception as error:  # a view must not be what a sweep ends with
            self._background.give_up(f"{type(error).__name__}: {error}")


def begin(sweep: SweepRecords, id: str, mode: str, project: str) -> Iterator[dict[str, Any]]:
    """Calls of `wandb_process` that need no report."""
    yield {"start": _init(sweep, id, mode, project)}
    if table := rollout_table(sweep):
        yield {"media": {"tables": {"rollouts": asdict(table)}, "images": {}}}


def end(sweep: SweepRecords, runs_ended: bool) -> Iterator[dict[str, Any]]:
    """The others."""
    effects = read_effects(sweep)
    if runs_ended:
        created = sweep.manifest.get("created", "")
        yield {"summaries": {run_id(sweep.name, run, created): own for run, own in run_effects(sweep).items()}}
    figures = sorted((sweep.folder / "figures").glob("*.png"))
    beside = (*figures, *SweepFiles(sweep.folder).further_rollouts)
    names = (*FILES, *(str(path.relative_to(sweep.folder)) for path in beside))
    files = {name: str(sweep.folder / name) for name in names}
    yield {"artifact": {"name": artifact_name(sweep.name), "type": "report", "files": files}}
    table = effects_table(effects)
    yield {
        "media": {
            "tables": {"effects": asdict(table)} if table else {},
            "images": {f"figures/{path.stem}": str(path) for path in figures},
        }
    }
    yield {"finish": effects_summary(effects), "exit_code": 0}


def _init(sweep: SweepRecords, id: str, mode: str, project: str) -> dict[str, Any]:
    config = {"baseline": sweep.baseline} | dict(sweep.manifest.get("config") or {})
    own = {"sweep": sweep.name, "baseline": sweep.baseline, "design": sweep.design, "factors": list(sweep.factors)}
    return {
        "project": project,
        "group": group_of(sweep.name, sweep.main_block),
        "name": NAME,
        "id": id,
        "job_type": JOB_TYPE,
        "tags": tags(config, NAME, ""),
        "notes": notes(sweep.name, sweep.manifest),
        "config": own,
        "dir": str(sweep.folder),
        "mode": mode,
    }


def effects_summary(effects: Mapping[str, Any]) -> dict[str, Any]:
    """effects: effects.json. Of the kind that answers most fixes, the more believable one where it answers as many."""
    final = [each for each in effects.get("effects") or () if each["outcome"] == "final" and each["value"] is not None]
    by_kind = {kind: [each for each in final if each["kind"] == kind] for kind in SINGLE_KINDS}
    kind = max(SINGLE_KINDS, key=lambda kind: len(by_kind[kind]))
    found: dict[str, Any] = {"effects_kind": kind} if by_kind[kind] else {}
    for each in by_kind[kind]:
        name = f"{EFFECTS}/{each['factors'][0]}"
        found |= {name: each["value"], f"{name}_verdict": each["verdict"]}
        found |= {f"{name}_mixed_with": ", ".join(each["aliases"])} if each.get("aliases") else {}
        found |= {f"{name}_{bound}": each[bound] for bound in ("low", "high")}
    return numbers_and_words(found)


def artifact_name(sweep: str) -> str:
    """W&B takes letters, digits, dots, hyphens and underscores."""
    return re.sub(r"[^\w.-]", "-", f"{sweep[: NAME_LENGTH - 7]}-report", flags=re.ASCII)
