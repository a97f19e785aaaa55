"""Imports run one way, and the light rooms stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import harness

ROOT = Path(harness.__file__).parent
HEAVY = {"torch", "art", "vllm", "litellm", "transformers", "peft"}


def imported(path: Path) -> set[str]:
    """Modules that a file names in its import statements, those inside functions left out."""
    out: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            out.add(node.module)
    return out


def inner(path: Path) -> set[str]:
    """The rooms of the harness that a file imports: `harness.fixes.tools` is `fixes`."""
    return {m.split(".")[1] for m in imported(path) if m.startswith("harness.")}


@pytest.mark.parametrize("path", sorted((ROOT / "fixes").glob("*.py")), ids=lambda p: p.name)
def test_a_fix_knows_the_seams_and_the_errors_only(path):
    assert inner(path) <= {"seams", "errors"}


@pytest.mark.parametrize("name", ["loop", "rollout", "validation", "evidence", "validity"])
def test_the_loop_knows_no_fix_and_no_launcher(name):
    assert not inner(ROOT / f"{name}.py") & {"fixes", "launch", "analysis", "tracking"}


@pytest.mark.parametrize("name", ["store", "records", "seams", "arm", "design", "episode"])
def test_the_foundations_import_no_room_above_them(name):
    assert inner(ROOT / f"{name}.py") <= {"errors", "arm", "store", "seams"}


@pytest.mark.parametrize("path", sorted((ROOT / "analysis").glob("*.py")), ids=lambda p: p.name)
def test_the_analysis_reads_records_and_designs_only(path):
    assert inner(path) <= {"analysis", "records", "design", "arm", "errors"}


def test_the_analysis_loads_without_torch_art_or_vllm():
    code = (
        "import importlib, pkgutil, sys, harness.analysis as a\n"
        "for m in pkgutil.iter_modules(a.__path__): importlib.import_module(f'harness.analysis.{m.name}')\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_and_plan_load_no_model_library():
    code = f"import sys, harness.launch.sweep; print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
