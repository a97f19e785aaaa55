"""Every block of docs/bring_your_own.md works as it stands there.

Files are written, commands run in their order, Python runs, the template's line is put into a template.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from unittest.mock import AsyncMock

import pytest

from harness.env import load_environment
from harness.env.search_qa import SearchQa
from harness.episode_player import EpisodePlayer, Job, Sampling
from harness.launch.help import text as help_text
from harness.player_pool import PlayerPool
from harness.project_player import ProjectPlayer
from tests import test_episode_player as fake
from tests.test_player_pool import server

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "bring_your_own.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\S+/\S+\.(?:py|yaml))\n")  # a block's first line, when the block is a file
SOURCE = {"_target_": "my_worlds.calculator.Calculator", "tasks": 10}


@dataclass(frozen=True)
class Block:
    language: str
    text: str

    @property
    def file(self) -> str | None:
        named = FILE.match(self.text)
        return named[1] if named else None


BLOCKS = [Block(*found) for found in FENCE.findall(PAGE.read_text(encoding="utf-8"))]


def blocks(language: str) -> list[str]:
    return [b.text for b in BLOCKS if b.language == language and b.file is None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A reader's folder with the page's files in it."""
    made = tmp_path_factory.mktemp("reader")
    for block in BLOCKS:
        if block.file:
            (made / block.file).parent.mkdir(parents=True, exist_ok=True)
            (made / block.file).write_text(block.text.partition("\n")[2], encoding="utf-8")
    return made


@pytest.fixture
def importable(folder, monkeypatch):
    """The reader's folder where this process and those that it starts find modules."""
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(ROOT)]))


def test_every_block_is_of_a_kind_that_is_tried_here():
    assert {b.language for b in BLOCKS if b.file is None} == {"bash", "python"}
    assert all(b.file for b in BLOCKS if b.language == "yaml")


# Of the reader's shell: notes what `-m harness` is asked, and is this Python for anything else
NOTES = """#!/bin/sh
[ "$1 $2" = "-m harness" ] || exec {python} "$@"
shift 2
printf '%s\\0' "$@" "" >> {noted}
"""
# Each command in a fork of one process that has loaded the libraries, which take half of a plan's three seconds.
FORKS = """
import os, sys
from harness.__main__ import door
import harness.env.mock, harness.launch.local, harness.launch.run
for line in open(0).read().split("\\0\\0")[:-1]:
    if not (child := os.fork()):
        sys.argv[1:] = line.split("\\0")
        door()
    if code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(f"{line!r} ended with {code}")
"""


def test_the_commands_plan_what_the_page_says(folder):
    """In one shell, as a reader types them."""
    tools, noted = folder / "bin", folder / "noted"
    tools.mkdir()
    (tools / "python").write_text(NOTES.format(python=sys.executable, noted=noted))
    (tools / "python").chmod(0o755)
    environment = os.environ | {"PATH": os.pathsep.join([str(tools), os.environ["PATH"]]), "PYTHONPATH": str(ROOT)}
    script = "\n".join(["set -e", *blocks("bash")])
    for command, asked in ((["bash", "-c", script], ""), ([sys.executable, "-c", FORKS], None)):
        asked = noted.read_text() if asked is None else asked
        done = subprocess.run(command, cwd=folder, env=environment, input=asked, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    plans = re.findall(r"(\d+) runs? planned.*domain (\w+), policy (\w+)", done.stdout)
    assert plans == [
        ("4", "mock", "micro"),
        ("1", "mock", "micro"),
        ("3", "mock", "micro"),
        ("1", "mock", "mine"),
        ("1", "mock", "mine"),
        ("1", "calculator", "micro"),
        ("1", "calculator", "micro"),
        ("8", "calculator", "mine"),
        ("8", "my_project", "micro_search"),
    ]
    arms = re.findall(r"^  (\S+)/seed=0$", done.stdout, re.MULTILINE)
    assert arms[:5] == ["all_on", "only_scale", "only_tools", "all_off", "without_scale"]
    assert arms[5:8] == ["all_on", "without_reward", "all_on_with_reward=half"]
    assert not (folder / "results").exists()


def test_help_has_the_line_of_each_level_from_its_file(folder):
    shown = " ".join(help_text(["--config-dir", str(folder / "conf_of_mine")]).split())
    for line in (
        "fix/scale=off divided",
        "fix/easy=on without groups of",
        "fix/reward=half a failed episode",
    ):
        assert line in shown


def test_the_python_of_the_page_runs(importable):
    for text in blocks("python"):
        exec(compile(text, str(PAGE), "exec"), {})


def test_the_calculator_is_played_as_any_environment(importable, monkeypatch):
    calculator = load_environment(SOURCE)
    a, b = map(int, re.findall(r"\d+", asyncio.run(calculator.start("sum_0", 0).opening())))
    replies = [fake.call("add", f'{{"a": {a}, "b": {b}}}'), fake.text(f"It is {a + b}.")]

    async def acompletion(**request):
        return fake.response(replies.pop(0), request)

    monkeypatch.setattr("litellm.acompletion", acompletion)
    episode = asyncio.run(EpisodePlayer(calculator, 4).play(job("http://server/v1")))
    assert (episode.end, episode.outcome.reward) == ("user_stop", 1.0)
    assert episode.messages[3] == {"role": "tool", "tool_call_id": "call_2_0", "name": "add", "content": str(a + b)}


def test_the_projects_own_rollout_is_played(importable, monkeypatch):
    project = load_environment({"_target_": "my_project.ablation.project"})
    task = project.test_ids[0]
    replies = [fake.call(call.name, json.dumps(call.arguments)) for call in SearchQa().solution(task)]
    monkeypatch.setattr("litellm.acompletion", AsyncMock(side_effect=lambda **r: fake.response(replies.pop(0), r)))
    asked = replace(job("http://server/v1"), task_id=task)
    episode = asyncio.run(ProjectPlayer(project, 4).play(asked))
    assert (episode.end, episode.outcome.reward, episode.outcome.shaped) == ("user_stop", 1.0, 1.5)
    assert [m if isinstance(m, int) else m["role"] for m in episode.messages][:4] == ["system", "user", 0, "tool"]


def test_a_player_process_makes_the_calculator_by_its_target(importable, tmp_path):
    async def play(url):
        digest = load_environment(SOURCE).digest
        there = PlayerPool(1, partial(load_environment, SOURCE), digest, 4, tmp_path / "players.log")
        try:
            return await there.play(job(url))
        finally:
            await there.close()

    with server() as url:  # it calls a tool of the retail domain, then writes a text
        episode = asyncio.run(play(url))
    assert episode.messages[3]["content"].startswith("Error: the only tool is add")
    assert (episode.end, episode.outcome.reward) == ("user_stop", 0.0)


def job(url):
    return Job(url, "key", "hosted_vllm/p@1", "sum_0", Sampling(1.0, 32, 4), 5, True)
