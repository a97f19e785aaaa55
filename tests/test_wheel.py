"""The wheel runs where there is no clone: built, installed beside this environment's packages, used as a user does.

Nothing is downloaded and no engine is started.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.synthetic import write_sweep

ROOT = Path(__file__).parent.parent
SOURCES = ("harness", "conf", "experiments/claims", "README.md", "setup.py", "pyproject.toml", "MANIFEST.in")
PIP = [sys.executable, "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built of a copy: pip builds in the source folder, and what lies there from earlier would be packed."""
    copy, out = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("wheel")
    for name in (*SOURCES, *(file.name for file in ROOT.glob("requirements*.lock"))):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, copy / name)
    subprocess.run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", str(out), str(copy)], check=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The console script of an environment that has the wheel, and all packages of this one but the harness."""
    home = tmp_path_factory.mktemp("env")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    site = next(home.glob("lib/python*/site-packages"))
    others = [path for path in sys.path if path.endswith("packages") and not Path(path, "harness").is_dir()]
    (site / "others.pth").write_text("\n".join(others))
    subprocess.run([*PIP, "--python", str(home / "bin" / "python"), "install", "--no-deps", str(wheel)], check=True)
    return home / "bin" / "harness"


@pytest.fixture
def harness(installed, tmp_path, monkeypatch):
    """Runs the command in an empty folder; its output."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        done = subprocess.run([installed, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_wheel_holds_every_file_that_a_run_reads(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for source, target in (("harness", "harness"), ("conf", "harness/conf"), ("experiments/claims", "harness/claims")):
        files = [path for path in (ROOT / source).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert {f"{target}/{path.relative_to(ROOT / source).as_posix()}" for path in files} <= names
    assert {f"harness/machine/{file.name}" for file in ROOT.glob("requirements*.lock")} <= names


def test_help_lists_the_fixes_and_ablations_of_the_wheel(harness):
    text = harness("--help")
    assert "fix/split=off" in text and "+ablation=leave_one_out" in text


def test_a_package_of_the_current_folder_is_found_as_with_python_m(harness, tmp_path):
    fix = tmp_path / "mine" / "conf" / "fix" / "kl" / "on.yaml"
    fix.parent.mkdir(parents=True)
    fix.write_text("# a small penalty\n_target_: mine.On\n")
    assert "fix/kl=on" in harness("hydra.searchpath=[pkg://mine.conf]", "--help")


def test_a_sweep_is_planned_and_nothing_is_written(harness):
    assert "all_off/seed=0" in harness("+ablation=smoke", "plan_only=true")
    assert os.listdir() == []


def test_a_sweep_of_the_current_folder_is_reported_and_held_against_the_claims(harness, tmp_path):
    write_sweep(tmp_path / "results" / "s")
    assert "report.html" in harness("report", "results/s")
    assert "refuted" in harness("claims", "results/s")
