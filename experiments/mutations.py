"""Would a test notice? Mutants of the centre and the fixes, against their unit tests alone.

    .venv/bin/python experiments/mutations.py [--draw 300] [--seed 42] [--jobs 2] [--out results/mutations.md]

Draws mutants of cosmic-ray's default operators and runs the unit tests of the centre on each. It needs
`pip install cosmic-ray==8.7.0`, best in an environment of its own that also has what the harness needs.

A mutant costs about a second: the program imports the libraries once, works on a copy of the tree, and a forked process
imports our modules anew, the mutated one from memory. A result is kept under the digest of the mutant, the harness and
the tests (--records), so that a run that was stopped goes on. Survivors that were looked at are explained in
mutations.yaml.
"""

import argparse
import difflib
import hashlib
import importlib
import importlib.util
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest
import yaml
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.provider import OperatorProvider

ROOT = Path(__file__).resolve().parents[1]
# The loop, the rollouts and validations that it asks for, and whether each switch took effect: `harness/__init__.py`
CENTRE = (
    "loop.py",
    "batches.py",
    "rollout.py",
    "episode.py",
    "validation.py",
    "evidence.py",
    "scoring.py",
    "answering.py",
    "validity.py",
)
# tests of each mutated file; all others of the table run after these
TESTS = {**{name: f"tests/test_{name}" for name in CENTRE}, "fixes": "tests/fixes"}
CPU_SECONDS, WALL_SECONDS = 15, 180  # of one mutant; most take one second
MEMORY = 2 * 2**30  # bytes, beyond what the libraries take
KILLED = ("test", "import", "endless")


@dataclass(frozen=True)
class Mutant:
    """The n-th place (occurrence) of a file at which an operator acts; code: the file with the mutation."""

    file: str
    operator: str
    occurrence: int
    original: str
    code: str

    @property
    def module(self) -> str:
        return self.file.removesuffix(".py").replace("/", ".")

    @property
    def diff(self) -> list[str]:
        """The changed lines, without context."""
        lines = difflib.unified_diff(self.original.splitlines(), self.code.splitlines(), n=0, lineterm="")
        return [line for line in lines if not line.startswith(("---", "+++", "@@"))]

    @property
    def line(self) -> int:
        pairs = zip(self.original.splitlines(), self.code.splitlines(), strict=False)
        return next((n for n, (before, after) in enumerate(pairs, 1) if before != after), 0)


def targets(root: Path) -> list[str]:
    fixes = sorted(path.name for path in (root / "harness" / "fixes").glob("*.py"))
    return [*(f"harness/{name}" for name in CENTRE), *(f"harness/fixes/{name}" for name in fixes)]


def places(root: Path) -> list[tuple[str, str, int]]:
    """(file, operator, occurrence) of every mutant that the default operators make."""
    out = []
    operators = {name: OperatorProvider()[name] for name in OperatorProvider()}
    for file in targets(root):
        nodes = list(ast_nodes(get_ast((root / file).read_text())))
        for name, operator in operators.items():
            if operator.arguments():  # two operators do nothing unless they are told of variables
                continue
            count = sum(1 for node in nodes for _ in operator().mutation_positions(node))
            out += [(file, name, n) for n in range(count)]
    return out


def mutant(root: Path, file: str, operator: str, occurrence: int) -> Mutant:
    original = (root / file).read_text()
    code = mutate_code(original, OperatorProvider()[operator](), occurrence)
    assert code is not None and code != original
    return Mutant(file, operator, occurrence, original, code)


class Mutation(SourceFileLoader):
    """Loads a module from the mutant's code."""

    def __init__(self, name: str, path: str, code: str) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> Any:
        return compile(self._code, self.path, "exec", dont_inherit=True)


class Finder:
    def __init__(self, changed: Mutant) -> None:
        self.changed = changed

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != self.changed.module:
            return None
        file = str(Path.cwd() / self.changed.file)
        return importlib.util.spec_from_file_location(name, file, loader=Mutation(name, file, self.changed.code))


class FirstFailure:
    """A pytest plugin that keeps what failed first."""

    def __init__(self) -> None:
        self.failed: dict[str, str] | None = None

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and self.failed is None:
            self.failed = {"outcome": "import", "by": report.nodeid}

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and self.failed is None:
            self.failed = {"outcome": "test", "by": report.nodeid}


def tests_of(changed: Mutant | None) -> list[str]:
    """The unit tests of the centre, those of the mutated file first."""
    own = [tests for part, tests in TESTS.items() if changed and changed.file.startswith(f"harness/{part}")][:1]
    return [*own, *(tests for tests in TESTS.values() if tests not in own)]


def start(changed: Mutant | None, result: Path) -> int:
    """The id of a process of its own in which the tests run."""
    if pid := os.fork():
        return pid
    try:
        run_tests(changed, result)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0)


def run_tests(changed: Mutant | None, result: Path) -> None:
    """The unit tests of the centre, and what became of them as JSON."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    with open(result.with_suffix(".log"), "wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    for name in [n for n in sys.modules if n.split(".")[0] in ("harness", "tests")]:
        del sys.modules[name]
    if changed:
        sys.meta_path.insert(0, Finder(changed))
    seen = FirstFailure()
    # -n0: a process that xdist starts would load the module from its file, without the mutation
    options = ["-n0", "-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    code = pytest.main([*options, *tests_of(changed)], plugins=[seen])
    found = seen.failed or {"outcome": "survived" if code == 0 else "import", "by": ""}
    result.write_text(json.dumps(found))


def examine(mutants: Iterable[Mutant], jobs: int, folder: Path) -> Iterator[tuple[Mutant, dict[str, Any]]]:
    """Each mutant with what became of it, as they end; `jobs` at once."""
    left, busy = iter(mutants), dict[int, tuple[Mutant, Path, float]]()
    number = 0
    while True:
        while len(busy) < jobs and (changed := next(left, None)):
            number += 1
            result = folder / f"{number}.json"
            busy[start(changed, result)] = changed, result, time.monotonic()
        if not busy:
            return
        pid, _ = os.waitpid(-1, os.WNOHANG)
        if not pid:
            time.sleep(0.02)
            for late in [p for p, (*_, begun) in busy.items() if time.monotonic() - begun > WALL_SECONDS]:
                os.kill(late, signal.SIGKILL)
            continue
        changed, result, begun = busy.pop(pid)
        yield changed, read(result) | {"seconds": round(time.monotonic() - begun, 2)}


def read(result: Path) -> dict[str, Any]:
    """What became of a mutant; a process that was ended by its limits left nothing."""
    return json.loads(result.read_text()) if result.exists() else {"outcome": "endless", "by": ""}


def digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]


def digest_of_tree(root: Path) -> str:
    """Of all that a mutant's tests depend on."""
    tests = [root / name for name in ("tests/conftest.py", "tests/fakes.py", *TESTS.values())]
    of_tests = [file for path in tests for file in (path.glob("*.py") if path.is_dir() else [path])]
    files = sorted([*root.glob("harness/**/*.py"), *of_tests])
    return digest(*(part for file in files for part in (file.relative_to(root), file.read_text())))


def copied(root: Path, folder: Path) -> Path:
    """A copy of what the tests need; edits beside a run change nothing in it."""
    out = folder / "tree"
    for name in ("harness", "tests", "conf"):
        shutil.copytree(root / name, out / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", out)
    return out


def load_libraries() -> None:
    """What the tests import, once for all mutants."""
    libraries = ("hydra", "hypothesis", "numpy", "pandas", "pyarrow", "scipy.stats")
    for name in (*libraries, "harness.loop", "harness.config", "harness.env.mock", "harness.records.run_records"):
        importlib.import_module(name)


def report(rows: Sequence[dict[str, Any]], everything: int, seed: int, notes: dict[str, str]) -> str:
    """Markdown: how many were killed, and each survivor with its diff and what it means."""
    counts = Counter(row["outcome"] for row in rows)
    killed = sum(counts[outcome] for outcome in KILLED)
    ran = len(rows) - counts["import"]
    by_file = {file: [r for r in rows if r["file"] == file] for file in sorted({r["file"] for r in rows})}
    lines = [
        "# Would a test notice?",
        "",
        f"{len(rows)} of the {everything} mutants that cosmic-ray 8.7's default operators make of the centre, drawn "
        f"with seed {seed}; only its unit tests ran (`experiments/mutations.py`).",
        "",
        f"**{killed} of {len(rows)} killed ({killed / len(rows):.1%})**: {counts['test']} failed a test, "
        f"{counts['import']} could not be imported, {counts['endless']} never ended. {counts['survived']} survived. "
        f"Of those that could be imported, {(ran - counts['survived']) / ran:.1%} were killed.",
        "",
        "| file | drawn | killed | survived |",
        "|---|---|---|---|",
    ]
    for file, own in by_file.items():
        alive = sum(r["outcome"] == "survived" for r in own)
        lines.append(f"| `{file}` | {len(own)} | {len(own) - alive} | {alive} |")
    lines += ["", "## Survivors", ""]
    for row in sorted((r for r in rows if r["outcome"] == "survived"), key=lambda r: (r["file"], r["line"])):
        note = notes.get(key(row), "not looked at yet")
        lines += [
            f"**`{row['file']}:{row['line']}`** {row['operator']}: {note}",
            "",
            "```diff",
            *row["diff"],
            "```",
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def key(row: dict[str, Any]) -> str:
    """How mutations.yaml names a mutant: by what it makes of its line, not by the line's number."""
    return f"{row['file']}: {' '.join(line[1:].strip() for line in row['diff'] if line.startswith('+'))}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", type=int, default=300, help="mutants; 0: all")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "mutations.md")
    parser.add_argument("--records", type=Path, default=Path(tempfile.gettempdir()) / "mutations.jsonl")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        args.out.write_text(examined(args, Path(folder)))
    print(args.out)


def examined(args: argparse.Namespace, folder: Path) -> str:
    """The report on the mutants that were asked for; those in the records are not run again."""
    tree = copied(ROOT, folder)
    os.chdir(tree)
    sys.path.insert(0, str(tree))
    os.environ |= {"HF_HUB_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "TQDM_DISABLE": "1"}
    every = places(tree)
    drawn = random.Random(args.seed).sample(every, args.draw) if 0 < args.draw < len(every) else every
    known = (
        {r["digest"]: r for r in map(json.loads, args.records.read_text().splitlines())}
        if args.records.exists()
        else {}
    )
    of_tree = digest_of_tree(tree)
    mutants = {digest(of_tree, *place): mutant(tree, *place) for place in drawn}
    open_ = {m: d for d, m in mutants.items() if d not in known}
    print(f"{len(every)} mutants, {len(drawn)} drawn, {len(open_)} to do", flush=True)
    if open_:
        load_libraries()
        require_green(folder)
    with open(args.records, "a") as file:
        for number, (changed, found) in enumerate(examine(open_, args.jobs, folder), 1):
            row = {
                "digest": open_[changed],
                "file": changed.file,
                "line": changed.line,
                "operator": changed.operator,
                "diff": changed.diff,
            } | found
            known[row["digest"]] = row
            file.write(json.dumps(row) + "\n")
            file.flush()
            if row["outcome"] == "survived" or number % 25 == 0:
                print(
                    f"{number}/{len(open_)} {row['outcome']} {row['file']}:{row['line']} {row['operator']}", flush=True
                )
    notes = yaml.safe_load((ROOT / "experiments" / "mutations.yaml").read_text()) or {}
    return report([known[d] for d in mutants], len(every), args.seed, notes)


def require_green(folder: Path) -> None:
    """Ends the program unless the tests pass without a mutation."""
    result = folder / "unchanged.json"
    os.waitpid(start(None, result), 0)
    found = read(result)
    if found["outcome"] != "survived":
        said = result.with_suffix(".log").read_text()[-3000:]
        sys.exit(f"The tests fail without a mutation ({found['by']}):\n{said}")


if __name__ == "__main__":
    main()
