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
from concurrent.futures import ThreadPoolExecutor

if not (3, 11) <= sys.version_info[:2] <= (3, 12):  # before imports that an older Python cannot parse
    sys.exit(
        f"harness setup: this is Python {sys.version.split()[0]}; the locked packages need 3.11 or 3.12. "
        "Run it with one of those: python3.11 -m harness setup"
    )

from harness.machine.environments import TRAINER_IMPORTS, check_disk, ensure_server_env, make_env, progress, server_env
from harness.paths import CLONE, LOCKS, WHEEL
from harness.printed import printed

NEEDED_GIB = 6  # both environments, the policy and the downloads
GPU_NEEDED_GIB = 40
POLICY = "smollm2_135m_raw"
LOCK, GPU_LOCK = LOCKS / "requirements.lock", LOCKS / "requirements-gpu.lock"


def run(asked: Namespace) -> int:
    begun = time.monotonic()
    if WHEEL:
        made = _beside_the_wheel(asked.trainer_only, asked.gpu)
        text = f"The trainer's exact versions are in {LOCKS}."
    else:
        if not (CLONE / ".venv").exists():
            for folder in {CLONE, server_env(asked.gpu)}:
                check_disk(folder, GPU_NEEDED_GIB if asked.gpu else NEEDED_GIB)
        made = install(asked.trainer_only, asked.gpu)
        text = "Next: source .venv/bin/activate && harness --help"
    seconds = round(time.monotonic() - begun)
    print(printed({**made, "seconds": seconds}) if asked.json else f"Ready after {seconds} s. {text}")
    return 0


def _beside_the_wheel(trainer_only: bool, gpu: bool) -> dict[str, object]:
    """The trainer's environment is the one that holds the wheel."""
    server = None if trainer_only else str(ensure_server_env(None, gpu))
    return {"trainer": sys.executable, "server": server, "policy": None, "gpu": gpu, "locks": str(LOCKS)}


def install(trainer_only: bool, gpu: bool) -> dict[str, object]:
    """Both environments side by side: one waits for downloads while the other unpacks. What --json says of them."""
    if shutil.which("nvidia-smi") and not gpu:
        print("An NVIDIA GPU is here, and these environments are for CPUs: --gpu makes those for it.", file=sys.stderr)
    lock, home, server, policy = GPU_LOCK if gpu else LOCK, CLONE / ".venv", None, None
    with ThreadPoolExecutor(2) as pool:
        trainer = pool.submit(make_env, home, lock, progress("trainer"), TRAINER_IMPORTS, CLONE)
        serving = None if trainer_only else pool.submit(ensure_server_env, None, gpu)
        trainer.result()
        if serving:
            policy = fetch_policy()  # with the trainer's environment, while the server's is being made
            server = str(serving.result())
    trainers = str(home / "bin" / "python")
    return {"trainer": trainers, "server": server, "policy": policy, "gpu": gpu, "locks": str(LOCKS)}


def fetch_policy() -> str | None:
    """SmolLM2, 93 MB; its name. Without it the quick start still works, so a failure is said and not raised."""
    command = [str(CLONE / ".venv" / "bin" / "python"), "-m", "harness", "policy", "fetch", POLICY]
    if subprocess.run(command, cwd=CLONE, stdout=2).returncode == 0:  # stdout is for --json
        return POLICY
    print(
        "SmolLM2 is missing (the reason stands above): policy=smollm2_135m and the tests of it need it. "
        f"Everything else works. To try again: harness {' '.join(command[3:])}",
        file=sys.stderr,
    )
    return None
