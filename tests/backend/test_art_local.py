"""`backend=art_local` around the real LocalBackend; Unsloth and vLLM are fakes (stock_fakes.py)."""

import asyncio
import socket
from types import SimpleNamespace

import pytest

from harness.backend import SKIPPED, stock
from harness.errors import EngineError
from tests.backend import stock_fakes


@pytest.fixture
def world(stock_world):
    return stock_world


def train(world, model, *groups):
    return asyncio.run(world.backend.train(model, groups, learning_rate=1e-4, packed_sequence_length=512))


def test_each_run_has_a_server_of_its_own_and_ends_it(world):
    first = world.admit("a")
    url, key = world.backend.endpoint("a@0")
    assert url == first.inference_base_url and key == "default"
    asyncio.run(world.backend.release(first))
    assert world.services[0].closed
    with pytest.raises(EngineError, match="a@0"):
        world.backend.endpoint("a@0")
    second = world.admit("b")
    assert world.backend.endpoint("b@0")[0] == second.inference_base_url


def test_the_learning_rate_is_the_configs_and_rows_are_stock(world, group):
    model = world.admit()
    train(world, model, group(0.0, 1.0, 0.5))
    (service,) = world.services
    assert service.rates == [1e-4]
    assert tuple(service.rows[0]["tokens"].shape) == (2, 1024)  # one history each (the mean one drops out), padded


def test_the_records_get_arts_own_metrics(world, group):
    metrics = train(world, world.admit(), group(0.0, 1.0)).metrics
    assert metrics["data/step_num_gradient_steps"] == 2  # one for each history
    assert metrics["data/step_trainer_tokens"] > 0
    assert {"loss/train", "loss/grad_norm", "loss/entropy"} <= metrics.keys()
    assert "first/logprob_gap" not in metrics  # stock ART does not look


def test_an_update_is_named_by_the_weights_that_it_made(world, group):
    model = world.admit()
    train(world, model, group(0.0, 1.0))
    assert world.backend.trained(model).update == world.backend.weights("a@1")
    train(world, model, group(0.5, 0.5))
    assert world.backend.trained(model) == SKIPPED


def test_a_run_that_starts_again_starts_at_step_0(world, group):
    model = world.admit()
    train(world, model, group(0.0, 1.0))
    asyncio.run(world.backend.release(model))
    model = world.admit()
    assert model.get_inference_name() == "a@0" and world.backend.weights("a@0") == "base-digest"
    assert world.backend.weights("a@1") == "unknown:a@1"


def test_the_first_checkpoint_must_keep_its_answers(world):
    world.admit()
    asyncio.run(world.backend.check_base())
    path, body = world.services[0].server.asked[0]
    assert path == "/v1/completions" and body["model"] == "a@0"
    world.services[0].server.drift = 0.5
    with pytest.raises(EngineError, match=r"moved by 0\.5"):
        asyncio.run(world.backend.check_base())


def test_a_server_that_is_gone_is_an_engine_error_with_its_log(world):
    world.admit()
    world.backend.assert_alive()
    world.services[0].server.close()
    with pytest.raises(EngineError, match=r"is gone.*vllm-runtime\.log"):
        world.backend.assert_alive()


def test_a_start_that_fails_is_an_engine_error_and_leaves_nothing(world, monkeypatch):
    async def fails(self, config):
        self.server = SimpleNamespace(close=lambda: None)
        raise RuntimeError("out of cheese")

    monkeypatch.setattr(stock_fakes.FakeUnslothService, "start_openai_server", fails)
    with pytest.raises(EngineError, match=r"did not start for a.*out of cheese"):
        world.admit("a")
    asyncio.run(world.backend.stop())
    assert world.services[0].closed


def test_a_backend_that_does_not_close_is_ended(world, monkeypatch):
    model = world.admit()
    closed = []

    async def hangs(self):
        raise RuntimeError("child process is gone")

    monkeypatch.setattr("art.local.LocalBackend.close", hangs)
    monkeypatch.setattr("art.local.LocalBackend._close", lambda self: closed.append(self))
    asyncio.run(world.backend.release(model))
    assert len(closed) == 1
    world.services[0].close()


def test_the_port_that_is_asked_for_is_the_servers(world):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = world.backend.settings
    world.backend.settings = stock.Settings(**{**vars(settings), "port": port})
    world.admit()
    assert world.backend.endpoint("a@0")[0] == f"http://127.0.0.1:{port}/v1"
