"""Process groups of this machine: what they compute, and their end; and how a process loads large libraries."""

import gc
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from harness.errors import EngineError

USUAL = gc.get_threshold()
KILLED_WITHIN = 30.0  # seconds; a process in the driver of a GPU may take some


def begin_loading(ends: bool = False) -> None:
    """torch, ART and litellm make a million objects and drop hardly any. Until `end_loading` the garbage collector,
    which would go through all of them again and again, is asked seldom.

    ends: `end_loading` will be called, so that until then it need not be asked at all
    """
    gc.set_threshold(50_000, 20, 100)
    if ends:
        gc.disable()


def end_loading() -> None:
    """What is there by now is never collected. What comes is, as usual: it may hold tensors."""
    gc.freeze()
    gc.set_threshold(*USUAL)
    gc.enable()


def members(group: int) -> list[psutil.Process]:
    """The living processes of a process group."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.Error):
            continue
    return found


@dataclass(frozen=True)
class Activity:
    """cpu_seconds: that processes and their ended children have computed so far
    ready: a thread of them runs, or waits for a core or a disk alone"""

    cpu_seconds: float
    ready: bool


def activity(processes: list[psutil.Process]) -> Activity:
    """What they do."""
    total, ready = 0.0, False
    for process in processes:
        try:
            total += sum(process.cpu_times()[:4])
            ready = ready or any(_state(stat) in "RD" for stat in Path(f"/proc/{process.pid}/task").glob("*/stat"))
        except (OSError, psutil.Error):
            continue
    return Activity(total, ready)


def _state(stat: Path) -> str:
    """Of a thread, in one letter; see proc(5)."""
    return stat.read_text().rpartition(")")[2].split()[0]


def end_group(group: int) -> None:
    """Kills what lives of a group and waits for its end, so that what it held is free.

    Raises EngineError if something does not end.
    """
    deadline = time.monotonic() + KILLED_WITHIN
    while left := members(group):
        if time.monotonic() > deadline:
            names = ", ".join(f"{process.pid} ({process.name()})" for process in left)
            raise EngineError(f"Processes {names} were killed and have not ended in {KILLED_WITHIN:.0f} s.")
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            return
        time.sleep(0.02)
