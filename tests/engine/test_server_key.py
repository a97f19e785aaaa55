"""What the middleware inside vLLM lets through. tests/engine/test_server_real.py asks vLLM's own routes."""

import asyncio
import importlib

import pytest

from harness.engine.server_process import SERVER_SIDE

KEY = (b"authorization", b"Bearer the-key")


@pytest.fixture
def asked(monkeypatch):
    """asked(scope) -> what the client is sent, behind it an application that answers everything."""
    monkeypatch.syspath_prepend(str(SERVER_SIDE))  # as vLLM finds it, by the name on its command line
    monkeypatch.setenv("VLLM_API_KEY", "the-key")

    async def app(scope, receive, send):
        await send({"type": "inside"})

    def ask(kind="http", path="/v1/models", method="GET", headers=(KEY,)):
        door = importlib.import_module("harness_vllm_key").KeyRequired(app)
        sent = []

        async def send(message):
            sent.append(message)

        scope = {"type": kind, "path": path, "headers": list(headers)} | ({"method": method} if kind == "http" else {})
        asyncio.run(door(scope, None, send))
        return [message.get("status", message.get("code", message["type"])) for message in sent]

    return ask


PATHS = [
    "/v1/models",
    "/invocations",
    "/tokenize",
    "/metrics",
    "/openapi.json",
    "/load",
    "/no/such",
    "/health/",
    "/HEALTH",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_answers_without_the_key(asked, path):
    assert asked(path=path, headers=())[0] == 401
    assert asked(path=path) == ["inside"]


def test_health_says_that_the_server_is_up_and_only_to_get(asked):
    assert asked(path="/health", headers=()) == ["inside"]
    assert asked(path="/health", method="POST", headers=())[0] == 401


WRONG = [
    [(b"authorization", b"Bearer the-ke")],
    [(b"authorization", b"Bearer the-key2")],
    [(b"authorization", b"the-key")],
    [(b"authorization", b"Bearer ")],
    [(b"authorization", "Bearer thé-key".encode("latin-1"))],
    [(b"x-api-key", b"the-key")],
    [KEY, (b"authorization", b"Bearer other")],  # which of two is meant is not ours to guess
]


@pytest.mark.parametrize("headers", WRONG)
def test_another_key_or_two_of_them_are_none(asked, headers):
    assert asked(headers=headers)[0] == 401


def test_a_request_for_cross_origin_rights_needs_the_key_too(asked):
    assert asked(method="OPTIONS", headers=[(b"origin", b"https://elsewhere")])[0] == 401


def test_a_websocket_is_closed_before_it_is_accepted(asked):
    assert asked(kind="websocket", path="/v1/realtime", headers=()) == [1008]
    assert asked(kind="websocket", path="/v1/realtime") == ["inside"]


def test_the_start_and_end_of_the_server_pass(asked):
    assert asked(kind="lifespan", headers=()) == ["inside"]


def test_a_server_without_a_key_does_not_start(asked, monkeypatch):
    monkeypatch.delenv("VLLM_API_KEY")
    with pytest.raises(KeyError, match="VLLM_API_KEY"):
        asked()
