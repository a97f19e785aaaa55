"""The handle of the process in which all of W&B happens (wandb_process.py), so that nothing of it can slow or break a
run, or keep a sweep from ending."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import psutil

import harness
from harness.tracking import given_up

CALLS = 20_000  # that may wait for W&B; one more, and it is given up
END_SECONDS = 8.0  # for W&B to write what is left, from the last run's end on; then it is killed
STOP_SECONDS = 4.0  # the same, for a sweep that was interrupted: the runs are written again when it goes on
REPORT_SECONDS = 15.0  # the same for the report, whose upload begins when it is written
EXIT_SECONDS = 2.0  # of these at least from the engine's end on
KILL_SECONDS = 1.0  # for a killed process to be gone


@contextmanager
def tracked(
    folder: Path,
    on: bool,
    show: Callable[[str], None],
    keep: Callable[[str], None] = lambda _: None,
    seconds: float = END_SECONDS,
) -> Iterator["Background"]:
    """For the runs that one engine trains, or for the report. show: is given the one line of a sweep whose W&B failed;
    keep: where W&B shows the sweep; seconds: as of `Background.close`"""
    background = Background(folder, partial(given_up.say_once, folder, show), lambda address: keep(f"W&B: {address}"))
    background.why = given_up.said(folder)  # by another engine of this start
    if on and not background.why:
        background.start()  # beside the engine
    try:
        yield background
    except BaseException:
        background.close(STOP_SECONDS)
        raise
    background.close(seconds)


class Background:
    """Takes calls at once, and passes them on in order. The first failure ends it; what came later is dropped.

    folder: the sweep's; tell: called once, from any thread, with why W&B was given up
    tell_group: called from another thread with the address of each W&B group that is online
    The process starts with the first call, or with `start()`; wandb's import takes a second.
    """

    def __init__(
        self, folder: Path, tell: Callable[[str], None], tell_group: Callable[[str], None] = lambda _: None
    ) -> None:
        self.folder, self.tell, self.tell_group = folder, tell, tell_group
        self.why = ""  # it was given up
        self._calls: queue.Queue[bytes | None] = queue.Queue(CALLS)
        self._process: subprocess.Popen[bytes] | None = None
        self._writing: threading.Thread | None = None
        self._listening: threading.Thread | None = None
        self._changed = threading.Condition()
        self._written: set[str] = set()
        self._called = time.monotonic()  # when the last call came
        self._closed = False  # no more calls are taken
        self._left = False  # the process is killed, now or as soon as it is there

    def start(self) -> None:
        if self._writing is None:
            self._writing = threading.Thread(target=self._write, name="wandb-calls", daemon=True)
            self._writing.start()

    def send(self, run: str, **call: Any) -> None:
        """Queue a call of `wandb_process` for a run, by its W&B id. Returns at once and raises nothing."""
        if self.why or self._closed:
            return
        self.start()
        self._called = time.monotonic()
        try:
            self._calls.put_nowait(_line(run=run, **call))
        except queue.Full:
            self.give_up(f"it left {CALLS} calls waiting")
        except Exception as error:  # W&B is a view: whatever goes wrong in it stays in it
            self.give_up(f"{type(error).__name__}: {error}")

    def wait_written(self, run: str, seconds: float) -> bool:
        """Until W&B has the whole of a finished run; False: it was given up, `seconds` later at the latest."""
        with self._changed:
            self._changed.wait_for(lambda: self.why or run in self._written, seconds)
            written = run in self._written
        if not written:
            self.give_up(f"a run was not taken within {seconds:.0f} s")
        return written

    def close(self, seconds: float = END_SECONDS) -> bool:
        """Let W&B catch up, and end its process, whatever W&B does, `seconds` after the last call.

        False: it has not got everything. Idempotent.
        """
        deadline = max(self._called + seconds, time.monotonic() + min(seconds, EXIT_SECONDS))
        self._closed = True
        if self._writing is None:
            return not self.why
        try:
            if not self.why and not self._ended(deadline):
                self.give_up(f"it was not done {seconds:.0f} s after the last run")
        finally:
            self._left = True
            if self._process is not None:
                kill(self._process)
        return not self.why

    def give_up(self, why: str) -> None:
        with self._changed:
            first, self.why = not self.why, self.why or why
            self._changed.notify_all()
        if first:
            self.tell(self.why)

    def _ended(self, deadline: float) -> bool:
        """Whether the process ended by itself, with everything written."""
        assert self._writing is not None
        with contextlib.suppress(queue.Full, subprocess.TimeoutExpired):
            self._calls.put(None, timeout=max(deadline - time.monotonic(), 0))
            self._writing.join(max(deadline - time.monotonic(), 0))
            if self._process is not None and self._listening is not None and not self._writing.is_alive():
                status = self._process.wait(max(deadline - time.monotonic(), 0))
                self._listening.join(KILL_SECONDS)  # to its last word
                return status == 0
        return False

    def _write(self) -> None:
        """The thread that starts the process and passes calls on; a pipe takes only so many at once."""
        try:
            self._process = process = self._started()
            if self._left:
                kill(process)
            assert process.stdin and process.stdout
            self._listening = threading.Thread(target=self._listen, args=(process.stdout,), daemon=True)
            self._listening.start()
            with process.stdin as calls:
                for line in iter(self._calls.get, None):
                    _write_all(calls.fileno(), line)
                _write_all(calls.fileno(), _line(end=True))
        except BrokenPipeError:
            pass  # the other thread says why
        except Exception as error:
            self.give_up(f"{type(error).__name__}: {error}")

    def _listen(self, answers: IO[bytes]) -> None:
        with answers:
            for line in answers:
                answer = json.loads(line)
                if "failed" in answer:
                    self.give_up(answer["failed"])
                elif "group" in answer:
                    self.tell_group(answer["group"])
                else:
                    with self._changed:
                        self._written.add(answer["written"])
                        self._changed.notify_all()
        assert self._process
        if (status := self._process.wait()) != 0:
            self.give_up(f"its process ended with status {status}; its log is {self._log}")

    def _started(self) -> subprocess.Popen[bytes]:
        # Not a service of somebody else's: it could not be ended. The child must find this package.
        environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
        environment.setdefault("WANDB_ERROR_REPORTING", "false")  # W&B's own reports to Sentry
        # Artifacts wait there for their upload: beside the runs' files, not in the user's home.
        environment.setdefault("WANDB_DATA_DIR", str(self.folder.resolve() / "wandb" / "data"))
        path = [str(Path(harness.__file__).parents[1]), environment.get("PYTHONPATH", "")]
        with contextlib.ExitStack() as stack:
            errors: IO[bytes] | int = subprocess.DEVNULL
            with contextlib.suppress(OSError):  # a folder that cannot be written: W&B may still be online
                self._log.parent.mkdir(exist_ok=True)
                errors = stack.enter_context(self._log.open("ab"))
            return subprocess.Popen(
                [sys.executable, "-m", "harness.tracking.wandb_process", str(os.getpid())],
                env=environment | {"PYTHONPATH": os.pathsep.join(filter(None, path))},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                start_new_session=True,  # Ctrl-C reaches us alone: what is left is still written
            )

    @property
    def _log(self) -> Path:
        return self.folder / "logs" / "wandb.log"


def kill(process: subprocess.Popen[bytes]) -> None:
    """The process, if it lives, and all below it: wandb-core is in a session of its own."""
    if process.poll() is not None:
        return  # its number may be another's by now
    with contextlib.suppress(psutil.NoSuchProcess, subprocess.TimeoutExpired):
        top = psutil.Process(process.pid)
        top.suspend()  # it starts no other
        for each in (*top.children(recursive=True), top):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait(KILL_SECONDS)


def _write_all(pipe: int, line: bytes) -> None:
    # Unbuffered: a buffer that a hanging thread holds would break the interpreter's own end.
    while line:
        line = line[os.write(pipe, line) :]


def _line(**call: Any) -> bytes:
    return json.dumps(call).encode() + b"\n"
