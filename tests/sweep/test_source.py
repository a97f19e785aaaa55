"""The source of a sweep: which files its numbers depend on, read from their imports, and where two sources differ."""

import sys
from dataclasses import replace

import pytest

from harness.sections import OwnEnvConfig
from harness.sweep import source
from harness.sweep.source import code_of, differences, source_now, without_weight


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of a user's own, which must not be imported to be read."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(**files: str):
        for name, text in {"__init__": "", **files}.items():
            (tmp_path / "mine_own").mkdir(exist_ok=True)
            (tmp_path / "mine_own" / f"{name}.py").write_text(text)
        return code_of(["mine_own.factor"])

    (tmp_path / "beside.py").write_text("LIMIT = 1\n")
    yield write
    assert "mine_own" not in sys.modules


def test_the_code_is_what_numbers_depend_on_and_not_what_shows_them(sweep_config):
    code = source_now(sweep_config()).code
    needed = (
        "loop",
        "rollout",
        "validation",
        "fixes/reward",
        "env/mock",
        "backend/shared",
        "engine/trainer",
        "validity",
    )
    assert {f"harness/{name}.py" for name in needed} <= set(code)
    assert "harness/engine/server_side/harness_vllm_fork.py" in code  # vLLM imports it, by its entry point
    shown = ("report", "stats", "tracking", "launch", "sweep/display", "sweep/estimate")
    assert not [file for file in code for room in shown if file.startswith(f"harness/{room}")]


def test_each_backend_has_its_own_code(sweep_config, monkeypatch):
    ours = source_now(sweep_config())
    stock = source_now(
        replace(sweep_config(), backend=replace(sweep_config().backend, kind="art_local", device="auto"))
    )
    assert "harness/backend/art_local.py" in set(stock.code) - set(ours.code)
    assert differences(ours.record(), stock) == ["backend: shared there, art_local now"]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("def pay(x):\n    return 2 * x\n", False),
        ("# a comment\ndef pay(x):\n\n    return (x)\n", True),
        ('def pay(x):\n    """What a tool says of itself."""\n    return x\n', False),
    ],
    ids=["formula", "comment", "docstring"],
)
def test_a_file_counts_by_its_code(text, same, package):
    before = package(factor="def pay(x):\n    return x\n")
    assert (package(factor=text) == before) is same


IMPORTS = """
from __future__ import annotations
import json, numpy
from typing import TYPE_CHECKING
from . import rule
from .inner import deep as other
if TYPE_CHECKING:
    from mine_own import hints
raise SystemExit("imported")
def later():
    import beside
"""


def test_imports_are_followed_inside_functions_and_relative_ones_without_importing(package):
    code = package(factor=IMPORTS, rule="from mine_own.two import x", two="", inner="", hints="", unused="")
    own = {f"mine_own/{name}.py" for name in ("__init__", "factor", "rule", "two", "inner")}
    assert set(code) == own | {"beside.py"}


def test_what_is_installed_counts_by_its_version(package, sweep_config):
    assert "numpy/__init__.py" not in package(factor="import numpy, torch.nn")
    assert not [file for file in source_now(sweep_config()).code if not file.startswith("harness/")]


def test_what_another_environment_has_installed_counts_by_its_version_too(package, tmp_path, monkeypatch):
    """As the packages of an environment that a .pth file layers over this one."""
    (tmp_path / "other" / "site-packages").mkdir(parents=True)
    (tmp_path / "other" / "site-packages" / "theirs.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "other" / "site-packages")
    assert set(package(factor="import theirs")) == {"mine_own/__init__.py", "mine_own/factor.py"}


def test_files_that_one_of_two_starts_has_no_use_for_are_no_difference(sweep_config):
    now = source_now(sweep_config())
    before = replace(now, code={**now.code, "mine_own/factor.py": "0"})
    assert differences(before.record(), now) == differences(now.record(), before) == []


def test_the_class_of_a_foreign_fix_and_the_function_of_an_environment_are_read(sweep_config, package):
    package(factor="from mine_own import rule", rule="", world="")
    config = sweep_config()
    run = replace(config.runs[0], fix={"kl": {"_target_": "mine_own.factor.On"}})
    code = source_now(replace(config, runs=(run,), env=OwnEnvConfig("mine_own.world.load", {}))).code
    assert {"mine_own/factor.py", "mine_own/rule.py", "mine_own/world.py"} <= set(code)


def test_a_difference_names_the_file_and_the_version(sweep_config):
    now = source_now(sweep_config())
    then = now.record() | {"code": {**now.code, "harness/fixes/reward.py": "0"}}
    then["versions"] = {**now.versions, "torch": "1.0", "python": "3.10.2", "wandb": "0.1"}
    python = ".".join(str(now.versions["python"]).split(".")[:2])
    assert differences(then, now) == [
        f"python: 3.10 there, {python} now",
        f"torch: 1.0 there, {now.versions['torch']} now",
        "harness/fixes/reward.py: changed",
    ]


def test_batch_invariant_kernels_are_another_source(sweep_config):
    config = sweep_config()
    backend = replace(config.backend, batch_invariant=True, device="auto")
    server = source_now(config).versions["server"]
    assert differences(source_now(config).record(), source_now(replace(config, backend=backend))) == [
        f"server: {server} there, {server}, batch invariant now"
    ]


def test_a_version_that_no_number_depends_on_is_named_and_no_difference(sweep_config):
    now = source_now(sweep_config())
    then = now.record() | {"versions": {**now.versions, "wandb": "0.1"}}
    assert differences(then, now) == []
    assert without_weight(then, now) == [f"wandb was 0.1 when the sweep began and is {now.versions['wandb']} now"]


def test_a_harness_in_somebody_elses_repository_has_no_commit(monkeypatch, tmp_path):
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(source.harness, "__file__", str(tmp_path / "harness.py"))
    assert source.git() == {"commit": None, "dirty": None}
