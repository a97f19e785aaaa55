"""Several engines take the runs of one sweep from one queue; what a lost engine held goes back to it.

An engine may be anywhere (a process of this node, a Ray actor, a Slurm job): here it is something that starts, trains
the runs that it is named, and may be lost at any time. Runs that go back to the queue are continued, not repeated:
what they had computed is in the store.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from harness.errors import ConfigError, DiskError, EngineError
from harness.sweep.cost import EngineCost
from harness.sweep.display import duration

LOSSES = 3  # engines that may be lost with a run before the run counts as failed
STARTS = 3  # of an engine in a row without a unit trained, before its place is given up for a while
LOOK = 1.0  # seconds between two looks whether runs wait for such a place
REST = 300.0  # seconds before a place that was given up is tried again, once each time

RunNames = tuple[str, ...]  # of runs


class PooledEngine(Protocol):
    """An engine somewhere else. `start` and `train` raise EngineError when it is lost, ConfigError when the place
    cannot hold an engine at all, DiskError when nothing can be written there."""

    async def start(self, note: Callable[[str], None]) -> str:
        """Returns when it can train: `ready on node-7`. note: called, now and later, with a line about the engine."""

    async def train(self, names: RunNames) -> None:
        """Returns when every run has ended, completed or failed."""

    async def stop(self) -> EngineCost | None:
        """Ends it, lost or not; what it spent, if it can still say so."""


class RunQueue:
    """Units that wait, and those that engines hold. finished: every unit is trained or given up.

    places: those that have an engine or are about to
    """

    def __init__(self, units: Sequence[RunNames], places: int) -> None:
        self.waiting = deque(units)
        self.held = 0
        self.places = places
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

    async def change_places(self, by: int) -> None:
        async with self._changed:
            self.places += by
            self._changed.notify_all()

    async def wait_over(self) -> None:
        """Until it is finished, or no place is left that could go on."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.finished or not self.places)


class Vacancy:
    """How long a place was without an engine because one was lost or did not start. Seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since: float | None = None

    def begin(self, since: float) -> None:
        self._since = since if self._since is None else self._since

    def end(self) -> None:
        if self._since is not None:
            self.seconds += time.monotonic() - self._since
            self._since = None


class EnginePool:
    """make: one maker of engines per place; a place whose engine was lost gets a new one, up to STARTS in a row.

    After that the place is tried again every REST seconds, as long as another one works and runs wait.
    open_runs: of these names, the ones that are not completed; settled: called with runs whose state is final
    note: called with a line about the pool; warn: with one that should not be missed
    tell: called with a place's number, what its engine does from now on, and the runs that it holds
    """

    def __init__(
        self,
        units: Sequence[RunNames],
        make: Sequence[Callable[[], PooledEngine]],
        open_runs: Callable[[RunNames], RunNames],
        settled: Callable[[RunNames], None],
        note: Callable[[str], None],
        warn: Callable[[str], None],
        tell: Callable[[int, str, RunNames], None] = lambda *_: None,
    ) -> None:
        self.queue = RunQueue(units, len(make))
        self.make, self.open_runs, self.settled = make, open_runs, settled
        self.note, self.warn, self.tell = note, warn, tell
        self.vacancies = [Vacancy() for _ in make]
        self.spent: list[EngineCost] = []
        self.silent = 0  # engines that were lost and never said what they spent
        self._unneeded: set[asyncio.Task[None]] = set()  # once the queue is finished: places without an engine
        self._faults: list[ConfigError | DiskError | EngineError] = []

    async def work(self) -> None:
        """Returns when every run has ended. Raises what the first place met when no place is left and runs are."""
        begun = time.monotonic()
        places = [asyncio.create_task(self._fill(number, make)) for number, make in enumerate(self.make)]
        try:
            await self.queue.wait_over()
            for vacancy in self.vacancies:
                vacancy.end()
            took = time.monotonic() - begun
            for place in self._unneeded:
                place.cancel()
            outcomes = await asyncio.gather(*places, return_exceptions=True)
        finally:
            for task in places:
                task.cancel()
            await asyncio.gather(*places, return_exceptions=True)
        self._say_vacancies(took)
        for outcome in outcomes:
            if isinstance(outcome, Exception):  # a fault of ours; what an engine may meet is noted by its place
                raise outcome
        if not self.queue.finished:
            raise self._faults[0]

    async def _fill(self, number: int, make: Callable[[], PooledEngine]) -> None:
        """Keeps one place filled until the queue is finished or the place can hold no engine."""
        failures = 0
        try:
            while not self.queue.finished:
                if failures >= STARTS:
                    await self._rest(number)
                failures = await self._engine(number, make, failures)
        except (ConfigError, DiskError) as error:  # another engine there would meet the same
            self._faults.append(error)
            self.warn(f"engine {number} cannot be: {error}")
        finally:
            await self.queue.change_places(-1)

    async def _engine(self, number: int, make: Callable[[], PooledEngine], failures: int) -> int:
        """One engine, to its end. failures: of its place so far, in a row; returned with its own."""
        engine, started, vacant = make(), False, time.monotonic()
        self.tell(number, "starts", ())
        try:
            with self._dispensable():
                where = await engine.start(lambda line: self._said(number, line, started))
            started = True
            self.vacancies[number].end()
            self._said(number, where, started=False)
            while (names := await self.queue.take()) is not None:
                self.tell(number, f"trains, {where}", names)
                await self._train(engine, names)
                self.tell(number, f"waits for runs, {where}", ())
                failures = 0
        except (ConfigError, DiskError, EngineError) as error:
            self.vacancies[number].begin(time.monotonic() if started else vacant)
            if not isinstance(error, EngineError):
                raise
            failures += 1
            self._faults.append(error)
            self.note(f"engine {number} is lost: {error}")
            self.tell(number, "is lost", ())
        finally:
            if (spent := await engine.stop()) is not None:
                self.spent.append(spent)
            elif started:
                self.silent += 1
        return failures

    def _said(self, number: int, line: str, started: bool) -> None:
        """What an engine says of its start is what it does; what it says later stands beside its work."""
        self.note(f"engine {number}: {line}")
        if not started:
            self.tell(number, line, ())

    async def _rest(self, number: int) -> None:
        """Until it is time to try a place again. It counts as none meanwhile: where all rest, the sweep ends."""
        if self.queue.places > 1:
            again = f"It is tried again every {REST / 60:.0f} min while others work and runs wait."
            self.warn(f"engine {number} is given up: lost {STARTS} times in a row. {again}")
        await self.queue.change_places(-1)
        try:
            with self._dispensable():
                await asyncio.sleep(REST)
                while not self.queue.waiting:
                    await asyncio.sleep(LOOK)
        finally:
            await self.queue.change_places(+1)

    @contextmanager
    def _dispensable(self) -> Iterator[None]:
        """Meanwhile this place has no engine, and needs none once the queue is finished."""
        place = asyncio.current_task()
        assert place is not None
        self._unneeded.add(place)
        try:
            yield
        finally:
            self._unneeded.discard(place)

    def _say_vacancies(self, took: float) -> None:
        """took: seconds from the start of the pool to its last run's end."""
        short = {number: each.seconds for number, each in enumerate(self.vacancies) if each.seconds}
        if short:
            which = ", ".join(f"engine {number} for {duration(seconds)}" for number, seconds in short.items())
            self.warn(
                f"ran on fewer engines than the {len(self.make)} planned: without {which}; "
                f"{sum(short.values()) / 60:.1f} of {len(self.make) * took / 60:.1f} engine-minutes were lost"
            )

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
