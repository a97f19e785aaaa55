"""The adapter slots as a state machine: leases, loads and unloads that fail or are cut off, and a plain server.

The server holds what it was told to load. A call that is cancelled, or fails, may have gone through or not.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from harness.engine.slots import AdapterSlots
from harness.errors import EngineError
from tests.states import Loop, Machine, explore

NAMES = ("a", "b", "c", "d")
NUMBERS = st.integers(0, 1000)


def path(name: str) -> Path:
    return Path("/adapters") / name


@dataclass(eq=False)
class Ask:
    name: str
    lease: bool
    task: asyncio.Task | None = None
    cancelled: bool = False
    checked: bool = False


class SlotStates(Machine):
    @initialize(capacity=st.integers(1, 3))
    def a_server(self, capacity):
        self.capacity = capacity
        self.loop = Loop()
        self.server: dict[str, Path] = {}
        self.slots = AdapterSlots(capacity, self._load, self._unload)
        self.asks: list[Ask] = []
        self.drops: list[asyncio.Task] = []
        self.held: Counter[str] = Counter()
        self.calls: list[asyncio.Future] = []  # what the server is busy with
        self.goes_through = False  # whether a call that is cancelled does

    async def _answer(self, effect) -> None:
        """The server's answer to one call."""
        answer = self.loop.create_future()
        self.calls.append(answer)
        try:
            effective, error = await answer
        except asyncio.CancelledError:
            effective, error = self.goes_through, None
            raise
        finally:
            self.calls.remove(answer)
            if effective:
                effect()
            assert len(self.server) <= self.capacity, "the server holds more than it has slots"
        if error:
            raise error

    async def _load(self, name: str, where: Path) -> None:
        await self._answer(lambda: self.server.setdefault(name, where))

    async def _unload(self, name: str) -> None:
        assert not self.held[name], "a leased adapter is unloaded"
        await self._answer(lambda: self.server.pop(name, None))
        assert not self.held[name], "a leased adapter was unloaded"

    @rule(name=st.sampled_from(NAMES), lease=st.booleans())
    def ask(self, name, lease):
        ask = Ask(name, lease)

        async def asked() -> None:
            await (self.slots.acquire if lease else self.slots.ensure)(name, path(name))
            assert self.server.get(name) == path(name), "it would be answered by other weights"
            self.held[name] += lease

        ask.task = self.loop.create_task(asked())
        self.asks.append(ask)
        self.loop.settle()

    @precondition(lambda self: any(ask.name == "a" for ask in self.asks))
    @rule(lease=st.booleans())
    def another_path_for_a_name(self, lease):
        task = self.loop.create_task((self.slots.acquire if lease else self.slots.ensure)("a", path("other")))
        self.loop.settle()
        with pytest.raises(EngineError, match="already means /adapters/a"):
            task.result()

    @precondition(lambda self: self.held.total())
    @rule(which=NUMBERS)
    def release(self, which):
        self._release(sorted(self.held.elements())[which % self.held.total()])

    def _release(self, name):
        self.held[name] -= 1
        self.slots.release(name)
        self.loop.settle()

    @rule(name=st.sampled_from(NAMES))
    def drop(self, name):
        held = self.held[name]
        free = not self.slots._lock.locked()
        self.drops.append(task := self.loop.create_task(self.slots.drop(name)))
        self.loop.settle()
        if free and held:
            with pytest.raises(EngineError, match=f"leased {held} times"):
                task.result()
        elif free and not self.calls:
            assert name not in self.server

    @precondition(lambda self: self.calls)
    @rule(again=st.integers(0, 3))
    def the_server_answers(self, again):
        for _ in range(1 + again):
            if self.calls:
                self.calls[0].set_result((True, None))
                self.loop.settle()

    @precondition(lambda self: self.calls)
    @rule(effective=st.booleans())
    def the_server_fails(self, effective):
        self.calls[0].set_result((effective, EngineError("planted")))
        self.loop.settle()

    @precondition(lambda self: any(not ask.task.done() for ask in self.asks))
    @rule(which=NUMBERS, goes_through=st.booleans())
    def an_asker_is_cancelled(self, which, goes_through):
        waiting = [ask for ask in self.asks if not ask.task.done()]
        ask = waiting[which % len(waiting)]
        ask.cancelled, self.goes_through = True, goes_through
        ask.task.cancel()
        self.loop.settle()

    def always(self):
        for ask in self.asks:
            if ask.task.done() and not ask.checked:
                ask.checked = True
                if ask.task.cancelled():
                    assert ask.cancelled
                elif error := ask.task.exception():
                    assert isinstance(error, EngineError) and str(error) == "planted", repr(error)
        for name in self.held:
            assert not self.held[name] or self.server.get(name) == path(name), "a lease without its adapter"
        assert +self.slots.leases == +self.held
        assert len(self.server) <= self.capacity
        assert all(self.server.get(name) == where for name, where in self.slots.loaded.items())

    @rule()
    def everybody_gets_a_slot(self):
        for _ in range(300):
            if not self.calls and all(ask.task.done() for ask in self.asks):
                break
            if self.calls:
                self.the_server_answers(0)
            elif self.held.total():
                self._release(next(self.held.elements()))
            self.always()
        assert all(ask.task.done() for ask in self.asks), "an asker waits for ever"
        assert all(task.done() for task in self.drops)

    def teardown(self):
        if not hasattr(self, "slots"):
            return
        try:
            for name in NAMES:
                self.ask(name, True)
            self.everybody_gets_a_slot()
            self.always()
            for task in self.drops:
                assert task.exception() is None or isinstance(task.exception(), EngineError)
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.settle()
            self.loop.close()


def test_an_adapter_in_a_slot_is_whose_it_says_in_every_state():
    explore(SlotStates, "slots")
