"""What the real vLLM server must do for the experiment to mean anything. Starts one server, about half a minute."""

import asyncio
import socket

import httpx
import psutil
import pytest

pytestmark = pytest.mark.engine

PROMPT = list(range(10, 58))
SAMPLED = dict(
    logprobs=True, return_tokens_as_token_ids=True, return_token_ids=True, temperature=1.0, max_tokens=16, seed=7
)
TOOL = {"name": "close", "description": "Ends.", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture
def adapters(policy_folder):
    return {f"arm-{number}": policy_folder / f"adapter-{number}" for number in range(7)}


def reference_logprobs(folder, adapter=None):
    """Log-probability (nats) of each PROMPT token after the first, by transformers and peft."""
    import torch
    from peft import PeftModel
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(folder)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    tokens = torch.tensor([PROMPT])
    with torch.no_grad():
        logprobs = model(input_ids=tokens).logits.log_softmax(-1)[0, :-1]
    return logprobs.gather(1, tokens[0, 1:, None])[:, 0].tolist()


async def prompt_logprobs(server, model):
    body = {"model": model, "prompt": PROMPT, "max_tokens": 1, "prompt_logprobs": 0}
    answer = (await server._post("completions", body)).json()
    return [next(iter(token.values()))["logprob"] for token in answer["choices"][0]["prompt_logprobs"][1:]]


async def chat(server, text, **changes):
    body = {"model": "base", "messages": [{"role": "user", "content": text}], **SAMPLED, **changes}
    answer = await server._post("chat/completions", body)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]


def test_each_adapter_answers_as_peft_does_and_the_base_as_the_base_in_one_batch(
    server, runner, adapters, policy_folder
):
    async def scenario():
        for name in list(adapters)[:3]:
            await server.load(name, adapters[name])
        asked = ["arm-0", "base", "arm-1", "base", "arm-2"] * 4
        return asked, await asyncio.gather(*(prompt_logprobs(server, model) for model in asked))

    asked, answers = runner.run(scenario())
    for model in set(asked):
        expected = pytest.approx(reference_logprobs(policy_folder, adapters.get(model)), abs=1e-4)
        assert all(answer == expected for name, answer in zip(asked, answers, strict=True) if name == model)


def test_the_base_stays_the_base_after_more_adapters_than_there_are_slots(server, runner, adapters):
    async def scenario():
        for name, path in adapters.items():
            async with server.lease(name, path):
                await server.check_base()

    runner.run(scenario())


def test_an_adapter_that_comes_back_answers_as_before(server, runner, adapters, policy_folder):
    async def scenario():
        async with server.lease("arm-0", adapters["arm-0"]):  # went when the others came
            return await prompt_logprobs(server, "arm-0")

    expected = reference_logprobs(policy_folder, adapters["arm-0"])
    assert runner.run(scenario()) == pytest.approx(expected, abs=1e-4)


def test_a_seeded_request_is_repeated_exactly_beside_a_crowd(server, runner):
    async def scenario():
        alone = await chat(server, "hello")
        # 15,000 prompt tokens at once
        crowd = [chat(server, "other " * 60 + str(i), seed=i) for i in range(40)]
        again, *_ = await asyncio.gather(chat(server, "hello"), *crowd)
        return alone, again

    alone, again = runner.run(scenario())
    assert alone["token_ids"] == again["token_ids"]


def test_an_answer_carries_token_ids_and_their_logprobs(server, runner):
    choice = runner.run(chat(server, "hello", tools=[{"type": "function", "function": TOOL}]))
    tokens = [token["token"] for token in choice["logprobs"]["content"]]
    assert tokens == [f"token_id:{token}" for token in choice["token_ids"]]
    assert all(token["logprob"] <= 0 for token in choice["logprobs"]["content"])


# Routes of vLLM 0.32 that no description of the server lists, and whose answers would say or do something.
UNLISTED = ["/metrics", "/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect", "/no/such/route"]


def test_only_the_key_opens_the_server(server, runner):
    root = server.base_url.removesuffix("/v1")
    headers = {"Authorization": f"Bearer {server.api_key}"}
    paths = httpx.get(f"{root}/openapi.json", headers=headers).json()["paths"]
    routes = {(method, path) for path, methods in paths.items() for method in methods}
    assert {("post", "/v1/chat/completions"), ("post", "/invocations"), ("post", "/tokenize")} <= routes
    routes |= {("get", path) for path in UNLISTED} | {("options", "/invocations"), ("head", "/metrics")}
    body = {"model": "base", "messages": [{"role": "user", "content": "hello"}], "prompt": "hello", "max_tokens": 1}
    for method, path in routes - {("get", "/health")}:
        sent = {"json": body} if method == "post" else {}
        assert httpx.request(method, root + path, **sent).status_code == 401, (method, path)
    assert httpx.post(f"{root}/invocations", json=body, headers=headers).status_code == 200
    assert httpx.get(f"{root}/health").content == b""


def test_no_websocket_opens_without_the_key(server):
    """Asked by hand: the status line tells. 101 would be an open websocket."""
    wanted = "GET /v1/realtime HTTP/1.1", "Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade"
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall("\r\n".join([*wanted, *key, "", ""]).encode())
        assert connection.recv(100).split()[1] == b"403"


def test_the_engine_does_not_import_everything_again(server):
    """Where Python spawns a process instead of forking it, it starts a resource tracker beside it."""
    (guard,) = (p for p in psutil.Process().children() if any("guard.py" in word for word in p.cmdline()))
    commands = [" ".join(process.cmdline()) for process in guard.children(recursive=True)]
    assert any("EngineCore" in command for command in commands)
    assert not any("resource_tracker" in command for command in commands)


def test_no_process_of_the_server_outlives_the_one_that_made_it(server):
    """The last test: it leaves no server. A killed API server can tell nobody."""
    (guard,) = (p for p in psutil.Process().children() if any("guard.py" in word for word in p.cmdline()))
    (api,) = guard.children()
    engines = api.children(recursive=True)
    assert engines
    api.kill()
    _, alive = psutil.wait_procs(engines, timeout=10)
    assert not alive
