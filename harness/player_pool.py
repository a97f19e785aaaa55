"""Players in processes of their own: the calls of hundreds of episodes without the interpreter lock of the runs.

A call costs 4 to 5 ms of Python (litellm, ART's conversion). One process is full at some 200 calls a second. Each
player process runs `python -m harness.player_pool` and plays any number of jobs at once (child_process.py).
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.child_process import Answers, ChildProcess, serve
from harness.env import Environment
from harness.episode import Episode
from harness.errors import EngineError

if TYPE_CHECKING:  # litellm and ART load in the processes; here they would delay what starts beside them
    from harness.episode_player import Job

NAME = "A player process"
TRIES = 3  # of a job whose process was lost


class PlayerPool:
    """Plays episodes in `count` processes; each job goes to the one that has the fewest.

    load: makes the environment, again in every process; picklable, e.g. `functools.partial(load_domain, "retail")`
    domain_digest: what that domain must be
    in_flight: requests to the server at once, over all processes
    log: file that the processes' standard error is appended to
    note: called with a line for a person

    A process that is lost is replaced, and its jobs are played by others: an episode is a pure function.
    The processes start with the first job, or with `start()`; that takes as long as the import of litellm.
    """

    def __init__(
        self,
        count: int,
        load: Callable[[], Environment],
        domain_digest: str,
        in_flight: int,
        log: Path,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.load, self.domain_digest = load, domain_digest
        self.in_flight = -(-in_flight // count)
        self.log, self.note = log, note
        self.processes = [self._process() for _ in range(count)]
        self._starting: asyncio.Task[None] | None = None
        self._replacing = asyncio.Lock()
        self._closed = False

    async def start(self) -> None:
        """Starts the processes and waits until all are ready; no-op when they are. Raises EngineError."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        await asyncio.shield(self._starting)

    async def play(self, job: "Job") -> Episode:
        """See `harness.episode_player.Plays`. Raises EngineError, too, when TRIES processes were lost with it."""
        await self.start()
        for left in reversed(range(TRIES)):
            process = min(self.processes, key=lambda p: len(p.open))
            try:
                episode: Episode = await process.ask(job)
                return episode
            except EngineError as error:
                if process.alive or not left or self._closed:
                    raise
                await self._replace(process, error)
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Ends the processes; open jobs fail with EngineError, and no process is replaced any more. Idempotent."""
        self._closed = True
        if self._starting is not None:
            await asyncio.gather(self._starting, return_exceptions=True)
        await asyncio.gather(*(each.close() for each in self.processes))

    def _process(self) -> ChildProcess:
        return ChildProcess(NAME, "harness.player_pool", self.log, self.note)

    async def _replace(self, lost: ChildProcess, why: EngineError) -> None:
        """Another process in its place, which all who ask for it wait for. Raises EngineError if it does not start."""
        async with self._replacing:
            if lost not in self.processes:
                return
            if self._closed:
                raise why
            self.note(f"{why} Another one starts.")
            await lost.close()
            other = self._process()
            await self._greet(other)
            if self._closed:
                await other.close()
                raise why
            self.processes[self.processes.index(lost)] = other

    async def _start(self) -> None:
        try:
            await asyncio.gather(*(self._greet(each) for each in self.processes))
        except BaseException:
            await asyncio.gather(*(each.close() for each in self.processes))
            raise

    async def _greet(self, each: ChildProcess) -> None:
        if await each.start((self.load, self.in_flight)) != self.domain_digest:
            raise EngineError(
                "A player process made another domain than this process has: the same options, and yet "
                "other tasks, policy or tools. Do both run the same version of the harness?"
            )


async def _player(greeting: Any) -> tuple[str, Answers]:
    """The digest of the domain that was made, and what plays in it."""
    from harness.project_player import player_of

    load, in_flight = greeting
    domain = load()
    return domain.digest, player_of(domain, in_flight).play


if __name__ == "__main__":
    serve(NAME, _player)
