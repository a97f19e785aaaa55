"""Another adapter than the one that should answer, under the right name: seen by its log-probs on the real server.

The wrong file, another run's folder, and, while a file says so, the slot of another adapter (swapped_slots/).
"""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.backend.shared import SharedBackend, SharedEngine, SharedService
from harness.engine import server_process
from harness.engine.synthetic import packed_groups
from harness.engine.trainer import Lora, Optimiser
from harness.engine.trainer_process import TrainerOrder, TrainerThread
from harness.fixes import endpoint
from harness.records.store import Store
from harness.validity import invalid_factors
from tests.engine.scored_steps import STEP, checked
from tests.fakes import SEAMS

pytestmark = pytest.mark.engine

FAULT = Path(__file__).with_name("swapped_slots")
ADAPTER = "adapter_model.safetensors"


@pytest.fixture(scope="module", autouse=True)
def planted(tmp_path_factory):
    """The folder of a vLLM plug-in that the server of this file has; `on` in it switches the fault on."""
    folder = tmp_path_factory.mktemp("fault") / "swapped_slots"
    shutil.copytree(FAULT, folder, ignore=shutil.ignore_patterns("__pycache__"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_process, "SERVER_SIDE", f"{server_process.SERVER_SIDE}{os.pathsep}{folder}")
        yield folder


@pytest.fixture(scope="module")
def run(server, policy_folder, tmp_path_factory):
    """`run(name)`: a run after two updates on the real server, none of its adapters loaded yet."""
    folder = tmp_path_factory.mktemp("runs")
    here = TrainerThread(TrainerOrder(policy_folder, "base-digest", Lora(), Optimiser()))
    trainer = here.trainer
    backend = SharedBackend(SharedEngine(server, here, Store(folder / "store"), "base"), folder / "art")

    def make(name, seed=0):
        state = trainer.initial_state(seed)
        service = SharedService(name, name, folder / name, backend.engine, state)
        service.write_checkpoint(0, state)
        for step in range(1, STEP + 1):
            batch = packed_groups(2, 4, prompt=40, own=(60, 100), vocabulary=260, row_tokens=256, seed=seed)
            state, _ = trainer.update(state, batch, 1e-3, {})
            service.write_checkpoint(step, state)
        backend._services[name] = service
        return SimpleNamespace(name=name, backend=backend, places=service.names)

    return make


@pytest.fixture
def check(server, runner):
    """`check(run, level, beside=())`: see `scored_steps.checked`."""
    return lambda run, level, beside=(): runner.run(checked(server, run, level, beside))


@pytest.fixture
def swapped(planted):
    (planted / "on").touch()
    yield
    (planted / "on").unlink()


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
