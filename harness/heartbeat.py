"""When another process is given up: one that gives no sign of life, sooner if it computes nothing meanwhile.

Time in which this process itself was stopped is not counted: nobody looked then. A process that waits for a core or a
disk computes, as far as this is concerned: its machine is slow.
"""

import asyncio
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

from harness.machine.processes import Activity

# Seconds. A process that computes may be compiling for a GPU, or share its cores with many others.
HEARTBEAT = 10.0  # between a sign and the next question for one
SILENCE = 60.0  # after which it is said
IDLE_LIMIT = 120.0
BUSY_LIMIT = 600.0
LOOK = 1.0  # between two looks at a process that is silent
IDLE = 0.02  # CPU seconds a second, below which nothing is computed

Look = Callable[[], Activity]


async def missed(name: str, sign: Coroutine[Any, Any, Any], look: Look, note: Callable[[str], None]) -> str | None:
    """Waits for a sign of life, or until it was waited for too long: then the sentence that says so, else None.

    name: as a sentence begins with it; sign: may raise, which ends the waiting as an answer does
    look: asked only while the process is silent; note: called with a line for a person
    """
    waiting = asyncio.ensure_future(sign)
    inside = name[0].lower() + name[1:]
    said, silence = False, _Idle()
    try:
        while not (await asyncio.wait([waiting], timeout=LOOK))[0]:
            silence.add(look(), LOOK)
            idle = silence.computes_nothing
            if silence.seconds >= SILENCE and not said:
                said = True
                what = "computes nothing" if idle else "is busy: it may be compiling"
                note(f"{inside} has given no answer for {silence.seconds:.0f} s and {what}")
            if silence.seconds >= (IDLE_LIMIT if idle else BUSY_LIMIT):
                return f"{name} gave no answer for {silence.seconds:.0f} s and was ended."
        if said and waiting.exception() is None:
            note(f"{inside} answers again, after {silence.seconds:.0f} s")
        return None
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


class Work:
    """Whether something comes of what a process was asked, looked at every HEARTBEAT: its event loop may answer while
    the thread that was to compute waits for ever."""

    def __init__(self, name: str, look: Look) -> None:
        self._name, self._look = name, look
        self._idle = _Idle()
        self._question: int | None = None

    def stalled(self, question: int | None) -> str | None:
        """The sentence that says so once nothing was computed of one question for IDLE_LIMIT.

        question: the oldest one that is open, by its number; None: there is none
        """
        if question is None or question != self._question:
            self._idle, self._question = _Idle(), question
            return None
        self._idle.add(self._look(), HEARTBEAT + LOOK)
        if not self._idle.computes_nothing:
            self._idle = _Idle(self._idle.last)
        if self._idle.seconds < IDLE_LIMIT:
            return None
        return f"{self._name} computed nothing for {self._idle.seconds:.0f} s of what it was asked, and was ended."


class _Idle:
    """seconds: looked at so far; last: what the last look saw."""

    def __init__(self, last: Activity | None = None) -> None:
        self.seconds, self.last = 0.0, last
        self._computed, self._ready, self._looks = 0.0, 0, 0
        self._looked = monotonic()

    def add(self, seen: Activity, every: float) -> None:
        """every: seconds between two looks. Where they were more, this process was stopped, or slow itself."""
        now = monotonic()
        self.seconds += min(now - self._looked, 2 * every)
        self._looked = now
        self._computed += seen.cpu_seconds - (self.last or seen).cpu_seconds
        self._ready += seen.ready
        self._looks += 1
        self.last = seen

    @property
    def computes_nothing(self) -> bool:
        return self._computed < IDLE * self.seconds and self._ready <= self._looks / 2
