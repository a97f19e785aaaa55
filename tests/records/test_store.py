"""The store computes a thing once, finds it again, and never hands out half an entry."""

import asyncio
import errno
import os
import subprocess
import sys
import time

import pytest

from harness.errors import StoreError
from harness.records.store import NEW, STRAY_AFTER, Found, Store, digest, read_stored, remove_strays, write_synced


def counting(value: bytes = b"value"):
    calls = []

    async def compute() -> bytes:
        calls.append(1)
        await asyncio.sleep(0)
        return value

    return compute, calls


def test_a_result_is_computed_once_and_found_by_the_next_process(tmp_path):
    compute, calls = counting()
    first = asyncio.run(Store(tmp_path).get("episodes", digest("a"), "run-a", compute))
    again = asyncio.run(Store(tmp_path).get("episodes", digest("a"), "run-b", compute))
    assert (first.value, first.shared_with) == (b"value", None)
    assert (again.value, again.shared_with) == (b"value", "run-a")
    assert len(calls) == 1


def test_concurrent_askers_wait_for_one_computation(tmp_path):
    store = Store(tmp_path)
    compute, calls = counting()

    async def ask():
        return await asyncio.gather(*(store.get("episodes", digest("a"), f"run-{i}", compute) for i in range(5)))

    found = asyncio.run(ask())
    assert {f.value for f in found} == {b"value"}
    assert [f.shared_with for f in found] == [None] + ["run-0"] * 4
    assert len(calls) == 1
    assert store.counts == {"episodes/asked": 5, "episodes/computed": 1, "episodes/shared": 4}


def test_a_failed_computation_reaches_every_asker_and_stores_nothing(tmp_path):
    store = Store(tmp_path)

    async def fail() -> bytes:
        await asyncio.sleep(0)
        raise RuntimeError("server died")

    async def ask():
        asked = (store.get("episodes", digest("a"), "run", fail) for _ in range(2))
        return await asyncio.gather(*asked, return_exceptions=True)

    assert [str(e) for e in asyncio.run(ask())] == ["server died"] * 2
    compute, calls = counting()
    asyncio.run(store.get("episodes", digest("a"), "run", compute))
    assert len(calls) == 1


def test_a_waiting_asker_takes_over_when_the_computing_one_is_cancelled(tmp_path):
    store = Store(tmp_path)
    compute, calls = counting()

    async def never() -> bytes:
        await asyncio.sleep(60)
        return b""

    async def ask():
        first = asyncio.create_task(store.get("episodes", digest("a"), "run-a", never))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(store.get("episodes", digest("a"), "run-b", compute))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(ask()).value == b"value"
    assert len(calls) == 1


def test_without_reuse_everything_is_computed_anew(tmp_path):
    compute, calls = counting()
    store = Store(tmp_path, reuse=False)
    for _ in range(2):
        asyncio.run(store.get("episodes", digest("a"), "run", compute))
    assert len(calls) == 2


def test_an_audit_computes_hits_again_and_counts_what_differs(tmp_path):
    compute, _ = counting(b"first")
    other, calls = counting(b"second")
    asyncio.run(Store(tmp_path).get("episodes", digest("a"), "run", compute))
    store = Store(tmp_path, audit=1.0)
    found = asyncio.run(store.get("episodes", digest("a"), "run", other))
    assert found.value == b"first"  # an audit compares; what was stored stays the result
    assert len(calls) == 1
    assert store.counts["episodes/audited"] == store.counts["episodes/audit_differs"] == 1


@pytest.mark.parametrize("left", [-1, 0], ids=["half", "nothing"])
def test_a_damaged_entry_is_computed_anew_and_counted(left, tmp_path):
    compute, calls = counting()
    store = Store(tmp_path)
    asyncio.run(store.get("episodes", digest("a"), "run", compute))
    path = store.file("episodes", digest("a"))
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(StoreError, match="is damaged.*computes it anew"):
        read_stored(tmp_path, "episodes", digest("a"))
    again = Store(tmp_path)
    assert asyncio.run(again.get("episodes", digest("a"), "run", compute)).value == b"value"
    assert len(calls) == 2 and again.counts["episodes/damaged"] == 1
    assert read_stored(tmp_path, "episodes", digest("a")) == b"value"


def test_what_a_killed_process_left_half_written_goes_and_what_is_being_written_stays(tmp_path):
    places = [tmp_path / NEW, tmp_path / "runs/all_on/seed=0" / NEW, tmp_path / "store/episodes/ab" / NEW]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        for name, age in (("old", 2 * STRAY_AFTER), ("now", 0)):
            place.with_name(NEW + name).touch()
            then = time.time() - age
            os.utime(place.with_name(NEW + name), (then, then))
    remove_strays(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob(f"{NEW}*")) == [f"{NEW}now"] * 3


def test_a_full_disk_is_named_with_what_to_do(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.records.store.os.fsync", full)
    compute, _ = counting()
    with pytest.raises(StoreError, match="Free disk space"):
        asyncio.run(Store(tmp_path).get("episodes", digest("a"), "run", compute))
    assert not list(tmp_path.rglob(".new-*"))


def test_digests_see_order_type_and_boundaries():
    assert digest(["a", "b"]) != digest(["b", "a"])
    assert digest("ab", "c") != digest("a", "bc")
    assert digest(1) != digest("1")
    assert digest({"x": 1, "y": 2}) == digest({"y": 2, "x": 1})


# Another process that works on the same store: computes "a" while `held` exists, and says so on its output.
OTHER = """
import asyncio, sys
from pathlib import Path
from harness.records.store import Store, digest

async def compute():
    print("computing", flush=True)
    while Path(sys.argv[2]).exists():
        await asyncio.sleep(0.01)
    return b"of the other process"

asyncio.run(Store(Path(sys.argv[1])).get("episodes", digest("a"), "run-other", compute))
"""


@pytest.fixture
def other(tmp_path):
    """A process in the middle of a computation, and the file whose removal lets it finish."""
    held = tmp_path / "held"
    held.touch()
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(tmp_path / "store"), str(held)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "computing\n"
    yield process, held
    process.kill()
    process.wait()
    process.stdout.close()


async def ask_while(store: Store, compute, meanwhile) -> Found:
    """What is found for "a" when `meanwhile` happens a little after the question."""
    asking = asyncio.create_task(store.get("episodes", digest("a"), "run", compute))
    await asyncio.sleep(0.1)
    assert not asking.done()
    meanwhile()
    return await asyncio.wait_for(asking, 5)


def test_what_another_process_computes_is_waited_for(tmp_path, other):
    _, held = other
    compute, calls = counting()
    found = asyncio.run(ask_while(Store(tmp_path / "store"), compute, held.unlink))
    assert (found.value, found.shared_with) == (b"of the other process", "run-other")
    assert not calls


def test_the_claim_of_a_killed_process_lapses(tmp_path, other):
    process, _ = other
    compute, calls = counting()
    found = asyncio.run(ask_while(Store(tmp_path / "store"), compute, process.kill))
    assert (found.value, found.shared_with) == (b"value", None)
    assert len(calls) == 1


def test_other_entries_are_computed_while_another_process_holds_one(tmp_path, other):
    compute, calls = counting()
    asyncio.run(asyncio.wait_for(Store(tmp_path / "store").get("episodes", digest("b"), "run", compute), 5))
    assert len(calls) == 1


def test_where_nothing_can_be_claimed_the_first_result_stays(tmp_path, monkeypatch, other):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("harness.records.store.fcntl.lockf", unsupported)
    process, held = other
    store = Store(tmp_path / "store")

    async def slow() -> bytes:
        held.unlink()
        while process.poll() is None:
            await asyncio.sleep(0.01)
        return b"computed a second time"

    found = asyncio.run(store.get("episodes", digest("a"), "run", slow))
    assert (found.value, found.shared_with) == (b"of the other process", "run-other")
    assert store.counts["episodes/doubled"] == 1


def test_a_file_system_without_hard_links_is_good_enough(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("harness.records.store.os.link", unsupported)
    compute, _ = counting()
    asyncio.run(Store(tmp_path).get("episodes", digest("a"), "run", compute))
    assert asyncio.run(Store(tmp_path).get("episodes", digest("a"), "run-b", compute)).value == b"value"
    assert not list(tmp_path.rglob(".new-*"))


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0o000, 0o644)])
def test_a_file_is_never_more_open_than_the_umask_says(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_synced(tmp_path / "file", b"value")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode
