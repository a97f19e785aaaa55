#!/usr/bin/env python3
"""Sets up what `python -m harness pack` collected, on a machine without a network.

    python3 FOLDER/unpack.py [--prefix /tmp/gpu-node/harness] [--env FILE]

Run it with the Python that has PyTorch (CPython 3.12). Nothing outside --prefix is written. Afterwards

    source PREFIX/harness-env.sh && cd "$HARNESS_HOME" && python3 -m harness --help

--env names a shell file that says where the trees of ART and vLLM are (TRAINER_PATH, SERVER_PATH); `env.sh` in the
folder around PREFIX is taken by itself. Standard library only.
"""

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent

ENV = """# source this before `python3 -m harness`; made by unpack.py
{source}
export HARNESS_HOME={prefix}/source
export PYTHONPATH={prefix}/site:"${{TRAINER_PATH:+$TRAINER_PATH:}}$HARNESS_HOME"
# the Python that starts vLLM; the harness adds its plugin to PYTHONPATH, which this program keeps
export HARNESS_VLLM_PYTHON="${{HARNESS_VLLM_PYTHON:-{prefix}/vllm-python}}"
export PATH={folder}:"$PATH"
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 LITELLM_LOCAL_MODEL_COST_MAP=True
export VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 TOKENIZERS_PARALLELISM=false
# images set it; without what was compiled before, each of the many processes compiles torch and the rest again
unset PYTHONDONTWRITEBYTECODE
"""

WRAPPER = """#!/bin/sh
# python3 with the server's tree before what PYTHONPATH holds (the harness puts its vLLM plugin there)
PYTHONPATH="${{SERVER_PATH:-}}${{PYTHONPATH:+:$PYTHONPATH}}" exec {python} "$@"
"""

# both run in the environment that was just made
IMPORTS = """
import importlib.util, sys
missing = [name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]
sys.exit("missing: " + ", ".join(missing) if missing else 0)
"""
STARTS = (
    "import harness.sweep.plan, harness.rollout, harness.validation, harness.backend.shared\n"
    "import litellm.responses.mcp.chat_completions_handler  # litellm's own import at the first request with tools"
)
SERVER = "import importlib.metadata as m; print('vllm', m.version('vllm'), 'transformers', m.version('transformers'))"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefix", type=Path, default=Path("/tmp/gpu-node/harness"))
    parser.add_argument("--env", type=Path, help="shell file to source first")
    parser.add_argument("--no-check", action="store_true", help="leave out the imports at the end (20 s)")
    chosen = parser.parse_args()
    begun = time.monotonic()
    manifest = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
    if "{}.{}".format(*sys.version_info) != manifest["python"]:
        sys.exit(f"This is Python {sys.version.split()[0]}; the packages are for {manifest['python']}. Use that one.")
    prefix = chosen.prefix.resolve()
    env = chosen.env or prefix.parent / "env.sh"
    if chosen.env and not env.is_file():
        sys.exit(f"--env {env} is no file.")
    for name, expected in manifest["files"].items():
        extract(name, expected, prefix / name.removesuffix(".tar.xz"))
    write_programs(prefix, env if env.is_file() else None)
    subprocess.run([sys.executable, "-m", "compileall", "-q", "-j", "0", str(prefix)], stdout=subprocess.DEVNULL)
    print(f"unpacked {manifest['commit'] or 'a source tree'} into {prefix} in {time.monotonic() - begun:.1f} s")
    if not chosen.no_check and not check(prefix, manifest["imports"]):
        return 1
    print(f'ready: source {prefix}/harness-env.sh && cd "$HARNESS_HOME" && python3 -m harness doctor')
    return 0


def extract(name: str, expected: str, target: Path) -> None:
    """Checks an archive's sum and replaces `target` by its content."""
    file = HERE / name
    if not file.is_file():
        sys.exit(f"{file} is missing: copy all files of the pack into one folder.")
    if hashlib.sha256(file.read_bytes()).hexdigest() != expected:
        sys.exit(f"{file}: its SHA-256 is not the manifest's, so it was damaged on the way. Copy it again.")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    with tarfile.open(file) as archive:
        if hasattr(tarfile, "data_filter"):  # Python 3.11.4 and later
            archive.extraction_filter = tarfile.data_filter
        members = archive.getmembers()
        for member in members:  # else their own modes would be set, whatever the umask is
            member.mode &= ~umask()
        archive.extractall(target, members)


def umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current


def write_programs(prefix: Path, env: Path | None) -> None:
    python = Path(sys.executable)
    text = ENV.format(
        source=f"source {shlex.quote(str(env))}" if env else "# no env.sh was found: python3 must have it all",
        prefix=shlex.quote(str(prefix)),
        folder=shlex.quote(str(python.parent)),
    )
    (prefix / "harness-env.sh").write_text(text, encoding="utf-8")
    wrapper = prefix / "vllm-python"
    wrapper.write_text(WRAPPER.format(python=shlex.quote(str(python))), encoding="utf-8")
    wrapper.chmod(0o755 & ~umask())


def check(prefix: Path, imports: list[str]) -> bool:
    """Whether everything can be imported; says what cannot."""
    tried = {
        "modules": run(prefix, ["python3", "-c", IMPORTS, *imports]),
        "harness": run(prefix, ["python3", "-c", STARTS]),
        "server": run(prefix, ["env", "-u", "PYTHONPATH", "$HARNESS_VLLM_PYTHON", "-c", SERVER]),
    }
    for name, process in tried.items():
        output = process.communicate()[0].strip().splitlines()
        print(f"  {name}: {'ok' if process.returncode == 0 else 'FAILED'} {output[-1] if output else ''}")
    return all(process.returncode == 0 for process in tried.values())


def run(prefix: Path, command: list[str]) -> "subprocess.Popen[str]":
    words = " ".join(f'"{word}"' if word.startswith("$") else shlex.quote(word) for word in command)
    script = f"source {shlex.quote(str(prefix / 'harness-env.sh'))} && exec {words}"
    return subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


if __name__ == "__main__":
    sys.exit(main())
