"""`harness dashboard results/<sweep>`: save a W&B workspace and report for an uploaded sweep.

Both are found again by their title, and replaced: a sweep has one of each, however often it is asked for.
"""

import contextlib
import importlib
import os
import sys
from argparse import Namespace
from dataclasses import asdict
from typing import Any

import httpx

from harness.errors import ConfigError, HarnessError
from harness.machine import inventory
from harness.printed import printed
from harness.records.load import SweepRecords, load_sweep
from harness.stats.sweep_statistics import statistics_of
from harness.tracking.dashboard.build import report, workspace
from harness.tracking.dashboard.spec import Dashboard, dashboard
from harness.tracking.tracker import project_of

ANSWERS_WITHIN = 10.0  # seconds; wandb itself would ask again for minutes
PINNED = "wandb-workspaces==0.4.5"
WORKSPACE, REPORT = "project-view", "runs"  # as W&B calls them
SAVED_VIEWS = """
query SavedViews($entity: String, $project: String, $type: String, $cursor: String) {
  project(name: $project, entityName: $entity) {
    allViews(viewType: $type, first: 100, after: $cursor) {
      edges { node { id name displayName } }
      pageInfo { endCursor hasNextPage }
    }
  }
}
"""


def run(asked: Namespace) -> int:
    sweep = load_sweep(asked.sweep)
    entity = asked.entity or os.environ.get("WANDB_ENTITY", "")
    project = asked.project or project_of(next((sweep.config_of(run) for run in sweep.runs), {}))
    spec = dashboard(sweep, statistics_of(sweep), entity, project)
    if asked.dry_run:
        print(printed(asdict(spec)))
        return 0
    with contextlib.redirect_stdout(sys.stderr) if asked.json else contextlib.nullcontext():  # of wandb's own words
        addresses = save(spec, sweep)
    print(printed(addresses) if asked.json else "\n".join(f"{name}: {url}" for name, url in addresses.items()))
    return 0


def save(spec: Dashboard, sweep: SweepRecords) -> dict[str, str]:
    """Saves both to W&B; their addresses. Raises ConfigError with all that is missing, HarnessError where W&B does not
    answer or refuses."""
    if missing := [*_missing_package(), *_missing_key()]:
        raise ConfigError("The dashboard needs W&B:\n  " + "\n  ".join(missing) + "\nWithout: --dry-run.")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # W&B's own reports to Sentry
    import wandb

    _reach(inventory.wandb_server())
    try:
        return _saved_by(wandb, spec, sweep)
    except wandb.errors.Error as error:
        raise HarnessError(
            f"W&B at {inventory.wandb_host()} refused: {error}. Nothing of the sweep depends on it."
        ) from None


def _reach(address: str) -> None:
    """Raises HarnessError where nobody answers."""
    try:
        httpx.get(address, timeout=ANSWERS_WITHIN)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        why = str(error) or f"no answer within {ANSWERS_WITHIN:.0f} s"
        raise HarnessError(
            f"W&B at {inventory.wandb_host()} is not reached: {why}. Is the address right that WANDB_BASE_URL or "
            "`wandb login --host` gave? Without W&B: --dry-run."
        ) from None


def _saved_by(wandb: Any, spec: Dashboard, sweep: SweepRecords) -> dict[str, str]:
    workspaces, reports = _library()
    entity = spec.entity or str(wandb.Api().default_entity)
    spec = Dashboard(**(vars(spec) | {"entity": entity}))
    if not _uploaded(wandb.Api(), spec):
        raise ConfigError(
            f"{entity}/{spec.project} holds no run of the group {spec.group!r}. Upload the sweep first: "
            f"`python -m harness track {sweep.folder} --mode online`."
        )
    shown, written = workspace(spec, workspaces, reports), report(spec, reports)
    if found := _saved(wandb.Api(), spec, WORKSPACE):
        shown._internal_id, shown._internal_name = found["id"], found["name"]
    if found := _saved(wandb.Api(), spec, REPORT):
        written.id = found["id"]
    return {"workspace": str(shown.save().url), "report": str(written.save().url)}


def _saved(api: Any, spec: Dashboard, kind: str) -> dict[str, str] | None:
    """What was saved earlier under the dashboard's title: its id and name."""
    ask = importlib.import_module("wandb_workspaces._graphql").execute_graphql
    place = {"entity": spec.entity, "project": spec.project, "type": kind, "cursor": None}
    while True:
        views = ask(api, SAVED_VIEWS, place)["project"]["allViews"]
        for edge in views["edges"]:
            if edge["node"]["displayName"] == spec.title:
                return {key: str(edge["node"][key]) for key in ("id", "name")}
        if not views["pageInfo"]["hasNextPage"]:
            return None
        place["cursor"] = views["pageInfo"]["endCursor"]


def _uploaded(api: Any, spec: Dashboard) -> bool:
    """Whether W&B has a run of the sweep."""
    try:
        return len(api.runs(f"{spec.entity}/{spec.project}", filters={"group": spec.group}, per_page=1)) > 0
    except ValueError:  # what W&B raises for a project that does not exist
        return False


def _library() -> tuple[Any, Any]:
    find = importlib.import_module
    return find("wandb_workspaces.workspaces"), find("wandb_workspaces.reports.v2")


def _missing_package() -> list[str]:
    try:
        _library()
    except ImportError as error:
        return [f"the package: {error}. `pip install '{PINNED}'` (the last one for wandb 0.25.0)"]
    return []


def _missing_key() -> list[str]:
    if inventory.wandb_key():
        return []
    return [f"a key for {inventory.wandb_host()}: set WANDB_API_KEY, or run `wandb login`"]
