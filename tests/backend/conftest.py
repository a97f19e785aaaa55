"""The shared backend on the real trainer and ART, without a server: a tiny model, hand-made trajectories."""

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import art
import pytest
import torch
from openai.types.chat.chat_completion import Choice
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from harness.backend.shared import Engine, SharedBackend
from harness.engine.trainer import Lora, Optimiser, Trainer
from harness.policy import load_policy
from harness.store import Store

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "close",
            "description": "Close a task.",
            "parameters": {"type": "object", "properties": {}},
        },
    }
]


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """A random one-layer Llama with the micro policy's tokenizer."""
    folder = tmp_path_factory.mktemp("base")
    tokenizer = AutoTokenizer.from_pretrained(load_policy("micro").path)
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(base):
    return AutoTokenizer.from_pretrained(base)


@pytest.fixture(scope="session")
def trainer(base):
    return Trainer(base, "base-digest", Lora(rank=4, alpha=8), Optimiser(groups_per_step=1))


class NoServer:
    """Stands where the vLLM server would; remembers which adapters were asked for."""

    base_url = "http://127.0.0.1:1/v1"
    api_key = "key"

    def __init__(self):
        self.leased = []

    @asynccontextmanager
    async def lease(self, name, path):
        self.leased.append((name, path))
        yield


@pytest.fixture
def world(base, trainer, tmp_path):
    """backend, store, and `admit(run, seed)` -> a registered ART model."""
    store = Store(tmp_path / "store")
    backend = SharedBackend(Engine(NoServer(), trainer, store, "base"), tmp_path / "art")

    def admit(run: str, seed: int = 0) -> art.TrainableModel:
        model = art.TrainableModel(name=run, project="test", base_model=str(base), report_metrics=[])
        asyncio.run(backend.admit(model, run, seed))
        return model

    return SimpleNamespace(backend=backend, store=store, admit=admit, path=tmp_path)


@pytest.fixture
def group(tokenizer):
    """A group of rollouts with the given rewards; each says another word."""

    def make(*rewards: float, logprobs: bool = True, tools=TOOLS) -> art.TrajectoryGroup:
        return art.TrajectoryGroup(
            [
                art.Trajectory(
                    messages_and_choices=[
                        {"role": "system", "content": "Be brief."},
                        {"role": "user", "content": "Hello"},
                        choice(tokenizer, f"word {i}", logprobs),
                    ],
                    tools=tools,
                    reward=reward,
                )
                for i, reward in enumerate(rewards)
            ]
        )

    return make


def choice(tokenizer, text: str, logprobs: bool = True) -> Choice:
    ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
    tokens = [{"token": f"token_id:{i}", "logprob": -2.0, "bytes": None, "top_logprobs": []} for i in ids]
    return Choice.model_validate(
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": text},
            "logprobs": {"content": tokens} if logprobs else None,
        }
    )
