"""A child process for test_child_process.py: doubles numbers, or does what else it is asked."""

import asyncio
import gc
import os
import signal
import time

from harness.child_process import serve
from harness.errors import ConfigError

WAIT = 60.0  # seconds; longer than any test waits
COMPUTES = 1.6  # seconds


async def _made(greeting):
    if greeting == "refuse":
        raise ConfigError("no such thing")
    if greeting == "die":
        os._exit(3)
    if greeting == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    return f"hello {greeting}", _answer


def _compute():
    until = time.monotonic() + COMPUTES
    while time.monotonic() < until:
        pass
    return "computed"


async def _answer(question):
    if question == "busy":
        await asyncio.to_thread(time.sleep, WAIT)
    if question == "card":
        return os.environ.get("CUDA_VISIBLE_DEVICES")
    if question == "wait":
        await asyncio.sleep(0.3)
        return "waited"
    if question == "compute":
        return _compute()
    if question == "compute in a thread":
        return await asyncio.to_thread(_compute)
    if question == "wrong":
        raise ConfigError("so wrong")
    if question == "break":
        return 1 / 0
    if question == "print":
        print("a library's line")
        return "printed"
    if question == "collector":
        return gc.get_freeze_count(), gc.isenabled() and gc.get_threshold()
    if question == "pid":
        return os.getpid()
    await asyncio.sleep(0.05 if question == 1 else 0)
    return 2 * question


if __name__ == "__main__":
    serve("A child", _made)
