"""A replay reads a sweep's store, computes what is drawn again, and writes nothing there."""

import asyncio

import pytest

from harness.errors import EpisodeError, StoreError
from harness.records.store import Store, digest
from harness.replay.again import Again, is_drawn
from harness.replay.findings import DIFFERS, EPISODES, NOT_COMPUTED, SAME, UPDATES, Compared

KEYS = [digest(number) for number in range(40)]


def value(raw):
    async def compute():
        if isinstance(raw, Exception):
            raise raw
        return raw

    return compute


def compared(kind, run, stored, again):
    return Compared(kind, run, SAME if stored == again else DIFFERS)


@pytest.fixture
def there(tmp_path):
    """The store of a sweep, with an episode for each key."""
    store = Store(tmp_path / "there")
    for key in KEYS:
        asyncio.run(store.get(EPISODES, key, "a run", value(b"stored")))
    return tmp_path / "there"


def ask(there, keys=KEYS, raw=b"again", share=1.0, seed=0, kind=EPISODES):
    store = Again(there.parent / "own", of=there, share=share, seed=seed, compare=compared)

    async def all_of_them():
        return [(await store.get(kind, key, "a run", value(raw))).value for key in keys]

    return store, asyncio.run(all_of_them())


def test_the_chain_goes_on_with_what_is_stored_and_the_difference_is_kept(there):
    store, values = ask(there, KEYS[:1])
    assert values == [b"stored"]
    assert store.compared == [Compared(EPISODES, f"{KEYS[0]} of a run", DIFFERS)]


def test_an_entry_that_many_runs_ask_for_is_compared_once(there):
    store, _ = ask(there, [*KEYS[:2], *KEYS[:2]], raw=b"stored")
    assert [each.verdict for each in store.compared] == [SAME, SAME] and store.drawn(EPISODES) == (2, 2)


def test_the_seed_draws_the_share_and_another_seed_draws_others(there):
    (one, _), (same, _), (other, _) = (ask(there, share=0.25, seed=seed) for seed in (0, 0, 1))
    assert 0 < one.drawn(EPISODES)[0] < len(KEYS) / 2 and one.drawn(EPISODES)[1] == len(KEYS)
    assert one.compared == same.compared != other.compared
    assert [each.place[:32] for each in one.compared] == [k for k in KEYS if is_drawn(0, 0.25, EPISODES, k)]


def test_nothing_is_written_into_the_sweeps_store(there):
    before = {path: path.stat().st_mtime_ns for path in sorted(there.rglob("*"))}
    ask(there)
    assert {path: path.stat().st_mtime_ns for path in sorted(there.rglob("*"))} == before


@pytest.mark.parametrize(("kind", "error"), [(EPISODES, EpisodeError), (UPDATES, StoreError)])
def test_an_entry_that_is_not_there_is_computed_by_nobody(there, kind, error):
    with pytest.raises(error, match="The store has no"):
        ask(there, [digest("of nobody")], kind=kind)


def test_a_damaged_entry_is_named(there):
    path = next(there.glob(f"{EPISODES}/*/{KEYS[0]}"))
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(StoreError, match=f"{KEYS[0]} is damaged"):
        ask(there, KEYS[:1])


def test_what_infrastructure_fails_is_no_difference(there):
    store, values = ask(there, KEYS[:1], raw=EpisodeError("no answer"))
    assert values == [b"stored"] and [each.verdict for each in store.compared] == [NOT_COMPUTED]
