"""Help and completion read the configuration's folders, a user's own included."""

import os
import re
import subprocess
import sys

import pytest

from harness.commands import COMMANDS
from harness.fixes import registry
from harness.launch import choices
from harness.launch.candidates import candidates
from harness.launch.completion import BASH
from harness.launch.help import text
from harness.paths import CONF


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder with a fix, a level and an ablation of one's own."""
    files = {
        "fix/kl/off.yaml": "# as upstream: no penalty\n_target_: mine.Off\n",
        "fix/kl/on.yaml": "# fixed: a small penalty\n_target_: mine.On\nbeta: 0.05\n",
        "fix/reward/mine.yaml": "# a third level\n_target_: mine.Reward\n",
        "ablation/kl.yaml": "# @package _global_\n# python -m harness +ablation=kl\n# the penalty alone\nsweep: kl\n",
    }
    for name, content in files.items():
        path = tmp_path / "mine" / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "mine" / "conf"


def test_help_has_a_line_for_every_level_and_every_ablation():
    lines = text([]).splitlines()
    for file in (CONF / "fix").glob("*/*.yaml"):
        assert any(line.startswith(f"  fix/{file.parent.name}={file.stem} ") for line in lines)
    for factor in registry.own():
        assert all(level in " ".join(text([]).split()) for level in factor.levels.values())
    for file in (CONF / "ablation").glob("*.yaml"):
        assert any(line.startswith(f"  +ablation={file.stem} ") for line in lines)
    assert max(map(len, lines)) <= 120


def test_help_counts_the_arms_of_an_ablation_and_its_file_does_not():
    shown = " ".join(text([]).split())
    assert f"each one off in turn, all off ({len(registry.note()) + 2} arms with the note's fixes)" in shown
    assert f"every combination of the fixes ({2 ** len(registry.note())} arms with the note's fixes)" in shown
    assert "suffice, with its controls (5 arms) +ablation" in shown
    left = f"({2 ** len(registry.as_launched())} arms with the fixes of what was wrong with it)"
    assert f"does the loop stay flat? {left}" in shown
    assert not any(re.search(r"\d+ (runs|%)|\bsix\b", choices.note(file)) for file in (CONF / "ablation").iterdir())


def test_every_level_and_ablation_says_what_it_is():
    assert all(choices.note(file) for folder in ("fix", "ablation") for file in (CONF / folder).rglob("*.yaml"))


@pytest.mark.parametrize(
    "where",
    [
        ["--config-dir", "mine/conf"],
        ["--config-dir=mine/conf"],
        ["-cd", "mine/conf"],
        ["hydra.searchpath=[pkg://mine.conf]"],
        ["hydra.searchpath=['file://mine/conf']"],
    ],
    ids=" ".join,
)
def test_what_a_user_brings_stands_beside_ours(mine, where):
    shown = " ".join(text([*where, "--help"]).split())
    assert "fix/kl=on fixed: a small penalty" in shown
    assert "fix/reward=mine a third level" in shown
    assert "+ablation=kl the penalty alone" in shown
    assert candidates(where, "fix/k") == ["fix/kl="]
    assert candidates([*where, "fix/kl=on"], "fix.kl.") == ["fix.kl.beta="]


def test_a_folder_that_is_not_there_adds_nothing():
    assert text(["--config-dir", "nowhere", "hydra.searchpath=[pkg://no.such]"]) == text([])


COMPLETED = [
    ([], "re", ["report", "replay", "reuse=", "results=", "resume=", "reuse."]),
    (["report"], "--", ["--help", "--json"]),
    (["report", "s"], "", []),
    (["claims", "--cl"], "--", ["--help", "--claims", "--json"]),
    (["track", "s", "--mode"], "o", ["online", "offline"]),
    (["policy"], "", ["list", "fetch"]),
    (["policy", "fetch"], "mi", ["micro", "micro_search"]),
    (["policy", "fetch", "micro"], "--", ["--help", "--from", "--json"]),
    (["completion"], "", ["bash", "zsh", "fish"]),
    (["probe", "fix/reward=off"], "fix/to", ["fix/toolcalls=", "fix/toolorder=", "fix/tools="]),
    (["probe"], "fix/tools=", ["fix/tools=off", "fix/tools=on"]),
    (["probe"], "--te", ["--template"]),
    (["doctor"], "env=mo", ["env=mock"]),
    ([], "+abl", ["+ablation="]),
    ([], "+ablation=sm", ["+ablation=smoke"]),
    ([], "abl", []),
    ([], "fix/to", ["fix/toolcalls=", "fix/toolorder=", "fix/tools="]),
    ([], "fix/tools=", ["fix/tools=off", "fix/tools=on"]),
    (["-m"], "fix/tools=off,", ["fix/tools=off,on"]),
    (["+ablation=all"], "tra", ["tracking=", "train=", "train.", "tracking."]),
    ([], "train.st", ["train.steps="]),
    (["train=upstream"], "train.learning_rate=", ["train.learning_rate=1.2e-05"]),
    ([], "hydra/launcher=", ["hydra/launcher=node", "hydra/launcher=ray", "hydra/launcher=slurm"]),
    (["hydra/launcher=ray"], "hydra.launcher.a", ["hydra.launcher.address="]),
    ([], "plan_only=", ["plan_only=true", "plan_only=false"]),
    ([], "++plan", ["++plan_only="]),
    ([], "baseline=", ["baseline=as_launched", "baseline=note"]),
    (["--cfg"], "j", ["job"]),
    ([], "--mu", ["--multirun"]),
    ([], "nothing_like_this", []),
    ([], "no/group=x", []),
]


@pytest.mark.parametrize(("before", "word", "expected"), COMPLETED)
def test_a_word_becomes_what_it_may_be(before, word, expected):
    assert candidates(before, word) == expected


def test_a_sweep_is_one_of_the_results_folder(tmp_path, monkeypatch):
    for name in ("results/all", "results/.trash", "other"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert candidates(["report"], "") == ["results/all/"]
    assert candidates(["report"], "o") == ["other/"]
    assert candidates(["report"], "results/.") == ["results/.trash/"]
    assert candidates([], "results=o") == ["results=other/"]


@pytest.fixture
def bash(tmp_path):
    """What bash would insert for a line, the completion script evaluated as its user does."""
    (tmp_path / "harness").write_text(f'#!/bin/sh\nexec {sys.executable} -m harness "$@"\n')
    (tmp_path / "harness").chmod(0o755)
    script = f'{BASH}\nCOMP_LINE="$1" COMP_POINT=${{#1}}; _harness; printf "%s\\n" "${{COMPREPLY[@]}}"'

    def complete(line: str) -> list[str]:
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        command = ["bash", "-c", script, "bash", line]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout.splitlines()

    return complete


BASH_LINES = [
    ("harness repo", ["report "]),
    ("harness policy fetch mic", ["micro ", "micro_search "]),
    ("harness fix/tools", ["fix/tools="]),
    ("harness +ablation=all fix/tools=o", ["off ", "on "]),  # what stands behind the =, which splits words in bash
    ("harness train.st", ["train.steps="]),
    ("harness +ablation=all tracking=", ["off ", "wandb "]),
    ("harness nothing_like_this", [""]),  # as printf shows no answer at all
]


@pytest.mark.parametrize(("line", "expected"), BASH_LINES)
def test_bash_completes_with_the_script_that_the_command_prints(bash, line, expected):
    assert bash(line) == expected


def test_bash_offers_all_commands_behind_the_name(bash):
    assert {f"{name} " for name in COMMANDS} < set(bash("harness "))
