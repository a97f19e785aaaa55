"""Collects what a GPU machine without a network lacks: pinned packages, this source tree, the program that unpacks.

OUT/site.tar.xz     the packages of extras.lock, unpacked, without data that no run reads
OUT/source.tar.xz   harness/, conf/, experiments/, tests/ and the files beside them, as they are on disk
OUT/manifest.json   SHA-256 of both, the pins, the git state, the modules that the harness imports
OUT/unpack.py       sets it up there
"""

import ast
import fnmatch
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from harness.errors import ConfigError, SetupError
from harness.machine.environments import LOCKED, entries, read_pins
from harness.paths import CLONE, WHEEL

LOCK = Path(__file__).with_name("extras.lock")
UNPACK = Path(__file__).with_name("unpack.py")
PYTHON = "3.12"
SOURCES = (
    "harness",
    "conf",
    "experiments",
    "tests",
    "README.md",
    "pyproject.toml",
    "setup.py",
    "MANIFEST.in",
    "requirements.lock",
    "requirements-gpu.lock",
)
LEFT_OUT = ("*.pyc", "*/__pycache__/*", "*/.*")
# fetched as source, since the index has no wheel of it; pure Python
SOURCE_ONLY = ("antlr4-python3-runtime",)
UNREAD = (  # paths inside packages that no run reads
    "tau2/data/tau2/domains/telecom/*",  # 29 MB; the harness has no telecom environment
    "tau2/scripts/*",
    "tau2/gym/*",
    "litellm/proxy/_experimental/out/*",  # the proxy's web pages
    "litellm/proxy/swagger/*",
)
NOT_OURS = ("harness", "tests", "vllm", "harness_vllm")  # vllm is in the server's environment
# imported by one launcher or one command each, which says so itself
OPTIONAL = ("ray", "submitit", "wandb_workspaces")

Say = Callable[[str], None]


def pack(out: Path, say: Say) -> None:
    """Writes the four files. Raises ConfigError for a folder in use or packages that cannot be had."""
    if WHEEL:
        raise ConfigError("What is packed is a clone, and this harness was installed from a wheel. Run it in a clone.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is not an empty folder. Name another one, or empty it.")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        wheels, site = Path(scratch) / "wheels", Path(scratch) / "site"
        say(f"downloading {len(read_pins(LOCK))} packages for CPython {PYTHON} on x86-64")
        download(LOCK, wheels)
        for wheel in sorted(wheels.glob("*.whl")):
            unpack_wheel(wheel, site)
        say("compressing")
        archive(out / "site.tar.xz", site, files_of(site))
    archive(out / "source.tar.xz", CLONE, source_files(CLONE))
    shutil.copyfile(UNPACK, out / UNPACK.name)
    manifest = {
        "python": PYTHON,
        "pins": read_pins(LOCK),
        "imports": third_party(CLONE / "harness"),
        "commit": commit(CLONE),
        "files": {name: digest(out / name) for name in ("site.tar.xz", "source.tar.xz")},
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    say(f"{out}: {sum(file.stat().st_size for file in out.iterdir()) / 1e6:.1f} MB")


def platform_flags() -> list[str]:
    """What makes pip look for another machine's wheels. It matches the numbers of glibc exactly, so all are named."""
    flags = ["--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp"]
    for abi in ("cp" + PYTHON.replace(".", ""), "abi3", "none"):
        flags += ["--abi", abi]
    for name in (*(f"manylinux_2_{minor}" for minor in (*range(36, 23, -1), 17, 12, 5)), "manylinux2014", "linux"):
        flags += ["--platform", f"{name}_x86_64"]
    return flags


def download(lock: Path, into: Path) -> None:
    """One wheel per pin, each from a file with one of its hashes. Raises SetupError with pip's last lines."""
    pip = [sys.executable, "-m", "pip"]
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check"]
    named, into_it = entries(lock), str(into)
    into.mkdir(parents=True, exist_ok=True)
    built, ready = into / "built.lock", into / "ready.lock"
    built.write_text("\n".join(entry for entry in named if entry.split("==")[0] in SOURCE_ONLY))
    ready.write_text("\n".join(entry for entry in named if entry.split("==")[0] not in SOURCE_ONLY))
    _run([*pip, "download", *quiet, *platform_flags(), "-d", into_it, *LOCKED, str(ready)])
    # built with the setuptools that is here, not with one that pip would fetch unlocked
    local = ["--no-build-isolation", "--use-pep517"]
    _run([*pip, "wheel", *quiet, *local, "-w", into_it, *LOCKED, str(built)])
    wheels = list(into.glob("*.whl"))
    if len(wheels) != len(named):
        raise SetupError(f"{len(named)} packages were asked for and {len(wheels)} wheels came: {wheels}")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("WARNING")]
        raise SetupError(
            "pip could not get the packages:\n"
            + "\n".join(f"  | {line}" for line in errors[-8:])
            + "\nCheck the network and pip's index settings (`pip config list`), then run the same command again."
        )


def unpack_wheel(wheel: Path, site: Path) -> None:
    """A wheel's modules, without what UNREAD names. Scripts and headers stay out."""
    with zipfile.ZipFile(wheel) as content:
        for entry in content.infolist():
            name = entry.filename
            folder, _, rest = name.partition("/")
            if folder.endswith(".data"):
                kind, _, name = rest.partition("/")
                if kind not in ("purelib", "platlib"):
                    continue
            if not entry.is_dir() and not any(fnmatch.fnmatch(name, pattern) for pattern in UNREAD):
                target = site / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read(entry))


def source_files(root: Path) -> list[Path]:
    """What belongs to the harness: what git tracks or would track, or in a copy without git all but caches."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *SOURCES]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True) if (root / ".git").exists() else None
    if listed is not None and listed.returncode == 0:
        files = [root / name for name in listed.stdout.split("\0") if name]
    else:
        files = [
            file for name in SOURCES for file in ([root / name] if (root / name).is_file() else files_of(root / name))
        ]
    return sorted(file for file in set(files) if file.is_file())


def files_of(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and not any(fnmatch.fnmatch(str(file), pattern) for pattern in LEFT_OUT)
    )


def archive(target: Path, root: Path, files: Iterable[Path]) -> None:
    """The same bytes for the same content: neither owners nor times go in."""
    with tarfile.open(target, "w:xz", preset=6) as made:
        for file in files:
            made.add(file, arcname=str(file.relative_to(root)), filter=_plain)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def third_party(package: Path) -> list[str]:
    """The top-level modules that a package's files import and that are neither its own nor Python's."""
    found: set[str] = set()
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found.update(name.name.split(".")[0] for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return sorted(found - set(sys.stdlib_module_names) - {*NOT_OURS, *OPTIONAL})


def commit(root: Path) -> str | None:
    """The commit that the source tree is at, with + when files differ from it; None without git."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True)
        changed = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "") if head.returncode == 0 else None


def digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
