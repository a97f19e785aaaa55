"""docs/records.md documents every key that is written, and none that is not."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

import harness
from harness.commands import run_command
from harness.errors import ConfigError
from harness.launch.command_line import with_json
from harness.launch.execute import execute
from harness.printed import PRINTED
from harness.records import schema
from harness.records.archive_format import VERSION
from harness.records.load import load_sweep
from harness.stats.effects import Effect
from tests.synthetic import write_sweep

ROOT = Path(harness.__file__).parent.parent
PAGE = (ROOT / "docs" / "records.md").read_text(encoding="utf-8")


def documented(title: str) -> set[str]:
    section = PAGE.split(f"### {title}\n")[1].split("\n#")[0]
    return set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))


def names(of: type) -> set[str]:
    return {field.name for field in fields(of)}


WRITTEN = {
    "A planned run": names(schema.PlannedRun),
    "A step": set(schema.KEYS["steps"]),
    "A validation": set(schema.KEYS["validation"]),
    "A check": set(schema.KEYS["checks"]),
    "A status": (names(schema.StatusRecord) - {"valid"}) | {"validity"},
    "An effect": names(Effect),
}


@pytest.mark.parametrize("title", WRITTEN)
def test_every_key_has_its_line(title):
    assert documented(title) == WRITTEN[title]


def test_a_rollout_has_the_keys_that_are_documented():
    kept = load_sweep(ROOT / "results" / "cpu_24_steps").rollouts()
    assert {key for rollout in kept for key in rollout} | {"kind"} == documented("A rollout")  # older than kinds


def test_the_versions_are_those_of_the_code():
    assert f"Records: {schema.RECORDS}. Printed JSON: {PRINTED}" in PAGE
    assert f'{{"archive": {VERSION}}}' in PAGE


def printed_keys(command: str) -> set[str]:
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{command}`")]
    return set(re.findall(r"`(\w+)`", line.split("|")[2]))


@pytest.mark.usefixtures("undrawn")
def test_what_a_report_prints_is_documented(tmp_path, capsys):
    folders = [str(write_sweep(tmp_path / name)) for name in ("a", "b")]
    assert run_command("report", [folders[0], "--json"]) == 0
    assert json.loads(capsys.readouterr().out).keys() - {"schema"} == printed_keys("harness report SWEEP --json")
    assert run_command("report", [*folders, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() - {"schema"} | {"differ"} == printed_keys("harness report A B --json")
    assert all("differ" in effect for effect in found["effects"])


def test_what_a_plan_prints_is_documented(sweep_config, capsys):
    execute(sweep_config("plan_only=json", runs=[["seed=0"], ["seed=1"]]), lambda *_: None)
    found = json.loads(capsys.readouterr().out)
    line = next(line for line in PAGE.splitlines() if "plan_only=true --json" in line)
    assert found.keys() - {"schema"} == set(re.findall(r"`(\w+)`", line.split("|")[2]))
    assert [run["run"] for run in found["runs"]] == found["open_runs"] == ["all_on/seed=0", "all_on/seed=1"]
    assert found["updates"]["asked"] == 2 * found["steps"]


ASKED = [
    (["+ablation=all", "plan_only=true", "--json"], ["+ablation=all", "plan_only=json"]),
    (["+ablation=all", "plan_only=true"], ["+ablation=all", "plan_only=true"]),
]


@pytest.mark.parametrize(("arguments", "understood"), ASKED)
def test_a_plan_is_asked_for_as_json_by_a_flag(arguments, understood):
    assert with_json(arguments) == understood


def test_a_sweep_that_trains_prints_no_json():
    with pytest.raises(ConfigError, match="Add plan_only=true"):
        with_json(["+ablation=all", "--json"])
