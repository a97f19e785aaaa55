"""Installs everything: `python3 -m harness.setup`, from a fresh clone, with the system's Python 3.11 or 3.12.

Makes the trainer's environment in `.venv` and the server's in the user's cache. Run again, it checks and returns at
once; after a change of a lock file it makes that environment anew. Standard library only.
"""

import argparse
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

if not (3, 11) <= sys.version_info[:2] <= (3, 12):  # before imports that an older Python cannot parse
    sys.exit(
        f"harness.setup: this is Python {sys.version.split()[0]}; the locked packages need 3.11 or 3.12. "
        "Run it with one of those: python3.11 -m harness.setup"
    )

from harness.engine.install import check_disk, ensure_server_env, make_env, progress, server_env
from harness.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
NEEDED_GIB = 6  # both environments and the downloads


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m harness.setup", description=__doc__.split("\n\n")[1])
    parser.add_argument("--trainer-only", action="store_true", help="leave out the server's environment")
    args = parser.parse_args()
    begun = time.monotonic()
    try:
        if not (ROOT / ".venv").exists():
            for folder in {ROOT, server_env()}:
                check_disk(folder, NEEDED_GIB)
        install(trainer_only=args.trainer_only)
    except ConfigError as error:
        print(f"harness.setup: {error}", file=sys.stderr)
        return 1
    print(f"Ready after {time.monotonic() - begun:.0f} s. Next: source .venv/bin/activate && python -m harness --help")
    return 0


def install(trainer_only: bool) -> None:
    """Both environments side by side: one waits for downloads while the other unpacks."""
    if shutil.which("nvidia-smi") and not os.environ.get("HARNESS_VLLM_PYTHON"):
        print(
            "An NVIDIA GPU is here, and the server's environment is for CPUs. To serve on the GPU set "
            "HARNESS_VLLM_PYTHON to the python of an environment with vllm.",
            file=sys.stderr,
        )
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(make_env, ROOT / ".venv", ROOT / "requirements.lock", progress("trainer"), ROOT)]
        if not trainer_only:
            jobs.append(pool.submit(ensure_server_env))
        for job in jobs:
            job.result()


if __name__ == "__main__":
    sys.exit(main())
