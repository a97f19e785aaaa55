"""What `user=llm` adds to litellm's own cost: python -m experiments.benchmarks.model_user

Conversations of MESSAGES messages with a user whose server, on loopback in a process of its own, answers at once.
Each conversation is held twice, in turn: by litellm alone, which is asked with the same messages and options, and by
the user as an episode has it, with its seeds, keys, stored replies and accounts. Then once more, when every reply is
stored. One at a time, so that wall time is what an episode waits for; CPU time is this process's.
"""

import asyncio
import gc
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from harness.launch.quiet import quiet

quiet()  # before litellm's import

import litellm  # noqa: E402

from harness.env import Role  # noqa: E402
from harness.sections import UserConfig  # noqa: E402
from harness.users.asking import UserModel  # noqa: E402
from harness.users.model_user import ModelUser  # noqa: E402

MESSAGES, EPISODES, WARM = 6, 100, 10
ROLE = Role("You are a customer. " + "Say what the scenario says, a little at a time. " * 90, ("###STOP###",))
POLICY = "I have looked up your order. Shall I exchange the lamp for the brighter one (yes/no)?"
SAID = {"role": "assistant", "content": "Yes, please exchange it, and tell me what I have to pay for it."}
ANSWER = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "q",
    "choices": [{"index": 0, "message": SAID, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 20, "total_tokens": 1020},
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # one packet for an answer
    raw = json.dumps(ANSWER).encode()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(self.raw)))
        self.end_headers()
        self.wfile.write(self.raw)

    def log_message(self, *_: Any) -> None:
        pass


def serve(port: Connection) -> None:
    server = HTTPServer(("127.0.0.1", 0), Handler)
    port.send(server.server_port)
    server.serve_forever()


async def bare(options: UserConfig, seed: int) -> None:
    """The calls of a conversation, by litellm alone."""
    messages = [{"role": "system", "content": ROLE.system}, {"role": "user", "content": ROLE.greeting}]
    for number in range(MESSAGES):
        response = await litellm.acompletion(
            model=options.model or "",
            api_base=options.api_base,
            api_key="none",
            messages=messages,
            temperature=options.temperature,
            max_tokens=options.max_tokens,
            seed=seed + number,
            num_retries=0,
            max_retries=0,
            timeout=options.seconds,
        )
        said = {"role": "assistant", "content": response.choices[0].message.content}
        messages = [*messages, said, {"role": "user", "content": POLICY}]


async def ours(model: UserModel, seed: int) -> None:
    user = ModelUser(ROLE, seed, model)
    await user.opening()
    for _ in range(MESSAGES - 1):
        await user.reply(POLICY)


async def timed(work: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    """Wall and CPU milliseconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    await work()
    return 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)


async def measure(url: str, folder: Path) -> dict[str, list[tuple[float, float]]]:
    options = UserConfig(kind="llm", model="hosted_vllm/q", api_base=url, temperature=0.0, max_tokens=512)
    model = UserModel.of(options, folder)
    found: dict[str, list[tuple[float, float]]] = {"litellm alone": [], "user=llm": [], "found again": []}
    for seed in range(EPISODES + WARM):
        works: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("litellm alone", lambda seed=seed: bare(options, seed)),  # type: ignore[misc]
            ("user=llm", lambda seed=seed: ours(model, seed)),  # type: ignore[misc]
        ]
        for name, work in works if seed % 2 else reversed(works):
            found[name].append(await timed(work))
        found["found again"].append(await timed(lambda seed=seed: ours(model, seed)))  # type: ignore[misc]
    return {name: times[WARM:] for name, times in found.items()}


def main() -> None:
    here, there = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{here.recv()}/v1"
    gc.freeze()
    with tempfile.TemporaryDirectory() as scratch:
        found = asyncio.run(measure(url, Path(scratch)))
    server.terminate()
    print(f"{EPISODES} conversations of {MESSAGES} messages; milliseconds of one, median [quartiles]")
    middle = {}
    for name, times in found.items():
        walls, cpus = ([each[i] for each in times] for i in (0, 1))
        middle[name] = statistics.median(walls), statistics.median(cpus)
        low, _, high = statistics.quantiles(walls, n=4)
        print(f"{name:20} wall {middle[name][0]:6.1f} [{low:.1f}, {high:.1f}]   CPU {middle[name][1]:6.1f}")
    pairs = list(zip(found["user=llm"], found["litellm alone"], strict=True))
    for i, what in enumerate(("wall", "CPU")):
        more = statistics.median(mine[i] - theirs[i] for mine, theirs in pairs)
        ratio = middle["user=llm"][i] / middle["litellm alone"][i]
        print(f"user=llm: {more:+.1f} ms of {what} time a conversation (median of pairs), {ratio:.2f} times litellm's")


if __name__ == "__main__":
    main()
