"""The same questions asked alone and in company: how far do the answers differ?

A row is one prompt, the opening of a task, one way of sampling and one reply, asked for as the runs ask
(harness/completion.py). Each time the rows are asked their adapter has another name: vLLM keeps cached prompts apart by
it, so each time the prompts are computed anew.
"""

import asyncio
import itertools
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.completion import PROVIDER, Request, complete
from harness.config import SweepConfig
from harness.engine.random_adapter import save_random_adapters
from harness.engine.server import Server
from harness.engine.state import Lora
from harness.env import Environment
from harness.episode import Turn
from harness.errors import EngineError
from harness.machine.certificate import Difference
from harness.policy import Policy

PROMPTS = 16  # each asked greedily and sampled
AT_ONCE = 8  # rows in company; the rest of what is under way is company
REQUESTS = 64  # under way at once in company, at most
ADAPTERS = 8  # that are asked in company, the rows' own among them, at most

Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class Row:
    messages: Messages
    temperature: float
    seed: int


@dataclass(frozen=True)
class Company:
    """again, company: against the first time that the rows were asked alone; see `Certificate`."""

    again: Difference
    company: Difference
    beside: dict[str, int]
    seconds: float


class Asker:
    """Asks a server as the runs of a sweep do. at_once: requests at most"""

    def __init__(self, server: Server, domain: Environment, config: SweepConfig) -> None:
        self.server, self.domain, self.config = server, domain, config
        self.at_once = min(REQUESTS, config.backend.requests)
        self._limit = asyncio.Semaphore(self.at_once)

    async def ask(self, name: str, row: Row) -> Turn:
        request = Request(
            self.server.base_url,
            self.server.api_key,
            PROVIDER + name,
            row.messages,
            self.domain.tools,
            row.temperature,
            self.config.rollout.max_tokens,
            row.seed,
            with_prompt_ids=True,
        )
        return (await complete(request, self._limit, need_logprobs=True)).turn


async def measure(server: Server, policy: Policy, domain: Environment, config: SweepConfig, folder: Path) -> Company:
    """Asks a server that is ready. folder: gets the adapters."""
    count = min(ADAPTERS, config.backend.slots - 1)
    own = [folder / name for name in ("alone", "again", "company")]
    others = [folder / f"other{number}" for number in range(1, count)]
    lora = Lora(config.policy.lora_rank, config.policy.lora_alpha)
    await asyncio.to_thread(save_random_adapters, policy.path, lora, [own[0], *others])
    for copy in own[1:]:
        shutil.copytree(own[0], copy)
    openings = [await _opening(domain, task) for task in itertools.islice(itertools.cycle(domain.train_ids), PROMPTS)]
    sampled = config.rollout.temperature
    rows = [Row(each, heat, number) for heat in (0.0, sampled) for number, each in enumerate(openings)]
    asker = Asker(server, domain, config)
    begun = time.monotonic()
    found = []
    for path in own[:2]:
        async with server.lease(path.name, path):
            found.append([await asker.ask(path.name, row) for row in rows])
    async with AsyncExitStack() as stack:
        for path in (own[2], *others):
            await stack.enter_async_context(server.lease(path.name, path))
        async with _company(asker, [policy.name, *(path.name for path in others)], openings) as failed:
            at_once = asyncio.Semaphore(AT_ONCE)

            async def ask(row: Row) -> Turn:
                async with at_once:
                    return await asker.ask(own[2].name, row)

            answers = asyncio.gather(*map(ask, rows))
            await asyncio.wait({answers, failed}, return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                answers.cancel()
                failed.result()
            found.append(await answers)
    beside = {"requests": asker.at_once, "adapters": count}
    again, company = (difference(found[0], later) for later in found[1:])
    return Company(again, company, beside, time.monotonic() - begun)


@asynccontextmanager
async def _company(
    asker: Asker, names: Sequence[str], openings: Sequence[Messages]
) -> AsyncIterator["asyncio.Future[Any]"]:
    """Keeps asking, each adapter in turn and the base; done inside the context only if it has failed."""
    under_way, over = asyncio.Event(), asyncio.Event()
    seeds = itertools.count(1000)

    async def keep_asking(name: str) -> None:
        while not over.is_set():
            seed = next(seeds)
            await asker.ask(name, Row(openings[seed % len(openings)], asker.config.rollout.temperature, seed))
            under_way.set()

    count = max(1, asker.at_once - AT_ONCE)
    company = asyncio.gather(*(keep_asking(name) for name in itertools.islice(itertools.cycle(names), count)))
    waiting: asyncio.Future[Any] = asyncio.create_task(under_way.wait())
    try:
        await asyncio.wait({company, waiting}, return_when=asyncio.FIRST_COMPLETED)
        yield company
    finally:
        over.set()  # not cancelled: what is under way is answered in a moment
        waiting.cancel()
        await asyncio.gather(company, waiting, return_exceptions=True)


async def _opening(domain: Environment, task: str) -> Messages:
    conversation = domain.start(task, 0)
    return [
        {"role": "system", "content": domain.system_prompt},
        {"role": "user", "content": await conversation.opening()},
    ]


def difference(first: Sequence[Turn], second: Sequence[Turn]) -> Difference:
    """Of the answers to the same rows. Raises EngineError where the prompts became other token ids."""
    same, gaps = 0, []
    for one, other in zip(first, second, strict=True):
        if one.prompt_ids != other.prompt_ids:
            raise EngineError("The server made other token ids of the same prompt; nothing can be compared.")
        same += one.output_ids == other.output_ids
        pairs = zip(one.output_ids, other.output_ids, one.logprobs or (), other.logprobs or (), strict=False)
        alike = itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)
        gaps += [abs(before - after) for _, _, before, after in alike]
    return Difference(len(first), same, len(gaps), max(gaps, default=0.0), sum(gaps) / max(1, len(gaps)))
