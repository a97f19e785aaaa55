"""The factor of docs/bring_your_own.md works as it stands there: files are written, Python and commands run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "bring_your_own.md").read_text(encoding="utf-8")
SECTION = re.split(r"^## ", PAGE.split("## A factor\n")[1], flags=re.MULTILINE)[0]
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\S+/\S+\.(?:py|yaml))\n")  # a block's first line, when the block is a file


def blocks(language: str) -> list[str]:
    return [text for found, text in BLOCKS if found == language and not FILE.match(text)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A reader's folder with the section's files in it."""
    made = tmp_path_factory.mktemp("reader")
    for text in (text for _, text in BLOCKS if FILE.match(text)):
        path = made / FILE.match(text)[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return made


def run(folder: Path, *command: str) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # where `python` is this one
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_commands_plan_the_arms_that_the_page_names(folder):
    shown = run(folder, "bash", "-c", "set -e\n" + "\n".join(blocks("bash")))
    assert re.findall(r"^  (\S+)/seed=0$", shown, re.MULTILINE) == [
        *("all_on", "only_scale", "only_tools", "all_off"),
        "without_scale",
        *("all_on", "without_reward", "all_on_with_reward=half"),
    ]
    assert not (folder / "results").exists()


def test_its_python_runs(folder):
    (text,) = blocks("python")
    run(folder, sys.executable, "-c", text)
