"""The store as a state machine: engines on one folder, askers, crashes at every system call, and a plain model of it.

An engine here is a process: a Store with locks of its own. Which engine makes its next system call, whose computation
ends, and what goes wrong is drawn. Each computation gives other bytes, so that a mixed or doubled one is seen.
"""

import asyncio
import errno
import hashlib
import json
import os
import random
from collections import defaultdict
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from harness.errors import DiskError
from harness.records import store
from harness.records.store import NEW, STRAY_AFTER, Found, Store, digest, read_stored, remove_strays
from tests.simulated_disk import Call, Disk, Killed
from tests.states import Loop, Machine, explore

PLACES = [("episodes", digest(0)), ("episodes", digest(1)), ("updates", digest(2))]
SMALL = 100  # bytes; an update has more: too many to be kept in memory
RUNS = ("run-a", "run-b", "run-c")
AT_ONCE = 3  # engines
NUMBERS = st.integers(0, 1000)
OTHER_BYTES = (b"7\n", b"null\n", b"[]\n", b"{}\n", b"[" * 100_000 + b"\n")
OTHER_BYTES += (json.dumps({"sha256": hashlib.sha256(b"").hexdigest()}).encode() + b"\n",)
FAULTS = (errno.ENOSPC, errno.EIO, errno.EDQUOT)


class Stepwise(Executor):
    """The store's disk threads, each of which stops before every system call."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future, object]] = []
        self.calls: list[Call] = []
        self.dead = False

    def submit(self, work, *arguments) -> Future:
        future: Future = Future()
        if self.dead:
            future.set_exception(RuntimeError("killed"))
            return future

        def body() -> None:
            try:
                result = work(*arguments)
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.waiting.append((future, body))
        return future

    def begin(self) -> None:
        for future, body in self.waiting:
            if future.set_running_or_notify_cancel():
                self.calls.append(call := Call(body))
                call.future = future
        self.waiting.clear()

    def open(self) -> list[Call]:
        self.begin()
        self.calls = [call for call in self.calls if not call.done]
        return list(self.calls)

    def kill(self) -> None:
        self.dead = True
        for call in self.open():
            call.advance(Killed())
            call.future.set_exception(RuntimeError("killed"))


@dataclass(eq=False)
class Ask:
    place: tuple[str, str]
    run: str
    task: asyncio.Task | None = None
    cancelled: bool = False
    made: bytes | None = None  # what it computed
    checked: bool = False


@dataclass(eq=False)
class Engine:
    store: Store
    disk: Stepwise
    asks: list[Ask] = field(default_factory=list)
    gates: list[tuple[Ask, asyncio.Future]] = field(default_factory=list)  # what is being computed
    memory: set[tuple[str, str]] = field(default_factory=set)
    may_give: dict[tuple[str, str], set[bytes]] = field(default_factory=lambda: defaultdict(set))  # read before damage
    faulty: bool = False  # a system call of it failed
    computed: int = 0

    def open(self) -> list[Ask]:
        return [ask for ask in self.asks if not ask.task.done()]


class StoreStates(Machine):
    @initialize(kind=st.sampled_from(("locks and links", "locks and links", "no links", "no locks")))
    def a_folder(self, kind):
        self.disk = Disk(links=kind != "no links", locks=kind != "no locks")
        self.disk.patch.setattr(store, "SMALL", SMALL)
        self.loop = Loop()
        self.engines: list[Engine] = []
        self.made: dict[bytes, tuple[tuple[str, str], str]] = {}  # value -> place, and the run that computed it
        # By place: what was answered to anyone, and what also outlives a power cut: its writer was answered
        self.visible: dict[tuple[str, str], bytes] = {}
        self.kept: dict[tuple[str, str], bytes] = {}
        self.aged = False  # by the clock a file that is being written may be older than an hour
        self.strays: set[str] = set()
        self.start()

    @precondition(lambda self: len(self.engines) < AT_ONCE)
    @rule()
    def start(self):
        """Another process on the folder."""
        made = Engine(Store(self.disk.path / "store"), Stepwise())
        made.store._disk.shutdown()
        made.store._disk = made.disk
        self.engines.append(made)

    @precondition(lambda self: self.engines)
    @rule(engine=NUMBERS, place=st.sampled_from(PLACES), run=st.sampled_from(RUNS))
    def ask(self, engine, place, run):
        self._ask(_one(self.engines, engine), place, run)

    @precondition(lambda self: self.engines)
    @rule(engine=NUMBERS, place=st.sampled_from(PLACES), runs=st.lists(st.sampled_from(RUNS), min_size=2, max_size=3))
    def several_ask_at_once(self, engine, place, runs):
        for number, run in enumerate(runs):
            self._ask(_one(self.engines, engine + number), place, run)

    @precondition(lambda self: self.engines)
    @rule(engine=NUMBERS, place=st.sampled_from(PLACES), run=st.sampled_from(RUNS))
    def ask_and_wait(self, engine, place, run):
        at = _one(self.engines, engine)
        self._ask(at, place, run)
        for _ in range(3):
            for call in at.disk.open():
                self._finish(call)
            for ask, gate in list(at.gates):
                if ask.place == place:
                    self._end_computation(ask, gate)

    def _ask(self, at: Engine, place: tuple[str, str], run: str) -> None:
        ask = Ask(place, run)

        async def compute() -> bytes:
            self._may_compute(at, place)
            gate = self.loop.create_future()
            at.gates.append((ask, gate))
            try:
                ask.made = await gate
            finally:
                at.gates.remove((ask, gate))
            at.computed += 1
            return ask.made

        ask.task = self.loop.create_task(at.store.get(*place, run, compute))
        at.asks.append(ask)
        self.loop.settle()

    def _may_compute(self, at: Engine, place: tuple[str, str]) -> None:
        busy = [engine for engine in self.engines for ask, _ in engine.gates if ask.place == place]
        assert at not in busy and not (busy and self.disk.locks), "it is being computed"
        assert place not in at.memory, "it is in memory"
        assert place not in self.visible or not self.disk.locks, "it is stored"

    def _calls(self) -> list[tuple[Engine, Call]]:
        return [(engine, call) for engine in self.engines for call in engine.disk.open()]

    def _gates(self) -> list[tuple[Ask, asyncio.Future]]:
        return [gate for engine in self.engines for gate in engine.gates]

    def _half_written(self) -> list[Path]:
        return sorted(self.disk.folder.rglob(f"{NEW}*"))

    def _advance(self, call: Call, order: BaseException | None = None) -> None:
        call.advance(order)
        self.loop.settle()

    def _finish(self, call: Call) -> None:
        while not call.done:
            self._advance(call)

    def _end(self, engine: Engine) -> None:
        """As `kill -9` does."""
        engine.disk.kill()
        os.close(engine.store._claims._file)
        engine.store._claims._file = -1
        self.engines.remove(engine)
        for ask in engine.open():
            ask.task.cancel()
        self.loop.settle()
        self.strays.update(path.name for path in self._half_written())

    @precondition(lambda self: self._calls())
    @rule(which=NUMBERS, count=st.integers(1, 8))
    def some_system_calls(self, which, count):
        _, call = _one(self._calls(), which)
        for _ in range(count):
            if not call.done:
                self._advance(call)

    @precondition(lambda self: self._calls())
    @rule(which=NUMBERS)
    def all_system_calls(self, which):
        """Of one piece of work on the disk."""
        self._finish(_one(self._calls(), which)[1])

    @precondition(lambda self: self._calls())
    @rule(which=NUMBERS, number=st.sampled_from(FAULTS))
    def a_system_call_fails(self, which, number):
        at, call = _one(self._calls(), which)
        if call.before != "lock":
            at.faulty = True
            self._advance(call, OSError(number, "planted"))
            self.strays.update(path.name for path in self._half_written())

    @precondition(lambda self: self._gates())
    @rule(which=NUMBERS)
    def a_computation_ends(self, which):
        self._end_computation(*_one(self._gates(), which))

    @precondition(lambda self: self._gates())
    @rule(which=NUMBERS)
    def a_computation_fails(self, which):
        _, gate = _one(self._gates(), which)
        gate.set_exception(ArithmeticError("planted"))
        self.loop.settle()

    @precondition(lambda self: any(engine.open() for engine in self.engines))
    @rule(which=NUMBERS)
    def an_asker_is_cancelled(self, which):
        ask = _one([ask for engine in self.engines for ask in engine.open()], which)
        ask.cancelled = True
        ask.task.cancel()
        self.loop.settle()

    @precondition(lambda self: self.engines)
    @rule(which=NUMBERS, power=st.sampled_from((False, False, True)), seed=NUMBERS)
    def kill(self, which, power, seed):
        """One engine, or all of them by a power cut."""
        for engine in list(self.engines) if power else [_one(self.engines, which)]:
            self._end(engine)
        if power:
            self.disk.cut_power(random.Random(seed).randrange)
            self.strays.update(path.name for path in self._half_written())
            self.visible = dict(self.kept)
            self.start()
            self.start()

    @precondition(lambda self: self.visible)
    @rule(which=NUMBERS, how=st.sampled_from(("empty", "half", "zeros", "flip", "other")), at=NUMBERS)
    def an_entry_is_damaged(self, which, how, at):
        place = _one(sorted(self.visible), which)
        path = self.disk.folder / "store" / place[0] / place[1][:2] / place[1]
        if not self.disk.locks or not path.exists():
            return
        raw = path.read_bytes()
        head = raw.index(b"\n") + 1
        at = at % head if at % 2 else head + at % (len(raw) - head)  # the header is short
        if len(b'{"by": "') <= at < raw.index(b'", "sha256"'):
            at = len(raw) - 1  # no checksum covers the name of the run
        flipped = raw[:at] + bytes([raw[at] ^ 2]) + raw[at + 1 :]
        other = OTHER_BYTES[at % len(OTHER_BYTES)]
        spoiled = {"empty": b"", "half": raw[:at], "zeros": bytes(len(raw)), "flip": flipped, "other": other}[how]
        self.disk.damage(path, spoiled)
        for engine in self.engines:
            if any(ask.place == place for ask in engine.open()):
                engine.may_give[place].add(self.visible[place])
        del self.visible[place]
        self.kept.pop(place, None)

    @rule(seconds=st.sampled_from((0.01, 0.5, 2.0)), jump=st.sampled_from((0, 0, 60, 2 * STRAY_AFTER, -60, -1e6)))
    def time_passes(self, seconds, jump):
        """jump: of the clock on the wall, in seconds."""
        self.disk.clock += seconds + jump
        self.loop.now += seconds
        self.loop.settle()

    @rule()
    def what_was_left_half_written_is_removed(self):
        before = {path: path.stat().st_mtime for path in self._half_written()}
        remove_strays(self.disk.path)
        old = {path for path, written in before.items() if written < self.disk.clock - STRAY_AFTER}
        assert set(self._half_written()) == before.keys() - old
        self.aged |= bool(old)

    @rule()
    def everybody_gets_an_answer(self):
        for _ in range(100):
            if not any(engine.open() for engine in self.engines):
                break
            for _, call in self._calls():
                self._finish(call)
            for gate in self._gates():
                self._end_computation(*gate)
            self.time_passes(store.LOOK_AT_MOST, 0)
        else:
            raise AssertionError("an asker waits for ever")
        for _, call in self._calls():
            self._finish(call)
        self.always()
        for place, value in self.visible.items():
            assert read_stored(self.disk.folder / "store", *place) == value
        assert {path.name for path in self._half_written()} <= self.strays
        for engine in self.engines:
            assert _count(engine, "asked") == len(engine.asks)
            assert _count(engine, "computed") == engine.computed
            assert self.disk.locks is False or _count(engine, "doubled") == 0

    def always(self):
        for engine in self.engines:
            for ask in engine.asks:
                if ask.task.done() and not ask.checked:
                    ask.checked = True
                    self._check(engine, ask)

    def _check(self, engine: Engine, ask: Ask) -> None:
        if ask.task.cancelled():
            assert ask.cancelled
        elif (error := ask.task.exception()) is not None:
            if isinstance(error, DiskError | OSError):
                assert engine.faulty or self.aged, error
            else:
                assert isinstance(error, ArithmeticError) and str(error) == "planted", repr(error)
        else:
            self._check_found(engine, ask, ask.task.result())

    def _check_found(self, engine: Engine, ask: Ask, found: Found) -> None:
        place, run = self.made[found.value]
        assert place == ask.place
        assert found.shared_with == (None if run == ask.run else run)
        if place[0] == "episodes":
            engine.memory.add(place)
            engine.may_give[place].add(found.value)
        if found.value != self.visible.get(place) and found.value in engine.may_give[place] - {ask.made}:
            return
        assert self.visible.setdefault(place, found.value) == found.value
        if ask.made == found.value:
            self.kept[place] = found.value

    def _end_computation(self, ask: Ask, gate: asyncio.Future) -> None:
        value = f"{ask.place} {ask.run} {len(self.made)}".encode()
        if ask.place[0] == "updates":
            value = value.ljust(2 * SMALL)
        self.made[value] = ask.place, ask.run
        gate.set_result(value)
        self.loop.settle()

    def teardown(self):
        if not hasattr(self, "disk"):
            return
        try:
            self.start()  # whatever the others hold, one that is new gets what it asks for
            for place in PLACES:
                self._ask(self.engines[-1], place, "run-d")
            self.everybody_gets_an_answer()
            self.what_was_left_half_written_is_removed()
            self.disk.clock += 2e6  # however it jumped
            self.what_was_left_half_written_is_removed()
            assert not self._half_written()
        finally:
            for engine in list(self.engines):
                self._end(engine)
            self.loop.close()
            self.disk.close()


def _one(choices: list, number: int):
    return choices[number % len(choices)]


def _count(engine: Engine, what: str) -> int:
    return sum(engine.store.counts[f"{kind}/{what}"] for kind in ("episodes", "updates"))


def test_the_store_keeps_its_promises_in_every_state():
    explore(StoreStates, "store")
