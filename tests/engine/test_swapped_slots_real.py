"""The right adapter, loaded from the right file under the right name, and another one's slot answers: vLLM's own index.

On the real server, whose index of slots is wrong while a file says so (swapped_slots/).
"""

import os
import shutil
from pathlib import Path

import pytest

from harness.engine import server_process
from harness.fixes import endpoint
from harness.validity import invalid_factors
from tests.engine.conftest import server_of
from tests.engine.scored_steps import STEP
from tests.fakes import SEAMS

pytestmark = pytest.mark.engine

FAULT = Path(__file__).with_name("swapped_slots")


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """The plug-in's folder; `on` in it switches the fault on."""
    folder = tmp_path_factory.mktemp("fault") / "swapped_slots"
    shutil.copytree(FAULT, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def server(policy_folder, runner, tmp_path_factory, planted):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_process, "SERVER_SIDE", f"{server_process.SERVER_SIDE}{os.pathsep}{planted}")
        server = server_of(policy_folder, tmp_path_factory.mktemp("log") / "server.log")
        runner.run(server.__aenter__())
    yield server
    runner.run(server.stop())


@pytest.fixture
def swapped(planted):
    (planted / "on").touch()
    yield
    (planted / "on").unlink()


def both(run):
    """The names of the step before and of the step, whose adapters are in two slots."""
    return [f"{run.name}@{step}" for step in (STEP - 1, STEP)]


def test_with_two_adapters_in_their_own_slots_the_right_one_answers(run, check):
    honest = run("honest")
    found = check(honest, endpoint.On(), both(honest))
    assert found.took_effect is True, found.text
    assert invalid_factors([found], SEAMS) == []


@pytest.mark.usefixtures("swapped")
def test_another_slot_behind_the_right_name_makes_the_run_invalid(run, check):
    wrong = run("wrong", seed=1)
    found = check(wrong, endpoint.On(), both(wrong))
    assert found.took_effect is False, found.text
    assert found.reading["answered_by_current_weights"] == 1.0  # the name saw nothing
    assert [each["factor"] for each in invalid_factors([found], SEAMS)] == ["endpoint"]
