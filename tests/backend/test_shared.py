"""`backend=shared` keeps ART's rules and shares what two runs have in common."""

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from art.preprocessing.tokenize import tokenize_trajectory_groups
from art.utils.output_dirs import get_model_dir

from harness.backend import ScoredReply, _cache_beside_others, server_config
from harness.errors import ConfigError
from harness.machine.gpu import Gpu
from harness.policy import load_policy
from harness.sections import BackendConfig, PolicyConfig
from tests.backend.conftest import TOOLS


def train(world, model, groups, **options):
    return asyncio.run(world.backend.train(model, groups, learning_rate=1e-2, packed_sequence_length=512, **options))


def test_registration_pins_the_first_name_and_a_step_moves_the_current_one(world, group):
    model = world.admit("a")
    assert model.inference_model_name == model.get_inference_name() == "a@0"
    train(world, model, [group(0.0, 1.0)])
    assert model.inference_model_name == "a@0"  # what fix/endpoint=off keeps asking for
    assert model.get_inference_name() == "a@1"


def test_a_fresh_adapter_is_the_base_policy_and_a_trained_one_is_not(world, group):
    model = world.admit("a")
    assert world.backend.weights("a@0") == world.backend.weights("base") == "base-digest"
    train(world, model, [group(0.0, 1.0)])
    assert world.backend.weights("a@1") != "base-digest"
    assert world.backend.weights("a@7") == "unknown:a@7"


def test_two_runs_in_the_same_state_share_one_update(world, group):
    first, second = world.admit("a"), world.admit("b")
    for model in (first, second):
        train(world, model, [group(0.0, 1.0)])
    assert world.backend.weights("a@1") == world.backend.weights("b@1")
    assert world.backend.trained(second).shared_with == "a"
    assert world.store.counts["updates/computed"] == 1


@pytest.mark.parametrize("change", ["seed", "reward", "tools", "words"])
def test_runs_that_differ_in_anything_do_not_share(change, world, group):
    first = world.admit("a")
    second = world.admit("b", seed=1 if change == "seed" else 0)
    other = {
        "seed": group(0.0, 1.0),
        "reward": group(1.0, 0.0),
        "tools": group(0.0, 1.0, tools=None),
        "words": group(0.0, 1.0, 0.5),
    }[change]
    train(world, first, [group(0.0, 1.0)])
    train(world, second, [other])
    assert world.backend.weights("a@1") != world.backend.weights("b@1")


TODAY = {"loss_fn": "cispo", "epsilon": None, "epsilon_high": None}


def test_the_loss_of_today_has_the_update_key_that_it_had_before_there_was_a_choice(world, group):
    first, second = world.admit("a"), world.admit("b")
    train(world, first, [group(0.0, 1.0)])
    train(world, second, [group(0.0, 1.0)], **TODAY)
    assert world.backend.trained(first).update == world.backend.trained(second).update
    assert world.store.counts["updates/computed"] == 1


@pytest.mark.parametrize("other", [{"loss_fn": "ppo"}, {"epsilon": 0.3}, {"epsilon_high": 0.3}], ids="".join)
def test_another_loss_is_another_update(other, world, group):
    first, second = world.admit("a"), world.admit("b")
    train(world, first, [group(0.0, 1.0)], **TODAY)
    train(world, second, [group(0.0, 1.0)], **(TODAY | other))
    assert world.backend.trained(first).update != world.backend.trained(second).update
    if "epsilon_high" not in other:  # this policy finds nothing more probable than it was served
        assert world.backend.weights("a@1") != world.backend.weights("b@1")


def with_empty(batch, *numbers):
    """The group with the trajectories of these numbers emptied."""
    for number in numbers:
        batch.trajectories[number].messages_and_choices = []
    return batch


def test_an_empty_trajectory_counts_in_the_advantages_of_its_group(tokenizer, group):
    results = list(tokenize_trajectory_groups(tokenizer, [with_empty(group(1.0, 1.0, 0.0), 2)], False, True))
    assert [result.advantage for result in results] == pytest.approx([0.5**0.5] * 2, abs=1e-5)


def test_an_empty_trajectory_is_packed_with_nothing_and_its_group_is_trained_on(world, group):
    without, beside = world.admit("a"), world.admit("b")
    assert train(world, without, [group(1.0, 1.0)]).metrics["data/step_num_gradient_steps"] == 0
    metrics = train(world, beside, [with_empty(group(1.0, 1.0, 0.0), 2)]).metrics
    assert metrics["data/step_num_gradient_steps"] == 1
    both = train(world, world.admit("c"), [group(1.0, 0.0)]).metrics
    assert metrics["data/step_trainer_tokens"] == both["data/step_trainer_tokens"] > 0


def test_a_trajectory_without_a_reply_is_packed_with_nothing_and_its_group_is_trained_on(world, group):
    unanswered = group(1.0, 1.0, 0.0)
    del unanswered.trajectories[2].messages_and_choices[-1]
    metrics = train(world, world.admit("a"), [unanswered]).metrics
    assert metrics["data/step_num_gradient_steps"] == 1
    both = train(world, world.admit("b"), [group(1.0, 0.0)]).metrics
    assert metrics["data/step_trainer_tokens"] == both["data/step_trainer_tokens"] > 0


def test_a_group_of_empty_trajectories_advances_the_step_and_trains_nothing(world, group):
    model = world.admit("a")
    result = train(world, model, [with_empty(group(0.0, 0.0), 0, 1)])
    assert result.step == 1 and result.metrics["data/step_num_gradient_steps"] == 0


def test_engines_that_share_a_gpu_are_given_the_size_of_their_cache(monkeypatch):
    policy = load_policy("micro")

    def cache(gib, engines):
        monkeypatch.setattr("harness.machine.gpu.gpus", lambda: (Gpu(0, "H200", gib),))
        monkeypatch.setattr("harness.sections.gpus", lambda: (Gpu(0, "H200", gib),))
        backend = BackendConfig("shared", engines_per_gpu=engines)
        return _cache_beside_others(SimpleNamespace(backend=backend, policy=PolicyConfig("micro")), policy)

    assert cache(141.0, 1) is None  # vLLM measures what is left
    assert 30 < cache(141.0, 2) / 2**30 < 141 * 0.25
    with pytest.raises(ConfigError, match="Give fewer engines per GPU"):
        cache(8.0, 4)


def test_batch_invariant_kernels_reach_the_server_on_a_gpu_and_are_refused_on_a_cpu(monkeypatch, tmp_path):
    policy, backend = load_policy("micro"), BackendConfig("shared", batch_invariant=True)
    config = SimpleNamespace(backend=backend, policy=PolicyConfig("micro"))
    monkeypatch.setattr("harness.sections.gpus", lambda: (Gpu(0, "H200", 141.0),))
    assert server_config(config, policy, tmp_path).batch_invariant
    monkeypatch.setattr("harness.sections.gpus", lambda: ())
    with pytest.raises(ConfigError, match="vLLM has no such kernels for CPUs. No GPU is visible here"):
        server_config(config, policy, tmp_path)
    with pytest.raises(ConfigError, match="stock ART starts a server of its own"):
        BackendConfig("art_local", batch_invariant=True)


def test_batches_are_tokenised_by_pieces(world, group):
    train(world, world.admit("a"), [group(0.0, 1.0)])
    (tokenizer,) = world.backend._tokenizers.values()
    assert "ByPieces" in [each.__name__ for each in type(tokenizer).__mro__]


def test_a_second_update_continues_from_the_optimiser_state(world, group):
    model = world.admit("a")
    train(world, model, [group(0.0, 1.0)])
    train(world, model, [group(0.0, 1.0)])
    assert len({world.backend.weights(f"a@{n}") for n in range(3)}) == 3
    assert world.store.counts["updates/computed"] == 2


@pytest.mark.parametrize(
    "groups", [{"rewards": (0.5, 0.5)}, {"rewards": (0.0, 1.0), "logprobs": False}], ids=["no spread", "no logprobs"]
)
def test_a_step_without_anything_to_train_advances_and_says_so(groups, world, group):
    model = world.admit("a")
    result = train(world, model, [group(*groups["rewards"], logprobs=groups.get("logprobs", True))])
    assert result.step == 1 and model.get_inference_name() == "a@1"
    assert result.metrics["data/step_num_gradient_steps"] == 0
    assert world.backend.trained(model).update is None
    assert world.backend.weights("a@1") == "base-digest"


def test_a_run_that_starts_again_walks_its_chain_from_the_first_step(world, group):
    model = world.admit("a")
    train(world, model, [group(0.0, 1.0)])
    weights = world.backend.weights("a@1")
    world.backend._services.clear()  # as after a kill
    model = world.admit("a")
    assert model.get_inference_name() == "a@0"
    train(world, model, [group(0.0, 1.0)])
    assert world.backend.weights("a@1") == weights
    assert world.store.counts["updates/computed"] == 1


def test_every_step_has_a_checkpoint_that_peft_can_load(world, group, base):
    model = world.admit("a")
    train(world, model, [group(0.0, 1.0)])
    folder = Path(get_model_dir(model, art_path=str(world.path / "art"))) / "checkpoints" / "0001"
    assert {p.name for p in folder.iterdir()} >= {"adapter_model.safetensors", "adapter_config.json"}


def test_serving_a_name_leases_the_adapter_of_that_step(world, group):
    model = world.admit("a")
    train(world, model, [group(0.0, 1.0)])

    async def serve():
        async with world.backend.serve("a@1"), world.backend.serve("base"):
            pass

    asyncio.run(serve())
    ((name, path),) = world.backend.engine.server.leased
    assert name == "a@1" and path.name == "0001"


def test_arms_take_the_same_number_of_gradient_steps_however_long_their_context(world, group):
    with_tools, without = world.admit("a"), world.admit("b")
    steps = [
        train(world, model, [group(0.0, 1.0, tools=tools), group(0.5, 1.0, tools=tools)]).metrics
        for model, tools in ((with_tools, TOOLS), (without, None))
    ]
    assert [m["data/step_num_gradient_steps"] for m in steps] == [2, 2]


def test_the_gap_to_the_sampler_is_that_of_the_first_gradient_step(world, group):
    metrics = train(world, world.admit("a"), [group(0.0, 1.0), group(0.5, 1.0)]).metrics
    assert metrics["first/logprob_gap"] != metrics["loss/logprob_gap"]


def test_a_computed_update_says_what_it_took_and_a_shared_one_does_not(world, group):
    first, second = (train(world, world.admit(run), [group(0.0, 1.0)]).metrics for run in "ab")
    assert first["train/tokens"] > first["train/trained_tokens"] > 0 and first["train/seconds"] > 0
    assert not any(name.startswith("train/") for name in second)


REPLIES = [ScoredReply("episode", 0, (5, 6, 7), (8, 9)), ScoredReply("episode", 2, (5, 6, 7, 8, 9, 10), (11,))]


def scores(world, name, replies=REPLIES):
    found = asyncio.run(world.backend.score(name, replies))
    return None if found is None else [each.tolist() for each in found]


def test_a_name_is_scored_by_the_weights_that_were_trained_for_it(world, group):
    model = world.admit("a")
    train(world, model, [group(0.0, 1.0)])
    first = scores(world, "a@1")
    train(world, model, [group(0.0, 1.0, 0.5)])
    assert scores(world, "a@0") == scores(world, "base")
    assert [len(each) for each in first] == [2, 1]
    assert len({str(scores(world, name)) for name in ("a@0", "a@1", "a@2")}) == 3
    assert scores(world, "a@1") == first


def test_a_checkpoint_whose_file_was_changed_is_scored_as_it_was_trained(world, group):
    """The sampler reads the file: whatever it finds there proves nothing about what should be there."""
    model = world.admit("a")
    train(world, model, [group(0.0, 1.0)])
    checkpoints = Path(get_model_dir(model, art_path=str(world.path / "art"))) / "checkpoints"
    name = "adapter_model.safetensors"
    (checkpoints / "0001" / name).write_bytes((checkpoints / "0000" / name).read_bytes())
    assert scores(world, "a@1") != scores(world, "a@0")


def test_the_weights_of_a_skipped_step_are_those_before_it(world, group):
    model = world.admit("a")
    train(world, model, [group(0.0, 1.0)])
    train(world, model, [group(0.5, 0.5)])
    assert scores(world, "a@2") == scores(world, "a@1") != scores(world, "a@0")


def test_weights_that_the_trainer_no_longer_has_are_not_scored(world, group):
    model = world.admit("a")
    for _ in range(3):
        train(world, model, [group(0.0, 1.0)])
    assert scores(world, "a@1") is None
    assert None not in [scores(world, name) for name in ("a@0", "a@2", "a@3")]


def test_a_name_that_nobody_registered_is_not_scored(world):
    world.admit("a")
    assert [scores(world, name) for name in ("a@1", "nobody@0", "")] == [None] * 3


def test_runs_with_the_same_weights_share_the_scores_of_an_episode(world, group, monkeypatch):
    first, second = world.admit("a"), world.admit("b")
    for model in (first, second):
        train(world, model, [group(0.0, 1.0)])
    computed = []
    score = world.backend.engine.trainer.score

    async def counted(adapter, replies):
        computed.extend(replies)
        return await score(adapter, replies)

    monkeypatch.setattr(world.backend.engine.trainer, "score", counted)
    found = scores(world, "a@1")
    assert scores(world, "b@1", REPLIES[::-1]) == found[::-1]
    assert len(computed) == 2
    scores(world, "b@0")
    assert len(computed) == 4


def test_episodes_of_one_key_that_were_sampled_apart_are_scored_apart(world, group):
    """With reuse=off each run samples for itself, and what a GPU samples depends on its batch."""
    train(world, world.admit("a"), [group(0.0, 1.0)])
    first, other = REPLIES[0], replace(REPLIES[0], output_ids=(9,))
    assert [len(each) for each in scores(world, "a@1", [first])] == [2]
    assert [len(each) for each in scores(world, "a@1", [other])] == [1]
    longer = replace(first, prompt_ids=(5, 6, 7, 8), output_ids=(9,))  # the same ids, divided elsewhere
    assert [len(each) for each in scores(world, "a@1", [longer])] == [1]
