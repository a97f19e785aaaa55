"""The one command: what it takes, how quickly it helps, and how it answers a mistake."""

import os
import subprocess
import sys

import pytest

from harness.commands import COMMANDS, load, run_command, unknown
from harness.errors import EngineError, SetupError
from harness.report import command

SLOW = {"hydra", "torch", "matplotlib", "rich", "tau2", "wandb"}


def loaded_by(*arguments: str) -> str:
    """What a command printed, and which slow packages it imported."""
    code = (
        f"import sys; sys.argv = ['harness', *{list(arguments)!r}]\n"
        "from harness.__main__ import door\n"
        f"try: door()\nfinally: print('slow:', sorted({SLOW!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)], ids=" ".join)
def test_help_is_quick_because_it_imports_nothing_slow(arguments):
    assert loaded_by(*arguments).endswith("slow: []\n")


def test_every_command_has_its_line_in_the_help():
    text = loaded_by("--help")
    assert all(f"\n  {name} " in text for name in COMMANDS)


def test_a_terminal_that_is_not_utf8_gets_other_characters():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-m", "harness", "--help"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and "usage: harness [+ablation=NAME] [fix/FACTOR=LEVEL ...]" in done.stdout


def test_a_mistyped_command_is_answered_with_the_right_one():
    done = subprocess.run([sys.executable, "-m", "harness", "repot", "x"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("harness: No command is called 'repot'. Did you mean 'report'?\n")


@pytest.mark.parametrize("argument", ["report", "seed=1", "+ablation=all", "~fix/tools", "-m", "--cfg", ""])
def test_commands_overrides_and_flags_are_no_mistyped_command(argument):
    assert unknown(argument) == ""


def test_what_resembles_no_command_is_answered_with_all_of_them():
    assert "Commands: report, claims, seeds, track" in unknown("blub")


MISUSED = [
    ("report", [], "the following arguments are required: SWEEP"),
    ("archive", ["s", "t"], "not known here: t"),
    ("report", ["s", "--jso"], "not known here: --jso"),
    ("claims", ["s", "--js"], "not known here: --js"),
    ("track", ["s", "--mode", "onlin"], "invalid choice: 'onlin'"),
    ("policy", [], "the following arguments are required: list|fetch"),
    ("completion", ["csh"], "invalid choice: 'csh'"),
]


@pytest.mark.parametrize(("name", "arguments", "message"), MISUSED)
def test_options_that_a_command_lacks_exit_with_2_and_a_sentence(name, arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        run_command(name, arguments)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"harness {name}: ") and message in said and "usage:" not in said


@pytest.mark.parametrize(("error", "code"), [(EngineError("lost"), 1), (SetupError("no network"), 1)])
def test_what_fails_without_a_mistake_exits_with_1(error, code, monkeypatch, capsys):
    def fail(folder):
        raise error

    monkeypatch.setattr(command, "load_sweep", fail)
    assert run_command("report", ["s"]) == code
    assert capsys.readouterr().err == f"harness report: {error}\n"


def test_a_package_that_is_not_installed_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "harness.launch.choices", raising=False)
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(SetupError, match=r"has no package 'yaml'. Run `python3 -m harness setup` once"):
        load("harness.launch.choices")


@pytest.mark.parametrize("asked", [["--help"], ["__complete", "fix/"], ["+ablation=all"]])
def test_without_its_packages_the_door_says_how_to_install_them(asked):
    start = f"import sys; sys.modules['yaml'] = None; sys.argv[1:] = {asked}"
    script = f"{start}; from harness.__main__ import door; door()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert "has no package 'yaml'. Run `python3 -m harness setup` once" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_stops_reading_is_no_error():
    script = f"{sys.executable} -u -m harness policy list | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {script}"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("micro ")
