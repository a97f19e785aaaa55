"""What a whole sweep leaves on the disk, left alone or killed and continued. Everything is real but vLLM's server."""

import os

import pytest

from experiments.benchmarks.kills import Budget, KilledSweep, environment, undisturbed
from harness.records.load import load_sweep
from harness.report.arm_rows import reuse_rows
from harness.report.cost_text import cost_sentences


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sweep under umask 077 that nobody disturbs: its results, what it came to, and the environment of its server."""
    folder = tmp_path_factory.mktemp("whole")
    env = environment("stand_in", folder)
    program = folder / "recording-python"
    program.write_text(f'#!/bin/sh\nenv > {folder}/environment\nexec {env["HARNESS_VLLM_PYTHON"]} "$@"\n')
    program.chmod(0o755)
    env |= {"HARNESS_VLLM_PYTHON": str(program), "DATABASE_URL": "postgres://me:secret@db"}
    env |= {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""}  # nobody listens
    umask = os.umask(0o077)
    try:
        ending = undisturbed(folder / "results", env, "plain")
    finally:
        os.umask(umask)
    said = dict(line.partition("=")[::2] for line in (folder / "environment").read_text().splitlines())
    return folder / "results", ending, said


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_key_of_the_server_is_in_no_file(whole):
    results, _, said = whole
    key = said["VLLM_API_KEY"]
    assert len(key) == 32
    assert list(results.rglob("*.wandb"))  # what W&B keeps is looked through, too
    assert [path for path in files(results) if key.encode() in path.read_bytes()] == []


def test_no_file_is_more_open_than_the_umask_says(whole):
    results, *_ = whole
    assert len(files(results)) > 10
    assert [path for path in results.rglob("*") if path.lstat().st_mode & 0o077 and not path.is_symlink()] == []


def test_the_server_got_no_secret_and_no_proxy_of_ours(whole):
    *_, said = whole
    assert not {"DATABASE_URL", "HTTP_PROXY", "ALL_PROXY"} & set(said)


class Scripted(Budget):
    """Kills these roles in this order, each as soon as it has a process."""

    def __init__(self, *roles):
        super().__init__(left=len(roles))
        self.script = list(roles)

    def draw(self, roles, rng):
        return self.script.pop(0) if self.script and self.script[0] in roles else None


class AfterAStep(KilledSweep):
    """Kills once a step is recorded."""

    def _draw(self, length):
        return 0.0

    def _kill(self, command, budget):
        if any(path.stat().st_size for path in self.folder.glob("runs/*/*/steps.jsonl")):
            super()._kill(command, budget)


def test_a_sweep_that_was_killed_and_continued_is_one_that_was_not(whole, tmp_path):
    """By `experiments/benchmarks/kills.py`, which does the same at random moments: nothing lost, doubled or left over,
    the same runs, and effects.json to the byte."""
    results, ending, _ = whole
    killed = AfterAStep(0, "plain", tmp_path / "cut", environment("stand_in", tmp_path), seed=0)
    killed.run(ending, Scripted("server", "main", "wandb-core"))
    assert not killed.faults
    assert [(kill.role, kill.resumed) for kill in killed.kills] == [
        ("server", True),
        ("main", True),
        ("wandb-core", True),
    ]
    whole_sweep, continued = load_sweep(results / "smoke"), load_sweep(tmp_path / "cut/smoke")
    assert reuse_rows(continued) == reuse_rows(whole_sweep)
    stored = len(list((tmp_path / "cut/smoke/store/episodes").glob("*/*")))
    assert continued.reuse["episodes"]["computed"] == stored  # each was computed once
    assert cost_sentences(continued)[0].startswith("At least ")
    assert "killed" not in cost_sentences(whole_sweep)[0]
