"""Process groups of this machine: what they compute, and their end."""

import os
import signal
import time

import psutil

from harness.errors import EngineError

KILLED_WITHIN = 30.0  # seconds; a process in the driver of a GPU may take some


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


def cpu_seconds(processes: list[psutil.Process]) -> float:
    """What they and their ended children have computed so far."""
    total = 0.0
    for process in processes:
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.Error:
            continue
    return total


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
