"""Installs everything: `python3 -m harness setup`, from a fresh clone, with the system's Python 3.11 or 3.12.

Makes the trainer's environment in `.venv`, with all that the launchers and the tests need, and the server's in the
user's cache, and fetches the policy SmolLM2. Run again, it checks and returns at once; after a change of a lock file it
makes that environment anew. `--gpu` makes both for an NVIDIA GPU, with Python 3.12. Standard library only.
"""

import shutil
import subprocess
import sys
import time
from argparse import Namespace
from concurrent.futures import Future, ThreadPoolExecutor

if not (3, 11) <= sys.version_info[:2] <= (3, 12):  # before imports that an older Python cannot parse
    sys.exit(
        f"harness setup: this is Python {sys.version.split()[0]}; the locked packages need 3.11 or 3.12. "
        "Run it with one of those: python3.11 -m harness setup"
    )

from harness.machine.environments import TRAINER_IMPORTS, check_disk, ensure_server_env, make_env, progress, server_env
from harness.paths import CLONE, LOCKS, WHEEL

NEEDED_GIB = 6  # both environments, the policy and the downloads
GPU_NEEDED_GIB = 40
LOCK, GPU_LOCK = LOCKS / "requirements.lock", LOCKS / "requirements-gpu.lock"


def run(asked: Namespace) -> int:
    begun = time.monotonic()
    if WHEEL:
        if not asked.trainer_only:  # the trainer's environment is the one that holds the wheel
            ensure_server_env(None, asked.gpu)
        print(f"Ready after {time.monotonic() - begun:.0f} s. The trainer's exact versions are in {LOCKS}.")
        return 0
    if not (CLONE / ".venv").exists():
        for folder in {CLONE, server_env(asked.gpu)}:
            check_disk(folder, GPU_NEEDED_GIB if asked.gpu else NEEDED_GIB)
    install(asked.trainer_only, asked.gpu)
    print(f"Ready after {time.monotonic() - begun:.0f} s. Next: source .venv/bin/activate && harness --help")
    return 0


def install(trainer_only: bool, gpu: bool) -> None:
    """Both environments side by side: one waits for downloads while the other unpacks."""
    if shutil.which("nvidia-smi") and not gpu:
        print("An NVIDIA GPU is here, and these environments are for CPUs: --gpu makes those for it.", file=sys.stderr)
    lock = GPU_LOCK if gpu else LOCK
    with ThreadPoolExecutor(2) as pool:
        home, say = CLONE / ".venv", progress("trainer")
        jobs: list[Future[object]] = [pool.submit(make_env, home, lock, say, TRAINER_IMPORTS, CLONE)]
        if not trainer_only:
            jobs.append(pool.submit(ensure_server_env, None, gpu))
        jobs[0].result()
        if not trainer_only:
            fetch_policy()  # with the trainer's environment, while the server's is being made
        for job in jobs:
            job.result()


def fetch_policy() -> None:
    """SmolLM2, 93 MB. Without it the quick start still works, so a failure is said and not raised."""
    command = [str(CLONE / ".venv" / "bin" / "python"), "-m", "harness", "policy", "fetch", "smollm2_135m_raw"]
    if subprocess.run(command, cwd=CLONE).returncode:
        print(
            "SmolLM2 is missing (the reason stands above): policy=smollm2_135m and the tests of it need it. "
            f"Everything else works. To try again: harness {' '.join(command[3:])}",
            file=sys.stderr,
        )
