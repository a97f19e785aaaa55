"""Another adapter than the one that should answer, under the right name: seen by its log-probs on the real server."""

import shutil

import pytest

from harness.fixes import endpoint
from tests.engine.scored_steps import STEP

pytestmark = pytest.mark.engine

ADAPTER = "adapter_model.safetensors"


def folder(run, step):
    return run.places[f"{run.name}@{step}"][1]


def answer_from(run, step, place):
    """The server finds another adapter's folder under the name of a step."""
    name = f"{run.name}@{step}"
    run.places[name] = (run.places[name][0], place)


@pytest.mark.parametrize("level", [endpoint.On(), endpoint.Off()], ids=["on", "off"])
def test_the_weights_that_should_have_answered_did(level, run, check):
    found = check(run(f"honest-{level.level}"), level)
    assert found.took_effect is True, found.text
    assert found.reading["gap"] < 1e-5 < found.reading["rival_gap"]


def test_a_stale_file_in_the_right_place_under_the_right_name_is_seen(run, check):
    stale = run("stale")
    shutil.copy(folder(stale, STEP - 1) / ADAPTER, folder(stale, STEP) / ADAPTER)
    found = check(stale, endpoint.On())
    assert found.took_effect is False, found.text
    assert found.reading["answered_by_current_weights"] == 1.0  # the name saw nothing
    assert found.reading["rival_gap"] < 1e-5


def test_the_adapter_of_another_run_behind_the_name_is_seen(run, check):
    slot, other = run("slot"), run("other", seed=1)
    answer_from(slot, STEP, folder(other, STEP))
    found = check(slot, endpoint.On())
    assert found.took_effect is False, found.text
    assert found.reading["answered_by_current_weights"] == 1.0


def test_the_current_adapter_behind_the_pinned_name_is_seen(run, check):
    moved = run("moved")
    answer_from(moved, 0, folder(moved, STEP))
    found = check(moved, endpoint.Off())
    assert found.took_effect is False, found.text


def test_a_step_that_trained_nothing_is_not_told_from_the_one_before(run, check):
    same = run("same")
    name = f"{same.name}@{STEP}"
    same.places[f"{same.name}@{STEP - 1}"] = same.places[name]
    found = check(same, endpoint.On())
    assert found.took_effect is None and found.text.startswith("not shown: ")
