"""One contract for both backends.

On a CPU stock ART stands around a fake trainer (stock_fakes.py); on a GPU experiments/benchmarks/contract.py holds both
to it for real.
"""

import asyncio
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from art.utils.output_dirs import get_model_dir
from openai.types.chat.chat_completion import Choice
from peft import PeftModel
from transformers import AutoModelForCausalLM

import harness
from harness.backend import SKIPPED, ScoredReply, stock
from harness.machine.gpu import gpus
from tests.backend.conftest import TOOLS

PROGRAM = Path(harness.__file__).parent.parent / "experiments" / "benchmarks" / "contract.py"
spec = importlib.util.spec_from_file_location("contract", PROGRAM)
contract = importlib.util.module_from_spec(spec)
sys.modules["contract"] = contract  # dataclasses look their module up
spec.loader.exec_module(contract)

CPU_TOLERANCE = contract.TOLERANCE["float32"]


@pytest.fixture(params=["shared", "art_local"])
def either(request):
    return request.getfixturevalue({"shared": "world", "art_local": "stock_world"}[request.param])


def train(world, model, *groups, learning_rate=1e-2):
    return asyncio.run(world.backend.train(model, groups, learning_rate=learning_rate, packed_sequence_length=512))


def packed(world, groups):
    """The histories that a backend trains on."""
    model = world.admit("packing")
    seen = contract.captured(world.backend, model)
    train(world, model, *groups)
    return contract.histories(seen[0])


def test_a_stored_episode_begins_with_its_tasks_prompt_and_ends_with_its_last_reply():
    turns = [{"prompt_ids": [1, 2], "output_ids": [3]}, {"prompt_ids": [1, 2, 3, 4], "output_ids": [5, 6]}]
    episode = json.dumps({"turns": turns})
    assert contract.first_prompt(episode) == (1, 2)
    assert contract.served_ids(episode) == (1, 2, 3, 4, 5, 6)


def test_the_same_trajectories_give_the_same_ids_and_advantages(world, stock_world, group):
    groups = [group(0.0, 1.0, 0.25), group(1.0, 0.5, tools=None), group(0.5, 0.5)]
    ours, theirs = packed(world, groups), packed(stock_world, groups)
    assert len(ours) == 5  # the third group has no advantage
    odd, gap = contract.different(ours, theirs)
    assert odd == 0 and gap < 1e-6
    assert contract.different(ours, packed(world, [group(0.0, 1.0)]))[0] > 0  # the comparison can fail


def test_rollouts_that_sampled_the_same_are_compared_by_their_advantages():
    same = [contract.History((1, 2), (None, -0.5), (advantage,)) for advantage in (1.0, -1.0)]
    assert contract.different(same, same[::-1]) == (0, 0.0)
    assert contract.different(same, same[:1])[0] == 1
    assert contract.different(same, [same[0], contract.History((1, 2), (None, -0.5), (0.0,))]) == (0, 1.0)


def test_a_model_starts_at_step_0_as_the_base_policy(either):
    model = either.admit("a")
    assert model.inference_model_name == model.get_inference_name() == "a@0"
    assert either.backend.weights("a@0") == "base-digest"
    assert either.backend.weights("a@1") == "unknown:a@1"
    assert either.backend.weights("nobody@0") == "unknown:nobody@0"


def test_a_step_moves_the_current_name_and_keeps_the_pinned_one(either, group):
    model = either.admit("a")
    result = train(either, model, group(0.0, 1.0))
    assert result.step == 1 and model.get_inference_name() == "a@1" and model.inference_model_name == "a@0"
    assert either.backend.weights("a@1") not in ("base-digest", "unknown:a@1")
    assert either.backend.weights("a@0") == "base-digest"


def test_a_name_is_scored_for_each_reply_or_not_at_all(either, group):
    model = either.admit("a")
    train(either, model, group(0.0, 1.0))
    replies = [ScoredReply("episode", 0, (5, 6, 7), (8, 9)), ScoredReply("episode", 1, (5, 6, 7), (8,))]
    found = asyncio.run(either.backend.score("a@1", replies))
    assert found is None or [len(each) for each in found] == [2, 1]
    assert asyncio.run(either.backend.score("nobody@0", replies)) is None


def test_every_step_leaves_a_checkpoint(either, group):
    model = either.admit("a")
    train(either, model, group(0.0, 1.0))
    root = getattr(either.backend, "path", None) or either.backend._path
    checkpoints = Path(get_model_dir(model, art_path=str(root))) / "checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == ["0000", "0001"]
    assert (checkpoints / "0001" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("nothing", [{"rewards": (0.5, 0.5)}, {"rewards": (0.0, 1.0), "logprobs": False}], ids=str)
def test_a_skipped_update_advances_the_step_and_keeps_the_weights(either, group, nothing):
    model = either.admit("a")
    train(either, model, group(0.0, 1.0))
    before = either.backend.weights("a@1")
    result = train(either, model, group(*nothing["rewards"], logprobs=nothing.get("logprobs", True)))
    assert result.step == 2 and model.get_inference_name() == "a@2"
    assert result.metrics["data/step_num_gradient_steps"] == 0
    assert either.backend.weights("a@2") == before
    assert either.backend.trained(model) == SKIPPED


def test_a_trained_update_has_a_name(either, group):
    model = either.admit("a")
    metrics = train(either, model, group(0.0, 1.0)).metrics
    assert either.backend.trained(model).update
    assert metrics["data/step_num_gradient_steps"] >= 1 and metrics["data/step_trainer_tokens"] > 0


def test_what_was_trained_is_said_until_the_next_update(either, group):
    model = either.admit("a")
    assert list(either.backend.trained_contexts(model)) == []
    train(either, model, group(0.0, 1.0, 0.5))
    assert len(either.backend.trained_contexts(model)) == 2  # the one in the middle has no advantage
    train(either, model, group(0.5, 0.5))
    assert list(either.backend.trained_contexts(model)) == []


def test_the_current_name_is_served_somewhere(either, group):
    model = either.admit("a")
    train(either, model, group(0.0, 1.0))

    async def ask():
        async with either.backend.serve("a@1"), either.backend.serve("a@0"):
            return either.backend.endpoint("a@0"), either.backend.endpoint("a@1")

    pinned, current = asyncio.run(ask())
    assert pinned == current and pinned[0].endswith("/v1")


def test_release_can_be_called_twice_and_after_a_failed_start(either):
    for model in (either.admit("a"), SimpleNamespace(name="never admitted")):
        for _ in range(2):
            asyncio.run(either.backend.release(model))


def test_the_trainer_agrees_with_the_checkpoint_that_is_served(world, group, base, tokenizer):
    """The sampler's side is transformers and PEFT on the checkpoint that vLLM would load, one rollout at a time."""
    model = world.admit("a")
    train(world, model, group(0.0, 1.0))
    folder = Path(get_model_dir(model, art_path=world.backend._path)) / "checkpoints" / "0001"
    served = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), str(folder))

    def rescored(trajectory):
        *messages, choice = trajectory.messages_and_choices
        prompt = tokenizer.apply_chat_template(messages, tools=TOOLS, add_generation_prompt=True, return_dict=False)
        sampled = [int(t.token.removeprefix("token_id:")) for t in choice.logprobs.content]
        with torch.no_grad():
            logits = served(torch.tensor([prompt + sampled])).logits[0].log_softmax(-1)
        raw = choice.model_dump()
        for place, (entry, token) in enumerate(zip(raw["logprobs"]["content"], sampled, strict=True)):
            entry["logprob"] = logits[len(prompt) + place - 1, token].item()
        return trajectory.model_copy(update={"messages_and_choices": [*messages, Choice.model_validate(raw)]})

    again = group(0.0, 1.0, 0.25)
    again.trajectories = [rescored(t) for t in again.trajectories]
    metrics = train(world, model, again, learning_rate=contract.TINY).metrics
    assert metrics["first/logprob_gap"] < CPU_TOLERANCE
    assert train(world, model, group(0.0, 1.0), learning_rate=contract.TINY).metrics["first/logprob_gap"] > 0.1


def unable() -> str:
    """Why stock ART cannot run here; empty if it can."""
    missing = [name for name in stock.NEEDED if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else "" if gpus() else "no NVIDIA GPU is visible"


@pytest.mark.engine
@pytest.mark.skipif(bool(unable()), reason=f"stock ART needs a GPU with Unsloth ({unable()})")
def test_both_keep_the_contract_on_a_gpu(tmp_path):
    done = subprocess.run([sys.executable, str(PROGRAM), "--out", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
