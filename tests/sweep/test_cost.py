"""What a sweep asked for, computed and shared is right however often it was started."""

import json

import pytest

from harness.records.layout import SweepFiles
from harness.records.load import load_sweep
from harness.records.reuse import recorded_reuse
from harness.report import formats
from harness.report.arm_rows import reuse_rows
from harness.report.cost_text import cost_sentences
from harness.sweep.cost import EngineCost, StartCost
from tests.synthetic import leave_one_out, write_sweep


@pytest.fixture
def sweep(tmp_path):
    """Two arms of two steps; every validation says what it computed."""
    folder = write_sweep(tmp_path / "s", arms=leave_one_out()[:2], steps=2)
    for path in folder.glob("runs/*/*/validation.jsonl"):
        lines = [
            json.loads(line) | {"episodes": {"computed": 50, "shared": 10}} for line in path.read_text().splitlines()
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def replayed(folder, times=3):
    """Starts that found everything in the store: it counts every question again, and nothing as computed."""
    for _ in range(times):
        start = StartCost()
        start.counts.update({"episodes/asked": 500, "episodes/shared": 500, "updates/asked": 9, "updates/shared": 9})
        start.add_to(folder / "reuse.json")
    return json.loads((folder / "reuse.json").read_text())


def test_a_replay_asks_for_nothing_anew(sweep):
    counted = replayed(sweep)["episodes"]
    asked = 2 * (2 * 36 + 3 * 60)
    assert counted["asked"] == asked == counted["computed"] + counted["shared"]
    assert counted["shared"] == 2 * 3 * 10 + 30 + 30  # one arm shares its training episodes
    assert replayed(sweep)["episodes"] == counted


def test_the_report_says_the_same_and_never_more_than_all(sweep):
    replayed(sweep)
    loaded = load_sweep(sweep)
    assert reuse_rows(loaded) == (recorded_reuse(loaded.runs)["episodes"], recorded_reuse(loaded.runs)["updates"])
    (sweep / "reuse.json").unlink()  # nothing was ever said by an engine that was killed
    assert reuse_rows(load_sweep(sweep)) == reuse_rows(loaded)


def test_records_of_before_are_counted_by_the_store_and_bounded_by_what_they_hold(tmp_path):
    folder = write_sweep(tmp_path / "s", arms=leave_one_out()[:2], steps=2)
    replayed(folder)
    for row in reuse_rows(load_sweep(folder)):
        *_, saved = formats.reuse_cells(row)
        assert float(saved.removesuffix("%")) <= 100


def test_seconds_add_up_and_what_was_killed_makes_them_a_least(sweep):
    replayed(sweep, 2)
    files = SweepFiles(sweep)
    files.write_manifest(files.manifest() | {"starts": [{"command": "a", "ended": "t"}]})
    assert "all starts of the sweep together." in cost_sentences(load_sweep(sweep))[0]
    files.write_manifest(files.manifest() | {"starts": [{"command": "a"}, {"command": "a", "ended": "t"}]})
    assert cost_sentences(load_sweep(sweep))[0].startswith("At least ")


def test_an_engine_that_was_lost_is_silent(sweep):
    start = StartCost(elsewhere=[EngineCost({}, 1.0, 1.0)], silent=1)
    start.add_to(sweep / "reuse.json")
    assert cost_sentences(load_sweep(sweep))[0].startswith("At least ")


def test_what_a_user_who_is_a_model_cost_adds_up_over_starts_and_engines(sweep):
    spent = {"user/calls": 3, "user/found": 1, "user/prompt_tokens": 900, "user/reply_tokens": 40, "user/unpriced": 0}
    for _ in range(2):
        start = StartCost()
        start.counts.update(spent | {"user/nanodollars": 5 * 10**7})
        start.elsewhere.append(EngineCost({"user/calls": 1, "user/nanodollars": 10**7}, 0.0, 0.1))
        start.add_to(sweep / "reuse.json")
    user = json.loads((sweep / "reuse.json").read_text())["user"]
    assert (user["calls"], user["prompt_tokens"], user["nanodollars"]) == (8, 1800, 12 * 10**7)
    (said,) = [line for line in cost_sentences(load_sweep(sweep)) if "user" in line]
    assert said == (
        "The user, a model, was asked 8 times: 1,800 tokens of prompts and 80 of replies, $0.12; 2 messages were found "
        "in the store."
    )


def test_without_a_model_as_user_nothing_is_said_of_one(sweep):
    assert "user" not in replayed(sweep)
    assert not [line for line in cost_sentences(load_sweep(sweep)) if "user" in line]
