"""Where a trainer computes changes nothing: in its own process it gives the same bytes as in this one."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from harness.engine.synthetic import packed_groups
from harness.engine.trainer import Lora, Optimiser
from harness.engine.trainer_process import TrainerOrder, TrainerProcess, TrainerThread
from harness.errors import EngineError

VOCABULARY = 96


@pytest.fixture(scope="module")
def order(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    return TrainerOrder(folder, "base-digest", Lora(rank=4, alpha=8), Optimiser())


async def all_that_is_asked(trainer, tensors):
    """Of two updates, the second from the first's state, and of what each adapter says of a reply."""
    first = await trainer.initial_state(3)
    second, metrics, cost = await trainer.update(first, tensors, 1e-3, {})
    third, more, _ = await trainer.update(second, tensors, 1e-3, {})
    replies = [((1, 2, 3), (4, 5)), ((1,), (6,))]
    scores = [await trainer.score(adapter, replies) for adapter in (None, third.adapter)]
    assert cost.updates == 1
    return first, second, third, metrics, more, scores


def test_the_process_gives_the_same_bytes_as_a_trainer_here(order, tmp_path):
    tensors = packed_groups(3, 4, prompt=60, own=(40, 120), vocabulary=VOCABULARY, row_tokens=512)
    tensors["pixel_values"] = [None]  # ART's tensors hold what is none

    async def there():
        process = TrainerProcess(order, tmp_path / "trainer.log")
        await process.start()
        try:
            loaded = Path(f"/proc/{process._process.pid}/maps").read_text()
            assert "libtorch" in loaded and "aiohttp" not in loaded  # ART's loss is there, and none of ART's clients
            unlike = {**tensors, "advantages": torch.full_like(tensors["advantages"], torch.nan)}
            with pytest.raises(EngineError, match="The gradient of a training step is nan"):
                await process.update(await process.initial_state(3), unlike, 1e-3, {})
            with pytest.raises(RuntimeError, match="The trainer failed: KeyError"):
                await process.update(await process.initial_state(3), {}, 1e-3, {})
            return await all_that_is_asked(process, tensors)
        finally:
            await process.close()

    threads = torch.get_num_threads()
    here = asyncio.run(all_that_is_asked(TrainerThread(order), tensors))
    torch.set_num_threads(threads)
    *states, scores = asyncio.run(there())
    *expected_states, expected_scores = here
    assert states == expected_states
    for found, expected in zip(scores, expected_scores, strict=True):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
    assert "dense attention, float32, ready" in (tmp_path / "trainer.log").read_text()
