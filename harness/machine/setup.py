"""Installs everything: `python3 -m harness setup`, from a fresh clone, with the system's Python 3.11 or 3.12.

Makes the trainer's environment in `.venv` and the server's in the user's cache. Run again, it checks and returns at
once; after a change of a lock file it makes that environment anew. `--gpu` makes both for an NVIDIA GPU, with Python
3.12. Standard library only.
"""

import argparse
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

if not (3, 11) <= sys.version_info[:2] <= (3, 12):  # before imports that an older Python cannot parse
    sys.exit(
        f"harness setup: this is Python {sys.version.split()[0]}; the locked packages need 3.11 or 3.12. "
        "Run it with one of those: python3.11 -m harness setup"
    )

from harness.errors import ConfigError
from harness.machine.environments import check_disk, ensure_server_env, make_env, progress, server_env

ROOT = Path(__file__).resolve().parents[2]
NEEDED_GIB = 6  # both environments and the downloads
GPU_NEEDED_GIB = 40
LOCK, GPU_LOCK = ROOT / "requirements.lock", ROOT / "requirements-gpu.lock"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m harness setup", description=__doc__.split("\n\n")[1])
    parser.add_argument("--trainer-only", action="store_true", help="leave out the server's environment")
    parser.add_argument(
        "--gpu", action="store_true", help="vLLM, torch and ART's own trainer for an NVIDIA GPU (30 GB)"
    )
    args = parser.parse_args(arguments)
    begun = time.monotonic()
    try:
        if not (ROOT / ".venv").exists():
            for folder in {ROOT, server_env(args.gpu)}:
                check_disk(folder, GPU_NEEDED_GIB if args.gpu else NEEDED_GIB)
        install(args.trainer_only, args.gpu)
    except ConfigError as error:
        print(f"harness setup: {error}", file=sys.stderr)
        return 1
    print(f"Ready after {time.monotonic() - begun:.0f} s. Next: source .venv/bin/activate && python -m harness --help")
    return 0


def install(trainer_only: bool, gpu: bool) -> None:
    """Both environments side by side: one waits for downloads while the other unpacks."""
    if shutil.which("nvidia-smi") and not gpu:
        print("An NVIDIA GPU is here, and these environments are for CPUs: --gpu makes those for it.", file=sys.stderr)
    with ThreadPoolExecutor(2) as pool:
        lock = GPU_LOCK if gpu else LOCK
        jobs = [pool.submit(make_env, ROOT / ".venv", lock, progress("trainer"), ROOT)]
        if not trainer_only:
            jobs.append(pool.submit(ensure_server_env, None, gpu))
        for job in jobs:
            job.result()
