"""An engine in a process of its own, and its handle in the process that started it.

    python -m harness.launch.engine_process      reads lines on stdin, writes lines on stdout

    <- the order, as JSON                                   -> {"ready": host} | {"error": text, "kind": class}
    <- ["arm/seed=0", …]: train these runs                  -> {"trained": …}  | {"error": …}
    <- end of input: stop, in the middle of a run too       -> {"spent": …}
                                              at any time   -> {"note": a line for a person}

The end of input is also how the death of the starter is seen, however it came: no engine outlives it. What libraries
print goes to the engine's own log. The same process serves a GPU of this node, a Ray actor and a Slurm job.
"""

import asyncio
import contextlib
import json
import logging
import os
import platform
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import harness
from harness.disk import fault, writing
from harness.errors import ConfigError, DiskError, EngineError, HarnessError
from harness.launch.quiet import quiet
from harness.launch.work_order import WorkOrder
from harness.log_stream import log_stream
from harness.sweep.cost import EngineCost, StartCost
from harness.sweep.display import Progress

LOG_TAIL = 15  # lines of the log that an error quotes
KINDS: dict[str, type[HarnessError]] = {"ConfigError": ConfigError, "DiskError": DiskError}
GRACE = 60.0  # seconds for a told engine to end by itself


class EngineProcess:
    """The handle. Blocking, and safe to stop from another thread; see `engine_pool.PooledEngine` for what is raised."""

    def __init__(self, number: int, environment: Mapping[str, str] | None = None) -> None:
        """environment: what differs from this process's, e.g. CUDA_VISIBLE_DEVICES"""
        self.number = number
        self.note: Callable[[str], None] = lambda _: None  # called from other threads with the engine's notes
        self.environment = dict(environment or {})
        self.log: Path | None = None
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str] = queue.Queue()
        self._spent: EngineCost | None = None
        self._stopped = False

    def start(self, order: WorkOrder) -> str:
        """Returns the machine's name once the engine can train (a minute: vLLM starts, the base model loads)."""
        folder = order.check_shared()  # before anything is made there
        logs = folder / "logs" / f"engine-{self.number}"
        self.log = logs / "harness.log"
        with ExitStack() as held:
            with writing(self.log):
                logs.mkdir(parents=True, exist_ok=True)
                log = held.enter_context(self.log.open("a"))
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness.launch.engine_process", str(logs)],
                env=self._environment(order),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C reaches the starter alone
            )
        threading.Thread(target=self._listen, daemon=True).start()
        return str(self._ask(order.to_json(), "ready"))

    def train(self, names: Sequence[str]) -> None:
        """Returns when every run has ended, completed or failed."""
        self._ask(json.dumps(list(names)), "trained")

    def stop(self) -> EngineCost | None:
        """Ends the engine and its server; what it spent, None if it was lost. Idempotent."""
        process = self._process
        if process is None or self._stopped:
            return None
        self._stopped = True
        assert process.stdin
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        while self._spent is None and (said := self._answer()):
            self._keep(said)
        return self._spent

    def _ask(self, line: str, expected: str) -> Any:
        process = self._process
        assert process and process.stdin
        said = None
        with contextlib.suppress(BrokenPipeError, ValueError):  # ended, or stopped by another thread
            process.stdin.write(line + "\n")
            process.stdin.flush()
            said = self._answer()
        if said is None or "spent" in said:
            self._keep(said or {})
            raise EngineError(f"engine {self.number} on {platform.node()} ended. {self._explain()}")
        if "error" in said:
            raise KINDS.get(said["kind"], EngineError)(said["error"])
        return said[expected]

    def _answer(self) -> dict[str, Any] | None:
        """The next one; None when the process has ended without. Its pipe alone does not tell: a process that it
        forked may hold the other end."""
        assert self._process
        while True:
            ended = self._process.poll() is not None
            with contextlib.suppress(queue.Empty):
                answer: dict[str, Any] = json.loads(self._answers.get(timeout=0.5))
                if "note" not in answer:
                    return answer
                self.note(answer["note"])
                continue
            if ended:
                return None

    def _keep(self, said: dict[str, Any]) -> None:
        if "spent" in said:
            self._spent = EngineCost(**said["spent"])

    def _listen(self) -> None:
        assert self._process and self._process.stdout
        with self._process.stdout as answers:
            for line in answers:
                self._answers.put(line)

    def _environment(self, order: WorkOrder) -> dict[str, str]:
        here = {"HARNESS_VLLM_PYTHON": order.server_python} if order.server_python else {}
        ours = {**here, **os.environ, **self.environment}
        # The child must find this package, wherever this process found it.
        path = [str(Path(harness.__file__).parents[1]), ours.get("PYTHONPATH", "")]
        return ours | {"PYTHONPATH": os.pathsep.join(filter(None, path))}

    def _explain(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL:] if self.log else []
        return f"Its log is {self.log}; the last lines:\n" + "\n".join(f"  | {line[:300]}" for line in lines)


class StarterLines:
    """What the starter says on a file descriptor, line by line, without keeping the event loop from its work."""

    def __init__(self, source: int) -> None:
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._source = source
        self.ended = asyncio.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        # Not through sys.stdin: a thread that waits in there keeps the interpreter from ending.
        rest = b""
        with contextlib.suppress(RuntimeError):  # the loop has ended first
            while raw := os.read(self._source, 1 << 16):
                *lines, rest = (rest + raw).split(b"\n")
                for line in lines:
                    self._loop.call_soon_threadsafe(self._lines.put_nowait, line.decode())
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self.ended.set()
        self._lines.put_nowait("")

    async def next(self) -> str:
        """The next line; "" after the last one."""
        return "" if self.ended.is_set() else await self._lines.get()


class LoggedProgress(Progress):
    """The starter shows the progress, from the records. Here it goes to the log; notes go to the starter, too."""

    def __init__(self, total_runs: int, total_steps: int, told: Callable[[str], None]) -> None:
        super().__init__(total_runs, total_steps)
        self._told = told

    def note(self, text: str) -> None:
        super().note(text)
        self._told(text)

    def keep(self, text: str) -> None:
        super().keep(text)
        self._told(text)


class EngineWork:
    """One engine's work for its starter."""

    def __init__(self, told: StarterLines, answers: TextIO, logs: Path) -> None:
        self.told, self.answers, self.logs = told, answers, logs
        self.spent = StartCost()
        self.idle = False  # ready, and waiting for runs

    async def work(self) -> None:
        """Until the starter ends it. What stops the engine is said to the starter, then raised."""
        from harness.sweep.train_runs import work

        try:
            sweep = WorkOrder.from_json(await self.told.next()).load()
            runs = {config.run.name: config for config in sweep.config.runs}

            async def batches() -> AsyncIterator[list[Any]]:
                self._say(ready=platform.node())
                while line := await self._idle():
                    yield [runs[name] for name in json.loads(line)]
                    self._say(trained=line)

            steps = len(runs) * sweep.config.train.steps
            with LoggedProgress(len(runs), steps, lambda line: self._say(note=line)) as progress:
                await work(sweep, batches(), progress, self.spent.counts, self.logs)
        except Exception as caught:
            error = fault(caught) or caught
            text = str(error) if isinstance(error, HarnessError) else f"{type(error).__name__}: {error}"
            self._say(error=text, kind=type(error).__name__)
            raise

    async def _idle(self) -> str:
        self.idle = True
        line = await self.told.next()
        self.idle = not line  # told to end between two units: what is left to write is written
        return line

    async def until_told(self) -> None:
        """Ends with the work, or cuts it off when the starter is gone or wants it stopped in the middle."""
        working = asyncio.create_task(self.work())
        ending = asyncio.create_task(self.told.ended.wait())
        await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not self.idle:
            working.cancel()
        ending.cancel()
        try:
            await working
        except asyncio.CancelledError:
            pass
        finally:
            self._say(spent=asdict(self.spent.spending()))

    def _say(self, **answer: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody listens any more
            self.answers.write(json.dumps(answer) + "\n")
            self.answers.flush()


def main() -> None:
    """The child's side. Exits with 1 after an error, which the starter has been told."""
    quiet()
    # A batch system warns every process of a job; what follows is the starter's to decide. vLLM inherits this.
    for warning in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(warning, signal.SIG_IGN)
    logs = Path(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to the log
    sys.stdout = sys.stderr = log_stream(2)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    logging.captureWarnings(True)

    async def serve() -> None:
        await EngineWork(StarterLines(sys.stdin.fileno()), answers, logs).until_told()

    try:
        asyncio.run(serve())
    except Exception:
        logging.exception("The engine ended")
        sys.exit(1)


if __name__ == "__main__":
    main()
