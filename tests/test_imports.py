"""Imports run one way, also those inside functions, and the light rooms stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import harness

ROOT = Path(harness.__file__).parent
HEAVY = {"torch", "art", "vllm", "litellm", "transformers", "peft"}

# What a room may know. A room is a folder of `harness`, or a file that stands alone there.
MAY_KNOW = {
    "errors": set(),
    "disk": {"errors"},
    "endings": {"errors"},
    "log_stream": set(),
    "paths": set(),
    "printed": set(),
    "commands": {"disk", "endings", "errors"},
    "factors": set(),
    "designs": {"errors", "factors"},
    "batches": {"factors"},
    "seams": {"factors"},
    "answering": {"seams"},
    "fixes": {"answering", "errors", "factors", "seams"},
    "episode": {"seams"},
    "records": {"disk", "errors", "factors", "printed"},
    "env": {"errors", "seams"},
    "machine": {"errors", "paths", "printed"},
    "policy": {"errors", "machine", "printed"},
    "engine": {"child_process", "errors", "heartbeat", "machine", "records"},
    "strict": {"errors"},
    "levels": {"errors", "factors", "fixes", "seams", "strict"},
    "sections": {"errors", "machine", "policy", "strict"},
    "blocks": {"errors"},
    "config": {"blocks", "errors", "factors", "levels", "seams", "sections", "strict"},
    "completion": {"episode", "errors"},
    "episode_player": {"completion", "env", "episode", "errors", "factors"},
    "heartbeat": {"machine"},
    "child_process": {"errors", "heartbeat", "log_stream", "machine"},
    "player_pool": {"child_process", "env", "episode", "episode_player", "errors", "project_player"},
    "project_player": {"completion", "env", "episode", "episode_player", "errors", "seams"},
    "rollout": {"env", "episode", "episode_player", "errors", "project_player", "records", "seams"},
    "backend": {"config", "disk", "engine", "episode", "errors", "factors", "machine", "policy", "records", "rollout"}
    | {"seams", "sections"},
    "users": {"completion", "disk", "env", "errors", "factors", "records", "sections"},
    "validation": {"errors", "factors", "records", "rollout", "seams"},
    "validity": {"answering", "factors", "records", "seams"},
    "evidence": {"answering", "backend", "episode", "records", "rollout", "seams"},
    "scoring": {"answering", "backend", "evidence", "seams"},
    "loop": {
        "backend",
        "batches",
        "config",
        "evidence",
        "factors",
        "records",
        "rollout",
        "scoring",
        "seams",
        "validation",
    },
    "probe": {"answering", "errors", "fixes", "policy", "printed", "seams"},
    "replay": {"backend", "engine", "episode", "errors", "records"},
    "stats": {"designs", "errors", "factors", "paths", "printed", "records"},
    "report": {"designs", "errors", "factors", "printed", "records", "stats"},
    "live": {"disk", "errors", "machine", "printed", "records", "report", "stats"},
    "tracking": {"disk", "errors", "factors", "machine", "printed", "records", "report", "stats"},
}
# These two put the others together; nothing below them may know them.
MAY_KNOW |= {"sweep": set(MAY_KNOW) - {"fixes"}, "launch": {*MAY_KNOW, "sweep"} - {"loop", "rollout"}}


def imported(path: Path) -> set[str]:
    """Modules that a file imports anywhere, `if TYPE_CHECKING` left out."""
    out: set[str] = set()
    todo: list[ast.AST] = [ast.parse(path.read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            todo += node.orelse
            continue
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            out |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        todo += ast.iter_child_nodes(node)
    return out


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def known(path: Path) -> set[str]:
    """The rooms of the harness that a file imports from: `harness.fixes.tools` is `fixes`."""
    rooms = {m.split(".")[1] for m in imported(path) if m.startswith("harness.")}
    return {r for r in rooms if (ROOT / r).is_dir() or (ROOT / f"{r}.py").is_file()} - {room(path)}


FILES = sorted(p for p in ROOT.rglob("*.py") if p.parent != ROOT or p.name not in ("__init__.py", "__main__.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_imports_only_what_it_may_know(path):
    assert known(path) <= MAY_KNOW[room(path)]


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_harness_knows_no_experiment(path):
    assert not {m for m in imported(path) if m.split(".")[0] == "experiments"}


def test_what_rooms_may_know_has_no_circle():
    left = dict(MAY_KNOW)
    while ready := [name for name, knows in left.items() if not knows & set(left)]:
        for name in ready:
            del left[name]
    assert left == {}


def test_no_module_imports_itself_through_others():
    """Not for its annotations either: `if TYPE_CHECKING` counts."""
    modules = {
        ".".join(("harness", *p.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): p
        for p in ROOT.rglob("*.py")
    }
    left = {name: needed(path, set(modules)) - {name} for name, path in modules.items()}
    while ready := [name for name, needs in left.items() if not needs & set(left)]:
        for name in ready:
            del left[name]
    assert left == {}


def needed(path: Path, modules: set[str]) -> set[str]:
    """Those of `modules` that a file imports anywhere: of a package the submodule that is named, else itself."""
    out = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            out |= named & modules or {node.module}
    return out & modules


@pytest.mark.parametrize("name", ["stats", "report"])
def test_statistics_and_reports_load_without_torch_art_or_vllm(name):
    code = (
        f"import importlib, pkgutil, sys, harness.{name} as room\n"
        f"for m in pkgutil.iter_modules(room.__path__): importlib.import_module(f'harness.{name}.{{m.name}}')\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_refusal_loads_no_sweep_no_domain_and_no_tokenizer():
    heavy = {"tau2", "harness.sweep.plan", "harness.env", "tokenizers", "transformers", "scipy"}
    code = (
        "import sys, harness.launch.run as door; from harness.errors import ConfigError; door.register()\n"
        "try: door.understood(['+ablation=all', 'train.steps=2.5'])\n"
        "except ConfigError: pass\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_and_plan_load_no_model_library():
    code = f"import sys, harness.launch.execute; print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
