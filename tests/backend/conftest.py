"""Both backends without a server: a tiny model, hand-made trajectories.

The shared one has the real trainer and ART, the stock one the real LocalBackend around fakes (stock_fakes.py).
"""

import asyncio
import sys
from contextlib import asynccontextmanager
from types import SimpleNamespace

import art
import pytest
import torch
from openai.types.chat.chat_completion import Choice
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from harness.backend import stock
from harness.backend.art_local import ArtLocalBackend
from harness.backend.shared import SharedBackend, SharedEngine
from harness.engine.trainer import Lora, Optimiser
from harness.engine.trainer_process import TrainerOrder, TrainerThread
from harness.policy import Policy, load_policy
from harness.records.store import Store
from harness.seams import Rendering
from tests.backend import stock_fakes

SERVED = Rendering()
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
    return TrainerThread(TrainerOrder(base, "base-digest", Lora(rank=4, alpha=8), Optimiser(groups_per_step=1)))


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
    """backend, store, and `admit(run, seed, rendering)` -> a registered ART model."""
    store = Store(tmp_path / "store")
    backend = SharedBackend(SharedEngine(NoServer(), trainer, store, "base"), tmp_path / "art")

    def admit(run: str, seed: int = 0, rendering=SERVED, checkpoint=base) -> art.TrainableModel:
        model = art.TrainableModel(name=run, project="test", base_model=str(checkpoint), report_metrics=[])
        asyncio.run(backend.admit(model, run, seed, rendering))
        return model

    return SimpleNamespace(backend=backend, store=store, admit=admit, path=tmp_path)


class Model(art.TrainableModel):
    def _get_wandb_run(self):
        return None


@pytest.fixture
def stock_world(base, tmp_path, monkeypatch):
    """As `world`, for stock ART with fakes for Unsloth and vLLM; also the services that ART has made."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    stock.prepare_process(tmp_path, {})
    services = stock_fakes.install(monkeypatch)
    policy = Policy("base", base, "hermes", 1024, "float32", "base-digest")
    backend = ArtLocalBackend(stock.Settings(policy, 8, 16, 0.5, 64, 4, None, {}), tmp_path / "stock")

    def admit(run: str = "a", seed: int = 0, rendering=SERVED, checkpoint=base) -> art.TrainableModel:
        model = Model(name=run, project="test", base_model=str(checkpoint), report_metrics=[])
        asyncio.run(backend.admit(model, run, seed, rendering))
        return model

    yield SimpleNamespace(backend=backend, services=services, admit=admit)
    asyncio.run(backend.stop())


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
