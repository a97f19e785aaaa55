"""Another adapter than the one that should answer, under the right name: seen by its log-probs on the real server."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import art
import pytest

from harness.backend import SKIPPED
from harness.episode import Turn
from harness.evidence import RolloutTable, gather_evidence
from harness.fixes import endpoint
from harness.rollout import SourcedEpisode, trajectory
from harness.scoring import served_scores
from harness.seams import Names, Rendering, TaskSplit
from tests.fakes import SEAMS, TOOLS, Contexts, episode

pytestmark = pytest.mark.engine

ADAPTER = "adapter_model.safetensors"
STEP = 2


@pytest.fixture(scope="module")
def run(server, policy_folder, tmp_path_factory):
    """`run(name)`: a run after two updates on the real server, none of its adapters loaded yet."""
    from harness.backend.shared import SharedBackend, SharedEngine, SharedService
    from harness.engine.synthetic import packed_groups
    from harness.engine.trainer import Lora, Optimiser
    from harness.engine.trainer_process import TrainerOrder, TrainerThread
    from harness.records.store import Store

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


def folder(run, step):
    return run.places[f"{run.name}@{step}"][1]


def answer_from(run, step, place):
    """The server finds another adapter's folder under the name of a step."""
    name = f"{run.name}@{step}"
    run.places[name] = (run.places[name][0], place)


async def reply(server, name, number):
    messages = [{"role": "user", "content": f"say {number}"}]
    options = dict(logprobs=True, return_tokens_as_token_ids=True, return_token_ids=True, max_tokens=24, seed=number)
    body = (await server._post("chat/completions", {"model": name, "messages": messages, **options})).json()
    (choice,) = body["choices"]
    logprobs = tuple(token["logprob"] for token in choice["logprobs"]["content"])
    ids = tuple(choice["token_ids"])
    return Turn(
        tuple(body["prompt_token_ids"]), ids, logprobs, choice["message"]["content"], (), "stop", body["model"], 1.0
    )


async def step_of(server, run, asked):
    """Four rollouts of the step, answered by whatever the server has under the name that is asked."""
    sampled = {}
    async with run.backend.serve(asked):
        for number in range(4):
            turn = await reply(server, asked, number)
            played = episode("a", replace(turn, answered_by=run.backend.weights(turn.answered_by)))
            sampled["a", number] = SourcedEpisode(played, f"{asked} {number}", None)
    group = art.TrajectoryGroup([trajectory(one, number, SEAMS, TOOLS) for (_, number), one in sampled.items()])
    return RolloutTable(STEP, ["a"], 4, sampled, [group])


@pytest.fixture
def check(server, runner):
    """`check(run, level)`: the level's check of what the server answers to the name that the level asks for."""

    def make(run, level):
        names = Names(pinned=f"{run.name}@0", current=f"{run.name}@{STEP}", before=f"{run.name}@{STEP - 1}")
        carried = level.model_name(names)
        asked = carried.removeprefix("hosted_vllm/")

        async def scenario():
            table = await step_of(server, run, asked)
            return table, await served_scores(table, asked, names, run.backend, exact=True)

        table, scores = runner.run(scenario())
        evidence, _ = gather_evidence(
            table,
            {},
            SKIPPED,
            Contexts(),
            trained_contexts=None,
            rendering=Rendering(),
            names_carried=carried,
            names=names,
            after=names.current,
            submitted=table.groups,
            own_seed=lambda task, number: 0,
            weights=run.backend.weights,
            temperature=1.0,
            row_length=256,
            options={},
            split=TaskSplit((), ()),
            validated=None,
            exact=True,
            scores=scores,
        )
        return level.check(evidence)

    return make


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
