"""Is there room on a GPU? Who holds its memory, and a wait for them to end.

A server that was killed gives its memory back only when the driver has taken it down: seconds later, at times many.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import pynvml as nvml

from harness.errors import EngineError
from harness.machine.gpu import Gpu

LIMIT = 120.0  # seconds to wait for room
LOOK = 1.0  # seconds between two looks
SHOWN = 4  # processes that a line names
MIB, GIB = 2**20, 2**30


@dataclass(frozen=True)
class Holder:
    """A process with memory of a GPU. name: None for one of another container; mib: None where the driver hides it."""

    pid: int
    name: str | None
    mib: int | None

    def __str__(self) -> str:
        size = "unknown size" if self.mib is None else f"{self.mib:,} MiB"
        return f"pid {self.pid} ({self.name or 'not seen from here'}, {size})"


@dataclass(frozen=True)
class Room:
    """free: GiB that the driver would give away now."""

    free: float
    holders: tuple[Holder, ...] = ()

    @property
    def held_by(self) -> str:
        """`pid 4711 (VLLM::EngineCore, 40,000 MiB), pid 4712 (python, 900 MiB) and 2 more`."""
        largest = sorted(self.holders, key=lambda holder: -(holder.mib or 0))
        more = f" and {len(largest) - SHOWN} more" if len(largest) > SHOWN else ""
        return ", ".join(map(str, largest[:SHOWN])) + more or "no process that is seen from here"


def room_on(gpu: Gpu) -> Room | None:
    """None where the driver does not say, as for a GPU that shares the machine's memory."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(gpu.index)
        free = nvml.nvmlDeviceGetMemoryInfo(handle).free / GIB
        return Room(free, _holders(handle))
    except nvml.NVMLError:
        return None
    finally:
        nvml.nvmlShutdown()


def _holders(handle: object) -> tuple[Holder, ...]:
    try:
        found = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except nvml.NVMLError:
        return ()
    sizes = [(each.pid, each.usedGpuMemory) for each in found]
    return tuple(Holder(pid, _name(pid), None if size is None else size // MIB) for pid, size in sizes)


def _name(pid: int) -> str | None:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return None


async def wait_for_room(
    gpu: Gpu,
    needed: float,
    note: Callable[[str], None],
    look: Callable[[Gpu], Room | None] = room_on,
) -> None:
    """Returns once `needed` GiB of the GPU are free, at once where the driver does not say.

    note: called with one line when it begins to wait, and one when it has waited
    Raises EngineError, naming who holds the memory, after LIMIT seconds.
    """
    begun, said = time.monotonic(), False
    while (room := look(gpu)) is not None and room.free < needed:
        short = f"GPU {gpu.index} has {room.free:.1f} of {gpu.memory:.1f} GiB free, and an engine needs {needed:.1f}"
        if time.monotonic() - begun >= LIMIT:
            raise EngineError(
                f"{short}: after {LIMIT:.0f} s the rest is still held by {room.held_by}. End what should not be there "
                "and run the same command again, or give backend.gpu_split smaller shares."
            )
        if not said:
            said = True
            note(f"{short}; waiting up to {LIMIT:.0f} s for memory held by {room.held_by}")
        await asyncio.sleep(LOOK)
    if said:
        note(f"GPU {gpu.index} has room, after {time.monotonic() - begun:.0f} s")
