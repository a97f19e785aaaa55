"""Players in processes of their own: the calls of hundreds of episodes without the trainer's interpreter lock.

A call costs 4 to 5 ms of Python (litellm, ART's conversion). One process is full at some 200 calls a second, and a
trainer in it waits for the lock. Each player process runs `python -m harness.player_pool`, reads jobs from its standard
input, plays any number of them at once and writes the episodes to its standard output: pickles, each after its length.
It ends when its input does, so it never outlives the process that started it.
"""

import asyncio
import contextlib
import itertools
import pickle
import struct
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.env import Environment
from harness.episode import Episode
from harness.errors import EngineError, HarnessError

if TYPE_CHECKING:  # litellm and ART load in the processes; here they would delay what starts beside them
    from harness.episode_player import Job

LENGTH = struct.Struct(">Q")
STOP_AFTER = 10.0  # seconds that an idle process may take to end before it is killed


@dataclass
class _Process:
    process: asyncio.subprocess.Process
    reading: asyncio.Task[None] | None = None
    open: dict[int, asyncio.Future[Episode]] = field(default_factory=dict)


class PlayerPool:
    """Plays episodes in `count` processes; each job goes to the one that has the fewest.

    load: makes the environment, again in every process; picklable, e.g. `functools.partial(load_domain, "retail")`
    domain_digest: what that domain must be
    in_flight: requests to the server at once, over all processes
    log: file that the processes' standard error is appended to

    The processes start with the first job, or with `start()`; that takes as long as litellm's and ART's import.
    """

    def __init__(
        self, count: int, load: Callable[[], Environment], domain_digest: str, in_flight: int, log: Path
    ) -> None:
        self.count, self.load, self.domain_digest, self.log = count, load, domain_digest, log
        self.in_flight = -(-in_flight // count)
        self._processes: list[_Process] = []
        self._starting: asyncio.Task[None] | None = None
        self._numbers = itertools.count()

    async def start(self) -> None:
        """Starts the processes and waits until all are ready; no-op when they are. Raises EngineError."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        await asyncio.shield(self._starting)

    async def play(self, job: "Job") -> Episode:
        """See `harness.episode_player.Plays`. Raises EngineError, too, when the process has ended."""
        await self.start()
        chosen = min(self._processes, key=lambda p: len(p.open))
        number = next(self._numbers)
        future: asyncio.Future[Episode] = asyncio.get_running_loop().create_future()
        chosen.open[number] = future
        try:
            if chosen.process.returncode is not None:
                raise self._ended(chosen)
            await _send(chosen.process.stdin, (number, job))
            return await future
        finally:
            chosen.open.pop(number, None)

    async def close(self) -> None:
        """Ends the processes; open jobs fail with EngineError. Idempotent."""
        if self._starting is not None:
            await asyncio.gather(self._starting, return_exceptions=True)
        await asyncio.gather(*(_end(each) for each in self._processes))
        self._processes, self._starting = [], None

    async def _start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            for _ in range(self.count):
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "harness.player_pool"),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,  # an interrupt at the terminal is ours to handle
                )
                self._processes.append(_Process(process))
        try:
            await asyncio.gather(*(self._greet(each) for each in self._processes))
        except BaseException:
            await asyncio.gather(*(_end(each) for each in self._processes))
            raise
        for each in self._processes:
            each.reading = asyncio.create_task(self._read(each))

    async def _greet(self, each: _Process) -> None:
        await _send(each.process.stdin, (self.load, self.in_flight))
        try:
            digest = await _receive(each.process.stdout)
        except (EOFError, ConnectionError):
            await each.process.wait()
            raise self._ended(each) from None
        if digest != self.domain_digest:
            raise EngineError(
                "A player process made another domain than this process has: the same options, and yet "
                "other tasks, policy or tools. Do both run the same version of the harness?"
            )

    async def _read(self, each: _Process) -> None:
        """Hands results to those who wait, until the process closes its output."""
        while True:
            try:
                number, result = await _receive(each.process.stdout)
            except (EOFError, ConnectionError):
                break
            future = each.open.get(number)
            if future is None or future.done():
                continue  # who asked was cancelled
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
        await each.process.wait()
        for future in each.open.values():
            if not future.done():
                future.set_exception(self._ended(each))

    def _ended(self, each: _Process) -> EngineError:
        return EngineError(
            f"A player process ended (status {each.process.returncode}). Its log is {self.log}. "
            "Run the same command again: what was computed so far is kept."
        )


async def _end(each: _Process) -> None:
    each.process.stdin.close()  # type: ignore[union-attr]
    try:
        await asyncio.wait_for(each.process.wait(), STOP_AFTER)
    except TimeoutError:
        each.process.kill()
        await each.process.wait()
    if each.reading is not None:
        await each.reading


async def _send(writer: Any, what: Any) -> None:
    raw = pickle.dumps(what, protocol=pickle.HIGHEST_PROTOCOL)
    writer.write(LENGTH.pack(len(raw)) + raw)
    with contextlib.suppress(ConnectionError):  # the process is gone: whoever reads from it says so
        await writer.drain()


async def _receive(reader: Any) -> Any:
    """Raises EOFError (asyncio.IncompleteReadError is one) at the end of the stream."""
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    return pickle.loads(await reader.readexactly(length))


async def _serve() -> None:
    """A player process: greets with its domain's digest, then plays what it reads until its input ends."""
    from harness.episode_player import EpisodePlayer

    loop = asyncio.get_running_loop()
    output = sys.stdout.buffer
    sys.stdout = sys.stderr  # libraries print
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, output)
    writer = asyncio.StreamWriter(transport, protocol, None, loop)

    load, in_flight = await _receive(reader)
    domain = load()
    player = EpisodePlayer(domain, in_flight)
    await _send(writer, domain.digest)

    async def play(number: int, job: "Job") -> None:
        try:
            result: Episode | Exception = await player.play(job)
        except HarnessError as error:
            result = error
        except Exception:
            result = RuntimeError(f"A player process failed:\n{traceback.format_exc()}")
        await _send(writer, (number, result))

    playing: set[asyncio.Task[None]] = set()
    while True:
        try:
            number, job = await _receive(reader)
        except EOFError:
            break
        task = asyncio.create_task(play(number, job))
        playing.add(task)
        task.add_done_callback(playing.discard)
    for task in playing:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(_serve())
