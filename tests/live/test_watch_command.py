"""`harness watch`: which sweep, and its end."""

import os
import signal
import subprocess
import sys
import urllib.request

import pytest

from harness.commands import run_command
from harness.errors import ConfigError
from harness.live.command import newest
from harness.records.layout import SweepFiles
from tests.live.test_live_page import says
from tests.synthetic import leave_one_out, write_sweep


@pytest.fixture
def two(tmp_path):
    """results/ with an older sweep and a newer one."""
    for age, name in enumerate(("newer", "older")):
        sweep = write_sweep(tmp_path / name, arms=leave_one_out()[:2], steps=2)
        for path in (SweepFiles(sweep).plan_path, SweepFiles(sweep).manifest_path):
            os.utime(path, (1_700_000_000 - age,) * 2)
    return tmp_path


def test_without_a_name_it_is_the_newest_sweep(two):
    assert newest(two).name == "newer"


def test_one_that_runs_comes_first(two):
    says(two / "older", ago=5)
    assert newest(two).name == "older"


def test_a_folder_without_a_sweep_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match=r"No sweep is in .*harness watch FOLDER.*\+ablation=smoke"):
        newest(tmp_path)


def test_what_is_no_sweep_is_refused_before_anything_is_served(tmp_path, capsys):
    assert run_command("watch", [str(tmp_path)]) == 2
    assert "is no sweep folder" in capsys.readouterr().err


def test_it_prints_its_address_and_ends_with_ctrl_c(two):
    command = [sys.executable, "-u", "-m", "harness", "watch", str(two / "newer")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        try:
            url = watching.stdout.readline().split()[1]
            with urllib.request.urlopen(url + "now", timeout=30) as answer:
                assert b"Nothing computes here now" in answer.read()
            watching.send_signal(signal.SIGINT)
            output, errors = watching.communicate(timeout=30)
        finally:
            watching.kill()
    assert (watching.returncode, errors, output) == (0, "", "The watching has ended.\n")
