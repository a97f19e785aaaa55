"""Processes below another one, by their commands; and waiting for what other processes do."""

import time
from contextlib import suppress

import psutil


def below(pid: int, word: str) -> list[psutil.Process]:
    """Those whose command holds the word, whatever its case; none that has ended meanwhile."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a zombie has no command either
            if word.lower() in " ".join(process.cmdline()).lower():
                found.append(process)
    return found


def wait_until(what, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(0.02)
