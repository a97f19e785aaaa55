"""The estimates agree with published sizes and with what was measured on a card."""

import json
from pathlib import Path

import pytest

from harness.machine import memory
from harness.policy import BUNDLED, POLICIES, bundled

H100 = memory.CARDS["H100"]
RESULTS = Path(__file__).parents[2] / "results"


@pytest.mark.parametrize(
    ("policy", "parameters"),
    [
        ("qwen2_5_7b", 7_615_616_512),  # the published weights are 15,231,233,024 bytes of bfloat16
        ("qwen2_5_14b", 14_770_033_664),
        ("qwen3_4b", 4_022_468_096),
        ("smollm2_135m", 134_515_008 + 8 * 576),  # and eight reserved tokens
    ],
)
def test_parameters_are_those_of_the_published_model(policy, parameters):
    assert memory.SHAPES[policy].parameters == parameters


def test_every_policy_has_a_shape():
    assert set(memory.SHAPES) == set(POLICIES)


@pytest.mark.parametrize("name", BUNDLED)
def test_the_shape_of_a_bundled_policy_is_its_configs(name):
    assert memory.read_shape(bundled(name)) == memory.SHAPES[name]


def test_an_adapter_is_rank_times_inputs_and_outputs_of_each_projection():
    one = memory.Shape(1, 4, 8, 2, 1, 2, 10, tied=True)
    assert one.adapter(3) == 3 * ((4 + 4) + (4 + 2) + (4 + 2) + (4 + 4) + (4 + 8) + (4 + 8) + (8 + 4))


def test_the_cache_of_a_card_is_what_vllm_reported():
    """SmolLM2-135M at 0.6 of an H100 (79.6 GiB) with four slots: 2.17 million tokens."""
    found = memory.sampler(memory.SHAPES["smollm2_135m"], rank=8, slots=4, budget=0.6 * 79.6 * memory.GIB)
    assert found.tokens == pytest.approx(2.17e6, rel=0.05)


@pytest.mark.parametrize(("at_once", "tokens_per_second"), [(64, 9_700), (256, 15_800)])
def test_decoding_of_the_small_model_is_as_fast_as_measured(at_once, tokens_per_second):
    shape, load = memory.SHAPES["smollm2_135m"], memory.Load(prefix=4096, episode=288, written=256)
    seconds = memory.rollout_seconds(shape, load, at_once, at_once, H100)
    assert at_once * 256 / seconds == pytest.approx(tokens_per_second, rel=0.1)


def test_checkpointing_keeps_less_and_takes_half_as_long_again():
    shape, load = memory.SHAPES["qwen2_5_7b"], memory.LOADS["retail"]
    train = memory.training(shape, rank=8, row=16384)
    assert train.total(twice=True) < train.total(twice=False)
    once, twice = (memory.train_seconds(shape, load, 48, 8, H100, twice) for twice in (False, True))
    assert twice == pytest.approx(1.5 * once)


@pytest.mark.parametrize("policy", ["qwen2_5_7b", "qwen2_5_14b"])
def test_a_whole_step_of_a_large_policy_takes_what_was_measured_on_a_card(policy):
    """By experiments/benchmarks/large_step.py. A prompt is shared within a group, its first quarter within a step."""
    measured = json.loads((RESULTS / f"large_step_{policy}.json").read_text())
    shape, groups, episodes = memory.SHAPES[policy], measured["groups"], measured["groups"] * measured["rollouts"]
    prompt, reply, step = measured["prompt_tokens"], measured["reply_tokens"], measured["step"]
    train = memory.training(shape, rank=8, row=measured["row_tokens"])
    assert train.total(twice=True) - memory.TRAINER_FIXED == pytest.approx(
        step["trainer"]["peak_gib"] * memory.GIB, rel=0.05
    )
    load = memory.Load(prompt, reply, reply)
    trained = memory.train_seconds(shape, load, episodes, groups, H100, twice=True)
    assert trained == pytest.approx(step["trainer"]["step_seconds"], rel=0.1)
    scored = memory.score_seconds(shape, load, episodes, groups, H100)
    assert scored == pytest.approx(step["seconds"]["score"], rel=0.15)
    played = memory.rollout_seconds(
        shape, memory.Load(prompt // 4, prompt - prompt // 4 + reply, reply), episodes, episodes, H100
    )
    assert played == pytest.approx(step["seconds"]["rollout"], rel=0.3)


def test_an_episode_and_an_update_take_what_a_step_takes_in_parts():
    shape, load = memory.SHAPES["qwen2_5_7b"], memory.LOADS["retail"]
    found = memory.card_seconds(shape, "retail", 8, 6, at_once=256, gpus=("NVIDIA H200",))
    assert found.card == "H200"
    card = memory.CARDS["H200"]
    assert 48 * found.episode == pytest.approx(memory.rollout_seconds(shape, load, 48, 48, card))
    both = memory.train_seconds(shape, load, 48, 8, card, twice=True) + memory.score_seconds(shape, load, 48, 8, card)
    assert found.update == pytest.approx(both)


def test_without_a_known_gpu_an_h100_is_meant_and_an_unknown_environment_has_no_estimate():
    shape = memory.SHAPES["smollm2_135m"]
    assert memory.card_seconds(shape, "retail", 8, 6, 256, gpus=("Some Card",)).card == "H100"
    assert memory.card_seconds(shape, "mine", 8, 6, 256) is None


def test_a_model_too_large_for_the_card_is_said_not_to_fit():
    assert not memory.fits("qwen2_5_14b", 40.0)
    sampler_line, trainer_line = memory.estimate_lines("qwen2_5_14b", "NVIDIA A100-SXM4-40GB", 40.0)
    assert "NO ROOM" in sampler_line
    assert "DOES NOT FIT" in trainer_line


def test_small_policies_fit_a_large_card_and_get_a_time():
    assert memory.fits("smollm2_135m", 79.6)
    assert "a step of 8 x 6 episodes at best" in memory.estimate_lines("smollm2_135m", "NVIDIA H100 80GB HBM3", 79.6)[2]


def test_an_unknown_card_gets_no_time():
    assert (
        memory.estimate_lines("micro", "Some Card", 24.0, domain="mock")[-1]
        == "time: no data sheet of 'Some Card' here"
    )
