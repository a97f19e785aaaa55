"""What a whole sweep leaves on the disk. Everything is real but vLLM's server."""

import os
import subprocess
import sys

import pytest

TINY = ["train.steps=1", "train.groups_per_step=1", "train.rollouts_per_group=2", "validation.max_tasks=1"]
TINY += ["train.val_tasks=50", "backend.device=cpu", "tracking=wandb", "sweep=doors"]


@pytest.fixture(scope="module")
def swept(stand_in, tmp_path_factory):
    """The results of a sweep under umask 077, the server's key, and the environment that the server had."""
    folder = tmp_path_factory.mktemp("swept")
    program = folder / "vllm-python"
    program.write_text(f'#!/bin/sh\nenv > {folder}/environment\nexec {stand_in["HARNESS_VLLM_PYTHON"]} "$@"\n')
    program.chmod(0o755)
    ours = os.environ | {"HARNESS_VLLM_PYTHON": str(program), "DATABASE_URL": "postgres://me:secret@db"}
    ours |= {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""}  # nobody listens
    command = [sys.executable, "-m", "harness", *TINY, f"results={folder / 'results'}"]
    done = subprocess.run(command, env=ours, capture_output=True, text=True, umask=0o077, check=False)
    assert (folder / "results" / "doors" / "report.md").is_file(), done.stdout + done.stderr
    said = dict(line.partition("=")[::2] for line in (folder / "environment").read_text().splitlines())
    return folder / "results", said["VLLM_API_KEY"], said


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_key_of_the_server_is_in_no_file(swept):
    results, key, _ = swept
    assert len(key) == 32
    assert [path for path in files(results) if key.encode() in path.read_bytes()] == []


def test_no_file_is_more_open_than_the_umask_says(swept):
    results, _, _ = swept
    assert len(files(results)) > 10
    assert [path for path in results.rglob("*") if path.lstat().st_mode & 0o077 and not path.is_symlink()] == []


def test_the_server_got_no_secret_and_no_proxy_of_ours(swept):
    _, _, said = swept
    assert not {"DATABASE_URL", "HTTP_PROXY", "ALL_PROXY"} & set(said)
