"""Writes the hashes of all files that set-up may install into lock files, from the package index. Needs `uv`.

    python -m experiments.lock_hashes requirements.lock harness/machine/server-requirements.lock
    python -m experiments.lock_hashes --python 3.12 requirements-gpu.lock harness/machine/server-gpu-requirements.lock

After a pin was changed. Wheels for Linux on x86-64 and aarch64 and the Pythons that are named, and the source where one
of these has no wheel. torch's builds for CPUs are on another index, which `uv` is told with --index.
"""

import argparse
import re
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.machine.environments import read_pins

MACHINES = ("x86_64", "aarch64")


def fits(wheel: str, python: str, machine: str) -> bool:
    """Whether CPython `python` (3.11) on Linux with glibc could install a wheel, by its file's name."""
    pythons, abis, platforms = wheel.removesuffix(".whl").split("-")[-3:]
    number = int(python.replace(".", ""))
    numbers = [int(tag.removeprefix("cp")) for tag in pythons.split(".") if re.fullmatch(r"cp3\d+", tag)]
    runs = "py3" in pythons.split(".") or number in numbers or ("abi3" in abis and any(n <= number for n in numbers))
    linux = any(re.fullmatch(rf"(many)?linux.*_{machine}", platform) for platform in platforms.split("."))
    return runs and (linux or platforms == "any")


def hashes(package: dict[str, Any], pythons: list[str]) -> Iterator[str]:
    """pylock's hashes of what may be installed of a package."""
    wanted = [(python, machine) for python in pythons for machine in MACHINES]
    wheels = {each.get("name") or each["url"].rsplit("/", 1)[1]: each for each in package.get("wheels", [])}
    chosen = {name for name in wheels if any(fits(name, *each) for each in wanted)}
    yield from (wheels[name]["hashes"]["sha256"] for name in chosen)
    if not all(any(fits(name, *each) for name in wheels) for each in wanted) and "sdist" in package:
        yield package["sdist"]["hashes"]["sha256"]


def locked(lock: Path, pythons: list[str], options: list[str]) -> str:
    """The lock file's text with the hashes of now; comments stay on top."""
    comments = [line for line in lock.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    with tempfile.TemporaryDirectory() as scratch:
        pins, found = Path(scratch, "pins.txt"), Path(scratch, "pylock.toml")
        pins.write_text("\n".join(read_pins(lock)))
        command = ["uv", "pip", "compile", "--quiet", "--no-deps", "--universal", "--python-version", pythons[0]]
        subprocess.run([*command, *options, "--format", "pylock.toml", "-o", str(found), str(pins)], check=True)
        packages = tomllib.loads(found.read_text(encoding="utf-8"))["packages"]
    by_pin = {f"{package['name']}=={package['version']}": package for package in packages}
    lines = []
    for pin in read_pins(lock):
        own = (f"    --hash=sha256:{value}" for value in sorted(set(hashes(by_pin[pin], pythons))))
        lines.append(" \\\n".join([pin, *own]))
    return "\n".join([*comments, *lines]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("locks", type=Path, nargs="+")
    parser.add_argument("--python", action="append", help="a Python; 3.11 and 3.12 if none is named")
    parser.add_argument("--index", help="an index to look at before the usual one")
    asked = parser.parse_args()
    for lock in asked.locks:
        text = locked(lock, asked.python or ["3.11", "3.12"], ["--index", asked.index] if asked.index else [])
        lock.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
