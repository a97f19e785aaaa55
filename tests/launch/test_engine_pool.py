"""Engines that come, train, and are lost: what is trained, by whom, and what is given up. Hand-written engines."""

import asyncio

import pytest

from harness.errors import ConfigError, EngineError
from harness.launch import engine_pool
from harness.launch.engine_pool import LOSSES, STARTS, EnginePool
from harness.sweep.cost import EngineCost


class Records:
    """What the runs' status files would say."""

    def __init__(self):
        self.completed: list[str] = []
        self.settled: set[str] = set()
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def pool(self, units, *make) -> EnginePool:
        return EnginePool(
            units,
            make,
            open_runs=lambda names: tuple(name for name in names if name not in self.completed),
            settled=self.settled.update,
            note=self.notes.append,
            warn=self.warnings.append,
        )


class FakeEngine:
    """Trains a run in no time. lost_at: the run at which it is lost, every time."""

    def __init__(self, records: Records, lost_at: str | None = None, starts: bool = True):
        self.records, self.lost_at, self.starts = records, lost_at, starts
        self.stopped = False

    async def start(self, note):
        await asyncio.sleep(0)
        if not self.starts:
            raise EngineError("no GPU left")
        return "ready"

    async def train(self, names):
        for name in names:
            await asyncio.sleep(0)
            if name == self.lost_at:
                raise EngineError("killed")
            self.records.completed.append(name)

    async def stop(self):
        self.stopped = True
        return None if self.lost_at else EngineCost({"episodes/computed": 1}, 1.0, 1.0)


def work(pool: EnginePool) -> None:
    asyncio.run(asyncio.wait_for(pool.work(), 5))


ENDED_ON_FEWER = "ran on fewer engines than the 1 planned"
UNITS = [("a", "b"), ("c", "d"), ("e", "f")]
ALL = ["a", "b", "c", "d", "e", "f"]


@pytest.mark.parametrize("engines", [1, 2, 5])
def test_every_run_is_trained_once(engines):
    records = Records()
    pool = records.pool(UNITS, *[lambda: FakeEngine(records)] * engines)
    work(pool)
    assert sorted(records.completed) == ALL
    assert records.settled == set(ALL)
    assert pool.queue.given_up == []


def test_the_runs_of_a_lost_engine_continue_elsewhere_and_completed_ones_are_not_repeated():
    records = Records()
    lost = iter([FakeEngine(records, lost_at="b")])
    work(records.pool(UNITS, lambda: next(lost, None) or FakeEngine(records), lambda: FakeEngine(records)))
    assert sorted(records.completed) == ALL
    assert any("killed" in note for note in records.notes)


def test_an_engine_that_is_lost_last_is_replaced():
    records = Records()
    engines = iter([FakeEngine(records, lost_at="b"), FakeEngine(records)])
    work(records.pool([("a", "b")], lambda: next(engines)))
    assert records.completed == ["a", "b"]


def test_a_run_that_takes_every_engine_down_is_given_up_and_the_others_complete():
    records = Records()
    pool = records.pool(UNITS, *[lambda: FakeEngine(records, lost_at="c")] * 2)
    work(pool)
    assert pool.queue.losses["c"] == LOSSES
    assert "c" in pool.queue.given_up
    assert {"a", "b", "e", "f"} <= set(records.completed)


def test_a_place_without_an_engine_leaves_the_work_to_the_others():
    records = Records()
    work(records.pool(UNITS, lambda: FakeEngine(records, starts=False), lambda: FakeEngine(records)))
    assert sorted(records.completed) == ALL


def test_without_any_engine_the_first_fault_is_raised():
    records = Records()
    with pytest.raises(EngineError, match="no GPU left"):
        work(records.pool(UNITS, *[lambda: FakeEngine(records, starts=False)] * 2))
    assert sum("no GPU left" in note for note in records.notes) == 2 * STARTS


def test_a_machine_that_cannot_hold_an_engine_is_asked_once():
    class Elsewhere(FakeEngine):
        async def start(self, note):
            raise ConfigError("other versions")

    records = Records()
    with pytest.raises(ConfigError, match="other versions"):
        work(records.pool(UNITS, lambda: Elsewhere(records)))
    assert [line.partition(":")[0] for line in records.warnings] == ["engine 0 cannot be", ENDED_ON_FEWER]


def test_the_sweep_does_not_wait_for_an_engine_that_finds_no_place():
    class Pending(FakeEngine):
        async def start(self, note):
            await asyncio.sleep(60)

    records = Records()
    pending = Pending(records)
    work(records.pool(UNITS, lambda: pending, lambda: FakeEngine(records)))
    assert sorted(records.completed) == ALL
    assert pending.stopped


def test_an_interrupted_sweep_stops_its_engines():
    class Endless(FakeEngine):
        async def train(self, names):
            await asyncio.sleep(60)

    records = Records()
    engine = Endless(records)

    async def interrupted():
        working = asyncio.create_task(records.pool(UNITS, lambda: engine).work())
        await asyncio.sleep(0.05)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)

    asyncio.run(interrupted())
    assert engine.stopped


def test_what_engines_spent_is_collected_and_a_lost_one_says_nothing():
    records = Records()
    engines = iter([FakeEngine(records, lost_at="b"), FakeEngine(records)])
    pool = records.pool([("a", "b")], lambda: next(engines))
    work(pool)
    assert [spent.counts for spent in pool.spent] == [{"episodes/computed": 1}]


def test_a_fault_of_the_harness_itself_is_not_taken_for_a_lost_engine():
    class Broken(FakeEngine):
        async def train(self, names):
            raise TypeError("a bug")

    records = Records()
    with pytest.raises(TypeError, match="a bug"):
        work(records.pool(UNITS, lambda: Broken(records)))


@pytest.fixture
def short_rest(monkeypatch):
    monkeypatch.setattr(engine_pool, "REST", 0.01)
    monkeypatch.setattr(engine_pool, "LOOK", 0.01)


def test_a_place_that_was_given_up_is_tried_again_while_runs_wait(short_rest):
    """Its card is free after a while: from then on two engines work, as planned."""
    records, made = Records(), []

    class Slow(FakeEngine):
        async def train(self, names):
            while len(made) <= STARTS + 1:  # until the place has been tried again, twice
                await asyncio.sleep(0.01)
            await super().train(names)

    def make():
        made.append(FakeEngine(records, starts=len(made) > STARTS))
        return made[-1]

    work(records.pool(UNITS, make, lambda: Slow(records)))
    assert sorted(records.completed) == ALL
    assert len(made) == STARTS + 2 and made[-1].starts
    assert records.warnings[0].startswith("engine 0 is given up: lost 3 times in a row. It is tried again")


def test_where_every_place_was_given_up_the_sweep_ends_and_waits_for_none():
    records = Records()
    with pytest.raises(EngineError, match="no GPU left"):  # in time: a rest is five minutes
        work(records.pool(UNITS, *[lambda: FakeEngine(records, starts=False)] * 3))


def test_a_resting_place_does_not_keep_a_finished_sweep_waiting():
    records = Records()

    class Later(FakeEngine):
        async def train(self, names):
            await asyncio.sleep(0.05)
            await super().train(names)

    work(records.pool(UNITS, lambda: FakeEngine(records, starts=False), lambda: Later(records)))
    assert sorted(records.completed) == ALL


def test_a_sweep_says_at_its_end_that_it_ran_on_fewer_engines_than_planned():
    records = Records()

    class Long(FakeEngine):
        async def train(self, names):
            await asyncio.sleep(0.4)
            await super().train(names)

    pool = records.pool(UNITS, lambda: FakeEngine(records, starts=False), lambda: Long(records))
    work(pool)
    assert records.warnings[-1].startswith("ran on fewer engines than the 2 planned: without engine 0 for 1 s; 0.0 of ")
    assert pool.vacancies[0].seconds == pytest.approx(1.2, abs=0.3)
    assert pool.vacancies[1].seconds == 0


def test_a_sweep_on_all_planned_engines_says_nothing_of_them():
    records = Records()
    work(records.pool(UNITS, *[lambda: FakeEngine(records)] * 2))
    assert not records.warnings


def test_it_is_told_which_engine_holds_which_runs():
    records, told = Records(), []
    pool = records.pool(UNITS[:1], lambda: FakeEngine(records))
    pool.tell = lambda *said: told.append(said)
    work(pool)
    assert told == [
        (0, "starts", ()),
        (0, "ready", ()),
        (0, "trains, ready", ("a", "b")),
        (0, "waits for runs, ready", ()),
    ]


def test_what_an_engine_notes_is_said_with_its_number():
    class Noting(FakeEngine):
        async def start(self, note):
            note("GPU 3 has no room")
            return await super().start(note)

    records = Records()
    work(records.pool(UNITS, lambda: Noting(records)))
    assert records.notes[0] == "engine 0: GPU 3 has no room"
