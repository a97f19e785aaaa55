"""Which adapters stay loaded: a lease protects, an idle adapter makes room, a name means one path."""

import asyncio
from pathlib import Path

import pytest

from harness.engine.slots import AdapterSlots
from harness.errors import EngineError


class FakeEngine:
    """Remembers what was asked of it; fails to load what is named 'broken'."""

    def __init__(self, capacity: int):
        self.calls: list[str] = []
        self.most = 0
        self.slots = AdapterSlots(capacity, self.load, self.unload)

    async def load(self, name: str, path: Path) -> None:
        await asyncio.sleep(0)
        if name == "broken":
            raise EngineError("refused")
        self.calls.append(f"+{name}")
        self.most = max(self.most, len(self.slots.loaded) + 1)

    async def unload(self, name: str) -> None:
        await asyncio.sleep(0)
        self.calls.append(f"-{name}")


def path(name: str) -> Path:
    return Path("/adapters") / name


async def hold(engine: FakeEngine, name: str) -> None:
    await engine.slots.acquire(name, path(name))


def test_the_least_recently_used_idle_adapter_makes_room():
    async def scenario():
        engine = FakeEngine(2)
        for name in ("a", "b", "a", "c"):
            await hold(engine, name)
            engine.slots.release(name)
        assert engine.calls == ["+a", "+b", "-b", "+c"]

    asyncio.run(scenario())


def test_a_leased_adapter_is_never_unloaded_and_the_next_lease_waits():
    async def scenario():
        engine = FakeEngine(1)
        await hold(engine, "a")
        waiting = asyncio.create_task(hold(engine, "b"))
        await asyncio.sleep(0.01)
        assert not waiting.done() and engine.calls == ["+a"]
        engine.slots.release("a")
        await asyncio.wait_for(waiting, 1)
        assert engine.calls == ["+a", "-a", "+b"]

    asyncio.run(scenario())


def test_many_concurrent_leases_load_each_adapter_once_and_stay_within_capacity():
    async def lease(engine, name):
        await hold(engine, name)
        await asyncio.sleep(0.001)
        engine.slots.release(name)

    async def scenario():
        engine = FakeEngine(3)
        await asyncio.gather(*(lease(engine, name) for name in "aabbccaabbcc"))
        assert sorted(engine.calls) == ["+a", "+b", "+c"]
        await asyncio.gather(*(lease(engine, name) for name in "abcdefgh" * 3))
        assert engine.most <= 3 and not +engine.slots.leases

    asyncio.run(scenario())


def test_a_name_means_one_path_for_good():
    async def scenario():
        engine = FakeEngine(2)
        await engine.slots.ensure("a", path("a"))
        await engine.slots.drop("a")
        with pytest.raises(EngineError, match="already means /adapters/a"):
            await engine.slots.ensure("a", path("other"))

    asyncio.run(scenario())


def test_a_refused_adapter_takes_no_slot():
    async def scenario():
        engine = FakeEngine(1)
        with pytest.raises(EngineError, match="refused"):
            await hold(engine, "broken")
        await asyncio.wait_for(hold(engine, "a"), 1)

    asyncio.run(scenario())


def test_a_leased_adapter_cannot_be_dropped():
    async def scenario():
        engine = FakeEngine(1)
        await hold(engine, "a")
        with pytest.raises(EngineError, match="leased 1 times"):
            await engine.slots.drop("a")

    asyncio.run(scenario())
