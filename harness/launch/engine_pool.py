"""Several engines take the runs of one sweep from one queue; what a lost engine held goes back to it.

An engine may be anywhere (a process of this node, a Ray actor, a Slurm job): here it is something that starts, trains
the runs that it is named, and may be lost at any time. Runs that go back to the queue are continued, not repeated:
what they had computed is in the store.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Protocol

from harness.errors import ConfigError, DiskError, EngineError
from harness.sweep.cost import EngineCost

LOSSES = 3  # engines that may be lost with a run before the run counts as failed
STARTS = 3  # of an engine in a row without a unit trained, before its place is given up

RunNames = tuple[str, ...]  # of runs


class PooledEngine(Protocol):
    """An engine somewhere else. `start` and `train` raise EngineError when it is lost, ConfigError when the place
    cannot hold an engine at all, DiskError when nothing can be written there."""

    async def start(self) -> str:
        """Returns when it can train: `ready on node-7`."""

    async def train(self, names: RunNames) -> None:
        """Returns when every run has ended, completed or failed."""

    async def stop(self) -> EngineCost | None:
        """Ends it, lost or not; what it spent, if it can still say so."""


class RunQueue:
    """Units that wait, and those that engines hold. finished: every unit is trained or given up."""

    def __init__(self, units: Sequence[RunNames]) -> None:
        self.waiting = deque(units)
        self.held = 0
        self.losses: Counter[str] = Counter()
        self.given_up: list[str] = []
        self._changed = asyncio.Condition()

    @property
    def finished(self) -> bool:
        return not self.waiting and not self.held

    async def take(self) -> RunNames | None:
        """The next unit; None once the queue is finished. Waits while what others hold may come back."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.waiting or self.finished)
            if not self.waiting:
                return None
            self.held += 1
            return self.waiting.popleft()

    async def done(self) -> None:
        async with self._changed:
            self.held -= 1
            self._changed.notify_all()

    async def give_back(self, names: RunNames) -> None:
        """Of a unit whose engine was lost, the runs that it had not completed."""
        async with self._changed:
            self.losses.update(names)
            self.given_up += [name for name in names if self.losses[name] >= LOSSES]
            if again := tuple(name for name in names if self.losses[name] < LOSSES):
                self.waiting.appendleft(again)
            self.held -= 1
            self._changed.notify_all()

    async def wait_finished(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self.finished)


class EnginePool:
    """make: one maker of engines per place; a place whose engine was lost gets a new one, up to STARTS in a row.

    open_runs: of these names, the ones that are not completed; settled: called with runs whose state is final
    note: called with a line about the pool
    """

    def __init__(
        self,
        units: Sequence[RunNames],
        make: Sequence[Callable[[], PooledEngine]],
        open_runs: Callable[[RunNames], RunNames],
        settled: Callable[[RunNames], None],
        note: Callable[[str], None],
    ) -> None:
        self.queue = RunQueue(units)
        self.make, self.open_runs, self.settled, self.note = make, open_runs, settled, note
        self.spent: list[EngineCost] = []
        self.silent = 0  # engines that were lost and never said what they spent
        self._starting: set[asyncio.Task[None]] = set()
        self._faults: list[ConfigError | DiskError | EngineError] = []

    async def work(self) -> None:
        """Returns when every run has ended. Raises what the first place met when no place is left and runs are."""
        places = [asyncio.create_task(self._fill(number, make)) for number, make in enumerate(self.make)]
        ending = asyncio.create_task(self.queue.wait_finished())
        try:
            left = set(places)
            while left and not ending.done():
                ended, _ = await asyncio.wait({*left, ending}, return_when=asyncio.FIRST_COMPLETED)
                left -= ended
            for place in self._starting:  # an engine that has not come yet is no longer needed
                place.cancel()
            outcomes = await asyncio.gather(*places, return_exceptions=True)
        finally:
            for task in (*places, ending):
                task.cancel()
            await asyncio.gather(*places, ending, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):  # a fault of ours; what an engine may meet is noted by its place
                raise outcome
        if not self.queue.finished:
            raise self._faults[0]

    async def _fill(self, number: int, make: Callable[[], PooledEngine]) -> None:
        """Keeps one place filled until the queue is finished or the place is given up."""
        failures = 0
        while failures < STARTS and not self.queue.finished:
            engine, started = make(), False
            try:
                where, started = await self._start(engine), True
                self.note(f"engine {number}: {where}")
                while (names := await self.queue.take()) is not None:
                    await self._train(engine, names)
                    failures = 0
                return
            except (ConfigError, DiskError) as error:  # another engine there would meet the same
                self._faults.append(error)
                self.note(f"engine {number} cannot be: {error}")
                return
            except EngineError as error:
                failures += 1
                self._faults.append(error)
                self.note(f"engine {number} is lost: {error}")
            finally:
                if (spent := await engine.stop()) is not None:
                    self.spent.append(spent)
                elif started:
                    self.silent += 1

    async def _start(self, engine: PooledEngine) -> str:
        place = asyncio.current_task()
        assert place is not None
        self._starting.add(place)
        try:
            return await engine.start()
        finally:
            self._starting.discard(place)

    async def _train(self, engine: PooledEngine, names: RunNames) -> None:
        try:
            await engine.train(names)
        except BaseException:
            lost = self.open_runs(names)
            self.settled(tuple(name for name in names if name not in lost))
            await self.queue.give_back(lost)
            raise
        self.settled(names)
        await self.queue.done()
