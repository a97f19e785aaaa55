"""Makes the two environments: `make_env` for any, `ensure_server_env` for the server's, which vLLM's pins keep apart.

Standard library only: `harness setup` runs it before anything is installed. An environment counts as made only once
its marker file is written, and one process makes it while others wait, so a half-made one is never used.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import ConfigError, SetupError

# torch for CPUs comes first and apart, since it is on another index
TORCH_LOCK = Path(__file__).with_name("torch-cpu.lock")
# where the +cpu builds live unless an index at hand has them
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
SERVER_LOCK = Path(__file__).with_name("server-requirements.lock")
GPU_SERVER_LOCK = Path(__file__).with_name("server-gpu-requirements.lock")
GPU_PYTHON = (3, 12)  # what the locks for a GPU were resolved for
NEEDED_GIB = 3  # per environment, with room for the downloads
GPU_NEEDED_GIB = 20
# what a run imports, the most of it
TRAINER_IMPORTS = (
    *("harness.launch.run", "harness.backend.shared", "harness.backend.art_local", "tau2.environment.environment"),
    *("wandb", "scipy.stats"),
    *("matplotlib.figure", "matplotlib.backends.backend_svg", "matplotlib.backends.backend_agg"),
)
SERVER_IMPORTS = ("vllm.entrypoints.openai.api_server", "vllm.v1.engine.core", "vllm.v1.worker.cpu_worker")
LOCKED = ("--no-deps", "--require-hashes", "-r")  # and a lock: nothing but its files, each with one of its hashes
MARKER = ".made-by-harness"  # holds the digest of what was installed; empty until all of it is

Say = Callable[[str], None]


def ensure_server_env(say: Say | None = None, gpu: bool = False) -> Path:
    """The python of the server's environment; makes the environment the first time (a minute or two; more for a GPU).

    HARNESS_VLLM_PYTHON names an interpreter that has vLLM already and is used as it is.
    Raises ConfigError when the interpreter does not exist, SetupError when the installation fails.
    """
    given = os.environ.get("HARNESS_VLLM_PYTHON")
    if given:
        if not os.access(given, os.X_OK):
            raise ConfigError(f"HARNESS_VLLM_PYTHON is {given}, which is no program. Correct it or unset it.")
        return Path(given)
    home = server_env(gpu)
    make_env(home, GPU_SERVER_LOCK if gpu else SERVER_LOCK, say or progress("server"), SERVER_IMPORTS)
    return home / "bin" / "python"


def server_env(gpu: bool = False) -> Path:
    """Where the server's environment lives; other pins or another Python mean another folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "ablation-harness" / f"server-{_digest(GPU_SERVER_LOCK if gpu else SERVER_LOCK)[:12]}"


def progress(what: str) -> Say:
    """Prints lines with the seconds since now."""
    begun = time.monotonic()
    return lambda text: print(f"[{what} {time.monotonic() - begun:5.1f} s] {text}", file=sys.stderr, flush=True)


def make_env(home: Path, lock: Path, say: Say, imports: Iterable[str] = (), editable: Path | None = None) -> None:
    """A virtual environment with torch and everything in `lock`; returns at once when it is there and complete.

    A lock that names a torch of its own is one for a GPU. `editable` is a source folder that is installed in place.
    imports: modules that are imported once, for their byte code.
    Raises SetupError naming pip's log, ConfigError for another Python than the lock's.
    """
    marker = home / MARKER
    gpu = any(pin.startswith("torch==") for pin in read_pins(lock))
    if gpu and sys.version_info[:2] != GPU_PYTHON:
        raise ConfigError(
            f"{lock.name} is for Python {GPU_PYTHON[0]}.{GPU_PYTHON[1]}; this is {sys.version.split()[0]}. "
            "Run the command with that one."
        )
    wanted = _digest(lock)
    if _is_complete(marker, wanted):
        return
    with _only_one(home, say):
        if _is_complete(marker, wanted):  # another process made it meanwhile
            return
        check_disk(home, GPU_NEEDED_GIB if gpu else NEEDED_GIB)
        say(f"making {home} ({len(read_pins(lock))} packages, once)")
        _clear(home, marker)
        _venv(home)
        python, log = home / "bin" / "python", home / "install.log"
        if not gpu:
            say(f"installing {read_pins(TORCH_LOCK)[0]}")
            _install_torch(python, log)
        say(f"installing {lock.name}")
        _install(python, log, lock)
        if editable is not None:
            _pip(python, log, "--no-deps", "--no-build-isolation", "-e", str(editable))
        write_bytecode(python, imports)
        marker.write_text(wanted)
        say("ready")


def check_disk(path: Path, gib: float = NEEDED_GIB) -> None:
    """Raises SetupError when the disk that holds `path` has fewer than `gib` GiB free."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    free = shutil.disk_usage(there).free / 2**30
    if free < gib:
        raise SetupError(
            f"{path} needs {gib:g} GiB of disk; {free:.1f} are free there. Make room"
            ", or move the cache with XDG_CACHE_HOME=/another/disk."
        )


def _clear(home: Path, marker: Path) -> None:
    """Empties what an earlier run left. Never a folder that somebody else made."""
    if home.is_symlink():
        raise ConfigError(f"{home} is a link, where a folder is made. Remove the link, run this again.")
    if home.exists() and not marker.exists():
        raise ConfigError(f"{home} exists and was not made by `harness setup`. Move it away, then run this again.")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    marker.touch()  # ours from here on, and not complete


def _venv(home: Path) -> None:
    made = subprocess.run([sys.executable, "-m", "venv", str(home)], capture_output=True, text=True)
    if made.returncode:
        raise SetupError(
            f"{sys.executable} could not make a virtual environment:\n{(made.stdout + made.stderr).strip()}\n"
            "Debian and Ubuntu need `apt-get install python3-venv` for it."
        )


def _install_torch(python: Path, log: Path) -> None:
    try:
        _pip(python, log, *LOCKED, str(TORCH_LOCK))
    except SetupError:
        if "No matching distribution" not in log.read_text(errors="replace"):
            raise
        _pip(python, log, "--index-url", TORCH_INDEX, *LOCKED, str(TORCH_LOCK))


def _install(python: Path, log: Path, lock: Path) -> None:
    """setuptools first: what an index has as source only is built with it, not with one that pip fetches unlocked."""
    first = log.with_name("setuptools.lock")
    first.write_text("\n".join(entry for entry in entries(lock) if entry.startswith("setuptools==")))
    _pip(python, log, *LOCKED, str(first))
    _pip(python, log, "--no-build-isolation", "--use-pep517", *LOCKED, str(lock))


def _pip(python: Path, log: Path, *args: str) -> None:
    # --no-compile: most of what is installed is never imported; write_bytecode compiles the rest
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-input", "--no-compile"]
    with log.open("a") as output:
        status = subprocess.call([*command, "--disable-pip-version-check", *args], stdout=output, stderr=output)
    if status:
        errors = [line for line in log.read_text(errors="replace").splitlines() if not line.startswith("WARNING")]
        raise SetupError(
            f"pip could not install {' '.join(args)}. Its log is {log}; the last lines:\n"
            + "\n".join(f"  | {line}" for line in errors[-8:])
            + "\nCheck the network and pip's index settings (`pip config list`), then run the same command again."
        )


def write_bytecode(python: Path, modules: Iterable[str]) -> None:
    """Import the modules once, so that no later process compiles them and what they import.

    Containers often set PYTHONDONTWRITEBYTECODE; then every process would compile torch and transformers again. A
    module that cannot be imported is skipped: whoever needs it gets the error.
    """
    program = (
        "import contextlib, importlib, sys\n"
        "for module in sys.argv[1:]:\n"
        "    with contextlib.suppress(Exception): importlib.import_module(module)\n"
    )
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [str(python), "-c", program, *modules]
    subprocess.run(command, env=env | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}, capture_output=True)


@contextmanager
def _only_one(home: Path, say: Say) -> Iterator[None]:
    """One process at a time for one environment. The lock goes with the process that holds it."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / f"{home.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is making {home}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_complete(marker: Path, wanted: str) -> bool:
    return marker.exists() and marker.read_text() == wanted


def _digest(lock: Path) -> str:
    version = "{}.{}".format(*sys.version_info)
    # without the hashes: another file of the same version makes no other environment
    return hashlib.sha256("\n".join([version, *read_pins(TORCH_LOCK), *read_pins(lock)]).encode()).hexdigest()


def read_pins(lock: Path) -> list[str]:
    """`name==version` of each package of a lock file, in its order."""
    return [entry.split(maxsplit=1)[0] for entry in entries(lock)]


def entries(lock: Path) -> list[str]:
    """Each package's line with its hashes, which stand on lines of their own, each but the last of them continued by a
    backslash."""
    text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
