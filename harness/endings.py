"""How a command ends that is stopped, or whose output nobody takes any more. Standard library only.

Ctrl-C, SIGTERM and SIGHUP (a closed terminal) are one thing with three exit codes. The first one is answered at once
and lets the work end in order, the second ends the process there and then: as after `kill -9`, what it had stored is
kept, and servers, engines and players end because their pipe to it does.
"""

import asyncio
import codecs
import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TextIO, TypeVar

from harness.errors import Exit

T = TypeVar("T")

STOPPING = "Stopping: what is being written is finished first. Once more (Ctrl-C) stops at once."
CONTINUE = "Stopped. The same command continues where it stopped."
READER_GONE = (errno.EPIPE, errno.EIO)  # `| head` has read enough; the terminal is closed
SHOW_CURSOR = b"\x1b[?25h"  # a live display hides it
# Where the output's encoding lacks a character. What is not here becomes its number: \u2026.
PLAIN = str.maketrans(
    {"–": "-", "—": "-", "−": "-", "•": "-", "×": "x", "·": ".", "●": "*", "○": "o", "═": "=", "━": "-", "╸": "-"}
    | {"±": "+-", "≥": ">=", "≤": "<=", "→": "->", "…": "...", "’": "'", "‘": "'", "“": '"', "”": '"'}
)

_asked: list[int] = []  # the signals that have come, in order


def listen() -> None:
    """SIGTERM and SIGHUP interrupt as Ctrl-C does. What the starter ignores (nohup) stays ignored."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)


def stopped(text: str) -> int:
    """Says that the command was stopped; its exit code. From here on another signal ends the process at once."""
    _hear(_leave)
    print(text, file=sys.stderr, flush=True)
    return 128 + (_asked or [signal.SIGINT])[0]


def interrupt() -> None:
    """What the first Ctrl-C does, done to this process, from any thread. Nothing where it is being stopped already: a
    second signal would end it at once. Where the starter ignores Ctrl-C (a background job), as SIGTERM."""
    if not _asked:
        ignored = signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None)
        os.kill(os.getpid(), signal.SIGTERM if ignored else signal.SIGINT)


def say(text: str) -> None:
    """A line on stderr, also from a signal handler, where buffered streams may not be used."""
    with suppress(OSError):
        os.write(2, f"{text}\n".encode())


@contextmanager
def stoppable(tell: Callable[[str], None] = say) -> Iterator[None]:
    """Inside a task: the first signal is told and cancels the task, the second ends the process."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    if task is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: object) -> None:
        if _asked:
            _leave(number, _)
        _asked.append(number)
        tell(STOPPING)
        loop.call_soon_threadsafe(task.cancel)

    before = _hear(stop)
    try:
        yield
    except Exception as error:
        if not _asked:
            raise
        raise asyncio.CancelledError from error  # the stop brought it about: no engine is started again for it
    finally:
        for number, handler in {} if _asked else before.items():
            signal.signal(number, handler)


def run_stoppable(work: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`. Raises KeyboardInterrupt where a signal has cancelled the work (`stoppable`)."""
    try:
        return asyncio.run(work)
    except asyncio.CancelledError:
        if not _asked:
            raise
        raise KeyboardInterrupt from None


def _hear(handler: Callable[[int, object], None]) -> dict[int, Any]:
    """Has the handler hear all signals that are not ignored. Those of before."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    known = {int(number): signal.getsignal(number) for number in numbers}
    before = {number: heard for number, heard in known.items() if heard not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, handler)
    return before


def _interrupt(number: int, _: object) -> NoReturn:
    _asked.append(number)
    raise KeyboardInterrupt


def _leave(number: int, _: object) -> NoReturn:
    if os.isatty(1):
        with suppress(OSError):
            os.write(1, SHOW_CURSOR)
    say("Stopped at once.")
    os._exit(128 + (_asked or [number])[0])


class _Output(io.FileIO):
    """A descriptor of a reader that may go away. lost: why something was not taken, the first time."""

    lost: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.lost = self.lost or error
            return len(memoryview(data))


class Outputs:
    """stdout and stderr of a command. The work goes on when nobody reads them, and no write raises."""

    def __init__(self) -> None:
        codecs.register_error("harness.plain", _plain)
        self._raw: list[_Output] = []
        sys.stdout, sys.stderr = self._output(sys.stdout), self._output(sys.stderr)

    def _output(self, stream: TextIO | None) -> TextIO:
        if stream is None:  # closed by the starter: `>&-`
            return open(os.devnull, "w")
        try:
            descriptor = stream.fileno()
        except OSError:  # something in memory
            return stream
        if not isinstance(stream, io.TextIOWrapper) or descriptor not in (1, 2):
            return stream
        stream.flush()
        raw = _Output(descriptor, "w", closefd=False)
        self._raw.append(raw)
        return io.TextIOWrapper(
            raw if stream.write_through else io.BufferedWriter(raw),  # as Python's own -u
            encoding=stream.encoding,
            errors="harness.plain",
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )

    def lost(self) -> OSError | None:
        """Why something of the output is lost, if not because its reader has gone."""
        with suppress(ValueError):  # a library has closed it
            sys.stdout.flush()
        return next((raw.lost for raw in self._raw if raw.lost and raw.lost.errno not in READER_GONE), None)


def ended(code: Any, outputs: Outputs) -> Any:
    """The exit code of a command whose own one is given: FAILED if it had none and its output is lost."""
    if (lost := outputs.lost()) is None:
        return code
    say(f"harness: the output could not be written: {lost.strerror}. Make room where it goes, and ask again.")
    return code or Exit.FAILED


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(PLAIN)
    return text.encode("ascii", "backslashreplace").decode(), error.end
