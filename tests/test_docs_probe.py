"""Every block of docs/probe.md works as it stands there: files are written, commands and Python run, and they print
what the page shows."""

import json
import lzma
import os
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from harness.policy import MICRO
from harness.probe import SYMPTOMS
from tests.probe.test_endpoint import NAMES, SHIFT, Sound, serving

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "probe.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds.",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
    },
}


def shown_after(command):
    """The block that shows what a command prints."""
    at = next(n for n, (language, text) in enumerate(BLOCKS) if language == "bash" and command in text)
    return BLOCKS[at][1], BLOCKS[at + 1][1]


@pytest.fixture
def reader(tmp_path):
    """A folder with the page's files, and a shell in it where `harness` is this one."""
    for language, text in BLOCKS:
        if language == "json":
            name, _, content = text.partition("\n")
            (tmp_path / name.removeprefix("# ")).write_text(content)
    (tmp_path / "tools.json").write_text(json.dumps([TOOL]))
    (tmp_path / "MODEL").symlink_to(MICRO)
    command = tmp_path / "bin" / "harness"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m harness "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join([str(command.parent), os.environ["PATH"]])

    def run(text, **environment):
        env = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)} | environment
        done = subprocess.run(["bash", "-e", "-c", text], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_every_block_is_tried_here():
    languages = [language for language, _ in BLOCKS]
    assert languages == ["json", "bash", "", "bash", "", "bash", "json", "python", "bash", "bash", "", "bash"]


def test_the_rollouts_of_the_page_have_the_symptom_that_it_shows(reader):
    command, shown = shown_after("--trajectories rollouts.jsonl || echo")
    before, after = shown.split("…\n")
    said = reader(command)
    assert said.startswith(before) and said.endswith(after)


def test_with_a_template_it_shows_the_first_token_that_differs(reader):
    command, shown = shown_after("--template MODEL")
    assert shown in reader(command)


def recorded():
    """The rollouts of one run of our loop, as a row each."""
    with lzma.open(ROOT / "results" / "probe_rollouts.jsonl.xz", "rt") as file:
        shared, *steps = map(json.loads, islice(file, 3))
    known = {"tools": shared["tools"], "sent_tools": shared["tools"]}
    return [r | known | {"step": step["step"]} for step in steps for group in step["groups"] for r in group]


@pytest.mark.parametrize("another_answer", [False, True])
def test_rollouts_are_held_against_their_environment_and_what_is_declared(reader, tmp_path, another_answer):
    rows = recorded()
    if another_answer:
        next(m for m in rows[0]["messages"] if m["role"] == "tool")["content"] = "{}"
    (tmp_path / "episodes.jsonl").write_text("\n".join(map(json.dumps, rows)))
    command = next(text for language, text in BLOCKS if language == "bash" and "--declared" in text)
    found = json.loads(reader(command.strip() + " --json || true"))
    assert found["present"] == ["environment_answers_otherwise"] * another_answer
    verdicts = {each["symptom"]: each["verdict"] for each in found["findings"]}
    assert {verdicts[name] for name in ("success_not_as_judged", "rewards_not_as_declared")} == {"absent"}


def test_the_python_of_the_page_runs():
    (text,) = [text for language, text in BLOCKS if language == "python"]
    exec(compile(text, "docs/probe.md", "exec"), {})


def test_the_server_of_the_page_is_asked_about_so_often(reader):
    (command,) = [text for language, text in BLOCKS if language == "bash" and "--url" in text]

    class Policy(Sound):
        pass

    server = Policy()
    with serving(server) as url:
        renamed = command.replace("http://127.0.0.1:8000/v1", url).replace("policy@", "p@")
        said = reader(renamed)
    assert set(SHIFT) == set(NAMES) and said.endswith("0 of 9 symptoms present, 0 cannot be told\n")
    assert len(server.asked) == 20


def test_the_projects_loop_with_the_notes_fixes_off_has_the_symptoms_that_the_page_shows(reader, stand_in_with_weights):
    command, shown = shown_after("fix/{endpoint")
    said = reader(command, **stand_in_with_weights)
    names = re.compile(r"^((?:present|absent) +\w+):", re.MULTILINE)
    assert names.findall(said) == names.findall(shown)
    assert "81 of 85 validation ids do not exist" in said and "81 of 85 validation ids do not exist" in shown
    assert said.splitlines()[-2:] == shown.splitlines()[-2:]


def test_the_page_of_the_page_is_written(reader, tmp_path):
    (command,) = [text for language, text in BLOCKS if language == "bash" and "--page" in text]
    assert reader(command).splitlines()[-1] == "findings.html"
    assert "Tools not trained" in (tmp_path / "findings.html").read_text(encoding="utf-8")


def test_its_table_has_each_symptom_in_its_own_words():
    rows = [f"| `{symptom.__name__}` | {symptom.__doc__} |" for symptom in SYMPTOMS]
    assert "| symptom | |\n|---|---|\n" + "\n".join(rows) in PAGE
