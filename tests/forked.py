"""`python -m harness` without the seconds that its libraries take to load: a process that has loaded them is forked.

One server for the whole test run (conftest.py starts it) waits in a clean, single-threaded process; it loads the
libraries, and no module of the harness, when the first command is asked for. Each command is a fork of it that leads
the life of `python -m harness ARGUMENTS`: its own environment, folder, umask and files, the modules of the harness
loaded anew. What such a command starts (trainer, players, engines) is started as ever.

For commands that plan or refuse. Sweeps that train start a process of their own: in one that was forked the trainer
ended by itself twice, and nobody knows why.

Not the same as in a fresh process: the command line that `ps` shows, the hash seed (one for all), whatever a library
reads or prints when it is loaded, and the ending: exit functions run and outputs are flushed, but nothing is torn down.
So `start` refuses another LITELLM_, OMP_, ... than the server's, and where the start or the ending itself is the
subject (help, encodings, imports, exit codes) a test starts a process of its own.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

LIBRARIES = (
    *("art", "art.backend", "art.dev", "art.loss", "art.local.backend", "art.preprocessing.pack"),
    *("art.preprocessing.tokenize", "art.utils.litellm", "art.utils.output_dirs", "hydra", "hydra.main", "litellm"),
    *("litellm.responses.mcp.chat_completions_handler", "matplotlib.backends.backend_agg"),
    *("matplotlib.backends.backend_svg", "matplotlib.figure", "peft", "psutil", "pyarrow", "rich.live", "scipy.stats"),
    *("tau2.environment.environment", "tau2.evaluator.evaluator_action", "tau2.evaluator.evaluator_communicate"),
    *("transformers", "transformers.models.auto", "transformers.models.auto.tokenization_auto"),
)
# What libraries read when they are loaded, and Python when it starts
READ_AT_START = ("HF_", "LITELLM_", "MKL_", "OMP_", "OPENBLAS_", "PYTHON", "TORCH_", "TRANSFORMERS_")
ADDRESS = "HARNESS_TESTS_FORKED"  # the environment variable that names the server's socket
PIPE = subprocess.PIPE


class Process:
    """A command that was started, as subprocess.Popen shows one; its output is text."""

    def __init__(
        self, arguments: Sequence[str], answers: socket.socket, stdout: int | None, stderr: int | None
    ) -> None:
        self.args, self.returncode = arguments, None
        self._answers = answers
        self.stdout, self.stderr = map(_text, (stdout, stderr))
        self._said = answers.makefile("r")
        self.pid = int(self._said.readline())
        self._waiting = threading.Lock()

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        if self._ended(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return self.returncode

    def _ended(self, timeout: float | None) -> int | None:
        with self._waiting:
            if self.returncode is None and select.select([self._answers], [], [], timeout)[0]:
                self.returncode = int(self._said.readline())
                self._said.close()
                self._answers.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        for file in filter(None, (self.stdout, self.stderr)):
            file.close()
        self.wait()

    def communicate(self, timeout: float | None = None) -> tuple[str | None, str | None]:
        """What it wrote, once it has ended and nobody holds its output any more."""
        read: dict[str, str] = {}
        readers = [
            threading.Thread(target=lambda name=name, file=file: read.update({name: file.read()}), daemon=True)
            for name, file in (("stdout", self.stdout), ("stderr", self.stderr))
            if file
        ]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join(timeout)
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        for file in filter(None, (self.stdout, self.stderr)):
            file.close()
        return read.get("stdout"), read.get("stderr")


def start(
    *arguments: str,
    stdout: int | None = PIPE,
    stderr: int | None = PIPE,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    umask: int = -1,
) -> Process:
    """`python -m harness ARGUMENTS`, started. stdout, stderr: as Popen takes them. Its standard input is empty."""
    ours = dict(os.environ if env is None else env)
    of_server = json.loads(os.environ[f"{ADDRESS}_ENV"])
    other = {name for name in {*ours, *of_server} if name.startswith(READ_AT_START) and name != "PYTHONPATH"}
    if differs := sorted(name for name in other if ours.get(name) != of_server.get(name)):
        raise ValueError(f"{', '.join(differs)}: read when a library is loaded; start a process of its own")
    asked = {"arguments": arguments, "env": ours, "cwd": str(cwd or os.getcwd()), "umask": umask}
    out, out_end = os.pipe() if stdout == PIPE else (None, _opened(stdout, 1))
    if stderr == subprocess.STDOUT:
        error, error_end = None, os.dup(out_end)
    else:
        error, error_end = os.pipe() if stderr == PIPE else (None, _opened(stderr, 2))
    answers = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    answers.connect(os.environ[ADDRESS])
    raw = json.dumps(asked).encode()
    socket.send_fds(answers, [len(raw).to_bytes(8, "big")], [out_end, error_end])
    answers.sendall(raw)
    os.close(out_end)
    os.close(error_end)
    return Process(["python", "-m", "harness", *arguments], answers, out, error)


def run(*arguments: str, timeout: float | None = None, **options: Any) -> "subprocess.CompletedProcess[str]":
    """`start`, waited for; killed if it takes longer."""
    process = start(*arguments, **options)
    try:
        out, error = process.communicate(timeout)
    except BaseException:
        process.kill()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, error)


def _text(end: int | None) -> TextIO | None:
    return None if end is None else os.fdopen(end, encoding="utf-8")


def _opened(file: int | None, own: int) -> int:
    return os.open(os.devnull, os.O_WRONLY) if file == subprocess.DEVNULL else os.dup(own if file is None else file)


def serve_tests() -> "tuple[subprocess.Popen[bytes], Path]":
    """The server's process, which ends with its standard input, and its folder; the environment names it."""
    folder = Path(tempfile.mkdtemp(prefix="harness-tests-"))
    os.environ[ADDRESS] = str(folder / "socket")
    os.environ[f"{ADDRESS}_ENV"] = json.dumps({k: v for k, v in os.environ.items() if k.startswith(READ_AT_START)})
    with socket.socket(socket.AF_UNIX) as listening, (folder / "log").open("wb") as log:
        listening.bind(os.environ[ADDRESS])
        listening.listen(64)
        process = subprocess.Popen(
            [sys.executable, __file__, str(listening.fileno())],
            pass_fds=[listening.fileno()],
            stdin=PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
    return process, folder


def end(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    """Ends the server; commands that still run go on."""
    assert process.stdin
    process.stdin.close()
    process.wait()
    shutil.rmtree(folder)
    for name in (ADDRESS, f"{ADDRESS}_ENV"):
        del os.environ[name]


def _serve(listening: socket.socket) -> dict[str, Any]:
    """Returns in each process that is forked, with what was asked for; ends with the input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C; the end of the input follows
    ready, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    open_: dict[int, socket.socket] = {}
    while True:
        readable, _, _ = select.select([0, listening, ready], [], [])
        if 0 in readable:
            os._exit(0)
        if ready in readable:
            os.read(ready, 512)
            while open_ and (ended := os.waitpid(-1, os.WNOHANG))[0]:
                with open_.pop(ended[0]) as asker:
                    asker.sendall(f"{os.waitstatus_to_exitcode(ended[1])}\n".encode())
        if listening in readable:
            asker, _ = listening.accept()
            length, files, *_ = socket.recv_fds(asker, 8, 2)
            asked = json.loads(asker.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL))
            _load()
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGINT, signal.SIGCHLD):
                    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
                for end, own in ((os.open(os.devnull, os.O_RDONLY), 0), (files[0], 1), (files[1], 2)):
                    os.dup2(end, own)
                    os.close(end)
                for held in (ready, wake, *(each.detach() for each in (listening, asker, *open_.values()))):
                    os.close(held)
                return asked
            for file in files:
                os.close(file)
            open_[pid] = asker
            asker.sendall(f"{pid}\n".encode())


def _load() -> None:
    if "litellm" not in sys.modules:
        gc.disable()
        for name in LIBRARIES:
            importlib.import_module(name)
        assert not [name for name in sys.modules if name.partition(".")[0] == "harness"]
        assert threading.active_count() == 1  # those of BLAS and of an allocator know of forks
        gc.freeze()
        gc.enable()


def _become(asked: dict[str, Any]) -> None:
    """What the interpreter does before it runs `-m harness`."""
    before = os.environ.get("PYTHONPATH", "")
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    if asked["umask"] >= 0:
        os.umask(asked["umask"])
    places = [path for path in before.split(os.pathsep) if path]
    rest = [path for path in sys.path if path not in places]
    sys.path[:] = [os.getcwd(), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), *rest]
    sys.path_importer_cache.clear()
    sys.orig_argv = [sys.executable, "-m", "harness", *asked["arguments"]]
    sys.argv = ["-m", *asked["arguments"]]
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()


def _end(code: Any) -> NoReturn:
    """As the interpreter does, but for freeing a gigabyte of libraries piece by piece."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else code is not None)


if __name__ == "__main__":
    del sys.path[0]  # this folder
    with socket.socket(fileno=int(sys.argv[1])) as _listening:
        _asked = _serve(_listening)
    _become(_asked)
    try:
        runpy.run_module("harness", run_name="__main__", alter_sys=True)
    except SystemExit as _ending:
        _end(_ending.code)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        _end(1)
    _end(0)
