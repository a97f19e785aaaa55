"""A process of our own that is asked over its standard input and answers on its standard output.

Pickles, each after its length: a greeting and its answer, then numbered questions and their answers, any number of them
open at once. The process ends, in the middle of its work too, when its input does: so it never outlives the process
that started it, however that one ended. What libraries print there goes to its log. It is asked for a sign of life now
and then, and killed when it gives none (heartbeat.py).

    python -m harness.child_process MODULE PID      runs MODULE, and ends with process PID while it loads libraries, too
"""

import asyncio
import contextlib
import itertools
import os
import pickle
import runpy
import struct
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import harness
from harness import heartbeat
from harness.errors import EngineError, HarnessError
from harness.log_stream import log_stream
from harness.machine.processes import Activity, activity, begin_loading, end_group, end_loading, members

LENGTH = struct.Struct(">Q")
STOP_AFTER = 10.0  # seconds that a process may take to end before it is killed
SIGN = "a sign of life"  # a question that the process itself answers
LOOK = 0.5  # seconds between two looks whether the starter lives

PEAKS: list[float] = []  # GiB: the largest resident memory of each process that was closed

Answers = Callable[[Any], Awaitable[Any]]


class ChildProcess:
    """The handle. name: of what it is, as errors say it; module: that it runs; log: gets its standard error.

    note: called with a line for a person
    computes: what it is asked is computed in its own processes, so it hangs if they compute nothing meanwhile
    environment: what differs from this process's

    Raises, where it is asked, what answering raised: a HarnessError as it is, anything else as RuntimeError; and
    EngineError once the process has ended.
    """

    def __init__(
        self,
        name: str,
        module: str,
        log: Path,
        note: Callable[[str], None] = lambda _: None,
        computes: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.module, self.log, self.note, self.computes = name, module, log, note, computes
        self.environment = environment or {}
        self.open: dict[int, asyncio.Future[Any]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._given_up = ""
        self._numbers = itertools.count()

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    async def start(self, greeting: Any) -> Any:
        """Starts the process; its answer to the greeting. A process that cannot greet is ended."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        path = [str(Path(harness.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        with self.log.open("a") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "harness.child_process", self.module, str(os.getpid())),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, **self.environment, "PYTHONPATH": os.pathsep.join(filter(None, path))},
                start_new_session=True,  # an interrupt at the terminal is ours to handle
            )
        try:
            answer = await self._greet(greeting)
            if isinstance(answer, BaseException):
                raise answer
        except (EOFError, ConnectionError):
            await self._process.wait()
            raise self._ended() from None
        except BaseException:
            await self.close()
            raise
        self._reading = asyncio.create_task(self._read())
        self._watching = asyncio.create_task(self._watch())
        return answer

    async def _greet(self, greeting: Any) -> Any:
        """The answer to it. Raises EOFError when the process ended first, or was given up."""
        assert self._process
        await _send(self._process.stdin, greeting)
        receiving = asyncio.create_task(_receive(self._process.stdout))
        try:
            if why := await heartbeat.missed(self.name, _settled(receiving), self._activity, self.note):
                await self._give_up(why)
            return await receiving
        finally:
            receiving.cancel()

    async def ask(self, question: Any) -> Any:
        """The answer. Whoever is cancelled here takes no answer; the process answers all the same."""
        self.assert_alive()
        assert self._process
        number = next(self._numbers)
        self.open[number] = asyncio.get_running_loop().create_future()
        try:
            await _send(self._process.stdin, (number, question))
            return await self.open[number]
        finally:
            self.open.pop(number, None)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None and not self._given_up

    def assert_alive(self) -> None:
        """Raises EngineError when the process has ended."""
        if not self.alive:
            raise self._ended()

    async def close(self) -> None:
        """Ends the process; open questions fail with EngineError. Idempotent."""
        process = self._process
        if process is None:
            return
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if process.returncode is None:
            PEAKS.append(_peak_gib(process.pid))
        process.stdin.close()  # type: ignore[union-attr]
        try:
            await asyncio.wait_for(process.wait(), STOP_AFTER)
        except TimeoutError:
            process.kill()
            await process.wait()
        if self._reading is not None:
            await self._reading

    async def _watch(self) -> None:
        """Gives up a process that gives no sign of life, and one that computes nothing of what it was asked."""
        work = heartbeat.Work(self.name, self._activity)
        while self.alive:
            await asyncio.sleep(heartbeat.HEARTBEAT)
            why = await heartbeat.missed(self.name, self.ask(SIGN), self._activity, self.note)
            if why or (why := work.stalled(min(self.open, default=None) if self.computes else None)):
                await self._give_up(why)

    async def _give_up(self, why: str) -> None:
        assert self._process
        self._given_up = why
        with contextlib.suppress(EngineError):  # what the kernel does not let go of: nobody waits for it
            await asyncio.to_thread(end_group, self._process.pid)
        self._fail_open()

    def _activity(self) -> Activity:
        assert self._process
        return activity(members(self._process.pid))

    async def _read(self) -> None:
        """Hands answers to those who wait, until the process closes its output."""
        assert self._process
        while True:
            try:
                number, answer = await _receive(self._process.stdout)
            except (EOFError, ConnectionError):
                break
            future = self.open.get(number)
            if future is None or future.done():
                continue  # who asked was cancelled
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        await self._process.wait()
        self._fail_open()

    def _fail_open(self) -> None:
        for future in self.open.values():
            if not future.done():
                future.set_exception(self._ended())

    def _ended(self) -> EngineError:
        status = f"ended (status {self._process.returncode})" if self._process else "was not started"
        again = "Run the same command again: what was computed so far is kept."
        return EngineError(f"{self._given_up or f'{self.name} {status}.'} Its log is {self.log}. {again}")


def serve(name: str, make: Callable[[Any], Awaitable[tuple[Any, Answers]]]) -> None:
    """What the module of a child process calls: greets, then answers until its input ends. Does not return.

    make: from the greeting to the answer to it, and what answers the questions
    """
    output = sys.stdout.buffer
    sys.stdout = sys.stderr = log_stream(2)  # libraries print
    asyncio.run(_serve(name, make, output))


async def _serve(name: str, make: Callable[[Any], Awaitable[tuple[Any, Answers]]], output: Any) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, output)
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    answering: set[asyncio.Task[None]] = set()

    async def answer(answers: Answers, number: int, question: Any) -> None:
        await _send(writer, (number, SIGN if question == SIGN else await _outcome(name, answers(question))))

    with contextlib.suppress(EOFError):
        made = await _outcome(name, make(await _receive(reader)))
        if isinstance(made, Exception):
            await _send(writer, made)
            return
        end_loading()
        greeted, answers = made
        await _send(writer, greeted)
        while True:
            task = asyncio.create_task(answer(answers, *await _receive(reader)))
            answering.add(task)
            task.add_done_callback(answering.discard)
    sys.stderr.flush()
    os._exit(0)  # what a thread still computes is asked by nobody


async def _settled(task: asyncio.Task[Any]) -> None:
    """Returns when it has ended, however."""
    await asyncio.wait([task])


async def _outcome(name: str, work: Awaitable[Any]) -> Any:
    """What comes of it, or the exception that its asker gets."""
    try:
        return await work
    except HarnessError as error:
        return error
    except Exception as error:
        traceback.print_exc()
        return RuntimeError(f"{name} failed: {type(error).__name__}: {error}")


def _peak_gib(pid: int) -> float:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as status:
        return next((int(line.split()[1]) / 2**20 for line in status if line.startswith("VmHWM")), 0.0)
    return 0.0


async def _send(writer: Any, what: Any) -> None:
    raw = pickle.dumps(what, protocol=pickle.HIGHEST_PROTOCOL)
    writer.write(LENGTH.pack(len(raw)))
    writer.write(raw)
    with contextlib.suppress(ConnectionError):  # the process is gone: whoever reads from it says so
        await writer.drain()


async def _receive(reader: Any) -> Any:
    """Raises EOFError (asyncio.IncompleteReadError is one) at the end of the stream."""
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    return pickle.loads(await reader.readexactly(length))


def _end_with(starter: int) -> None:
    """The end of the input is seen only once the libraries are loaded, which takes seconds, or minutes."""
    while os.getppid() == starter:
        time.sleep(LOOK)
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with, args=(int(sys.argv[2]),), daemon=True).start()
    begin_loading(ends=True)
    runpy.run_module(sys.argv[1], run_name="__main__", alter_sys=True)
