"""A GPU whose memory another process still holds is waited for, and the line names the process."""

import asyncio
import os
from types import SimpleNamespace

import psutil
import pytest

from harness import backend
from harness.errors import EngineError
from harness.machine import gpu_room
from harness.machine.gpu import Gpu
from harness.machine.gpu_room import Holder, Room, room_on, wait_for_room
from harness.sections import BackendConfig

H100 = Gpu(1, "NVIDIA H100 80GB HBM3", 80.0)
OLD = Holder(4711, "VLLM::EngineCore", 40_000)


@pytest.fixture
def wait(monkeypatch):
    """wait(*looks, needed=72.0): the lines said; a look is what the driver shows then, the last one for ever."""
    monkeypatch.setattr(gpu_room, "LOOK", 0.001)
    monkeypatch.setattr(gpu_room, "LIMIT", 0.2)

    def run(*looks: Room | None, needed: float = 72.0) -> list[str]:
        lines: list[str] = []
        shown = iter(looks)
        asyncio.run(wait_for_room(H100, needed, lines.append, lambda _: next(shown, looks[-1])))
        return lines

    return run


def test_a_free_card_is_not_waited_for_and_nothing_is_said(wait):
    assert wait(Room(79.0)) == []


def test_where_the_driver_does_not_say_nobody_waits(wait):
    assert wait(None) == []


def test_a_card_that_is_not_free_yet_is_waited_for_and_one_line_says_whose_memory_it_is(wait):
    lines = wait(*[Room(39.0, (OLD,))] * 5, Room(79.0))
    assert lines == [
        "GPU 1 has 39.0 of 80.0 GiB free, and an engine needs 72.0; waiting up to 0 s for memory held by pid 4711 "
        "(VLLM::EngineCore, 40,000 MiB)",
        "GPU 1 has room, after 0 s",
    ]


def test_after_the_limit_the_error_says_who_holds_it_and_what_to_do(wait):
    with pytest.raises(EngineError, match=r"still held by pid 4711 .* backend.gpu_split"):
        wait(Room(39.0, (OLD,)))


def test_the_largest_holders_are_named_and_those_that_are_not_seen_are_no_reason_to_fail():
    many = Room(1.0, tuple(Holder(pid, None, pid or None) for pid in range(6)))
    assert many.held_by.startswith("pid 5 (not seen from here, 5 MiB), pid 4 (")
    assert many.held_by.endswith("and 2 more")
    assert str(Holder(0, None, None)) == "pid 0 (not seen from here, unknown size)"
    assert Room(1.0).held_by == "no process that is seen from here"


def test_room_is_read_as_the_driver_tells_it(monkeypatch):
    driver = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(free=3 * 2**30 * handle),
        "nvmlDeviceGetComputeRunningProcesses": lambda _: [
            SimpleNamespace(pid=os.getpid(), usedGpuMemory=7 * 2**20),
            SimpleNamespace(pid=2**22 + 1, usedGpuMemory=None),  # no process has this id
        ],
    }
    for name, answer in driver.items():
        monkeypatch.setattr(gpu_room.nvml, name, answer)
    ours = Holder(os.getpid(), psutil.Process().name(), 7)
    assert room_on(H100) == Room(3.0, (ours, Holder(2**22 + 1, None, None)))


def test_a_driver_that_does_not_tell_is_no_error(monkeypatch):
    def missing():
        raise gpu_room.nvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(gpu_room.nvml, "nvmlInit", missing)
    assert room_on(H100) is None


@pytest.mark.parametrize(("options", "needed"), [({}, 72.0), ({"engines_per_gpu": 2}, 36.0)])
def test_an_engine_waits_for_its_shares_of_the_card_before_anything_starts(monkeypatch, options, needed):
    asked = []

    async def wait(gpu, needed, note):
        asked.append((gpu, needed))

    for place in ("harness.machine.gpu.gpus", "harness.sections.gpus"):
        monkeypatch.setattr(place, lambda: (H100,))
    monkeypatch.setattr(gpu_room, "wait_for_room", wait)
    asyncio.run(backend._room(BackendConfig("shared", **options), print))
    assert asked == [(H100, pytest.approx(needed))]
