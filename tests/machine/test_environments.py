"""An environment that set-up made holds what its lock names, file by file, and the byte code of what runs import.

No network: the index is a folder of hand-made wheels.
"""

import hashlib
import os
import re
import shutil
import sys
import zipfile
from functools import partial
from pathlib import Path

import pytest

from harness.errors import SetupError
from harness.machine import environments, pack, setup
from harness.machine.environments import write_bytecode


def test_byte_code_is_written_even_where_the_environment_forbids_it(tmp_path, monkeypatch):
    (tmp_path / "heavy.py").write_text("import lighter\n")
    (tmp_path / "lighter.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    write_bytecode(Path(sys.executable), ["not_there", "heavy"])
    assert {path.name.split(".")[0] for path in tmp_path.glob("__pycache__/*.pyc")} == {"heavy", "lighter"}


WHEEL = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
LOCKS = [setup.LOCK, setup.GPU_LOCK, pack.LOCK]
LOCKS += [environments.SERVER_LOCK, environments.GPU_SERVER_LOCK, environments.TORCH_LOCK]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_line_of_a_lock_pins_a_version_and_the_hashes_of_its_files(lock):
    for entry in environments.entries(lock):
        assert re.fullmatch(r"[a-z0-9-]+==\S+(\s+--hash=sha256:[0-9a-f]{64})+", entry), entry


def test_there_is_no_lock_file_beside_those():
    folders = {lock.parent for lock in LOCKS}
    assert {path for folder in folders for path in folder.glob("*.lock") if not path.name.startswith(".")} == set(LOCKS)


def test_a_change_of_hashes_alone_makes_no_new_environment(tmp_path):
    lock = tmp_path / "some.lock"
    digests = set()
    for hashes in ("a" * 64, "b" * 64):
        lock.write_text(f"# some\nsetuptools==1 \\\n    --hash=sha256:{hashes} \\\n    --hash=sha256:{hashes}\n")
        assert environments.read_pins(lock) == ["setuptools==1"]
        digests.add(environments._digest(lock))
    assert len(digests) == 1


@pytest.fixture
def index(tmp_path, monkeypatch):
    """An index that has one version of setuptools and of a package `few`; its lock with the right hashes."""
    hashes = {}
    for name in ("setuptools", "few"):
        wheel = tmp_path / f"{name}-1-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as content:
            content.writestr(f"{name}_of_the_index.py", "")
            content.writestr(f"{name}-1.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
            content.writestr(
                f"{name}-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            content.writestr(f"{name}-1.dist-info/RECORD", "")
        hashes[name] = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    lock = tmp_path / "some.lock"
    lock.write_text("".join(f"{name}==1 \\\n    --hash=sha256:{value}\n" for name, value in hashes.items()))
    return lock


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """An environment without packages, as set-up makes it. Most of its four seconds are pip's own installation."""
    home = tmp_path_factory.mktemp("empty") / "env"
    environments._venv(home)
    return home


@pytest.fixture
def installed(empty):
    """(lock) -> the files of the environment of a lock, made as set-up makes it, without torch."""
    return partial(_installed, empty)


def _installed(empty, lock):
    home = lock.parent / "env"
    shutil.copytree(empty, home, symlinks=True)
    environments._install(home / "bin" / "python", home / "install.log", lock)
    return {path.name for path in home.rglob("*_of_the_index.py")}


def test_set_up_installs_what_has_a_hash_of_the_lock(index, installed):
    assert installed(index) == {"setuptools_of_the_index.py", "few_of_the_index.py"}


def test_set_up_refuses_another_file_of_the_same_version(index, installed):
    with zipfile.ZipFile(index.parent / "few-1-py3-none-any.whl", "a") as content:
        content.writestr("and_more.py", "")
    with pytest.raises(SetupError, match="(?s)HASHES.*few|hash"):
        installed(index)


def test_set_up_refuses_a_package_that_has_no_hash(index, installed):
    index.write_text(index.read_text().partition("few==1")[0] + "few==1\n")
    with pytest.raises(SetupError, match="[Hh]ash"):
        installed(index)


def test_torch_of_either_index_must_have_a_hash_of_its_lock(monkeypatch, tmp_path):
    commands = []

    def call(command, stdout, stderr):
        commands.append(command)
        stdout.write("ERROR: No matching distribution found for torch\n")
        return len(commands) == 1

    monkeypatch.setattr(environments.subprocess, "call", call)
    environments._install_torch(Path("python"), tmp_path / "log")
    assert len(commands) == 2
    assert all({"--require-hashes", str(environments.TORCH_LOCK)} <= set(command) for command in commands)
