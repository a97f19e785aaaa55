"""Which processes of a sweep use the processor (experiments/benchmarks/profile_run.py)."""

import sys
from collections import Counter

import pytest

from experiments.benchmarks.overrides import replaced
from experiments.benchmarks.profile_run import seconds_of, table

SPIN = "import time; end = time.process_time() + 0.8\nwhile time.process_time() < end: pass"


def test_the_processor_seconds_of_a_command_and_of_its_children_are_told_apart_by_what_they_are():
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SPIN!r}, 'harness.player_pool'])"
    wall, used = seconds_of([sys.executable, "-c", child])
    assert wall > used["player"] > 0.3 and used["main"] < used["player"]


def test_a_command_that_fails_is_not_measured():
    with pytest.raises(RuntimeError, match="ended with 3"):
        seconds_of([sys.executable, "-c", "raise SystemExit(3)"])


def test_shares_are_of_all_processes_and_the_machine_has_its_cores():
    text = table(10.0, Counter({"main": 6, "trainer": 2}), cores=2)
    assert "| main | 6.0 | 75% |" in text and text.endswith("8 s of the processor in 10 s: 40% of 2 cores.")


def test_an_override_that_is_given_stands_in_the_place_of_the_default():
    assert replaced(["reuse=off", "train.steps=4"], ["train.steps=8", "seed=1"]) == [
        *("reuse=off", "train.steps=8", "seed=1")
    ]
