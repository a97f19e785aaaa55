"""What every process of the harness sets for itself and its children."""

import asyncio
import os
import subprocess
import sys

import pytest

from harness.completion import Request, complete
from harness.launch.quiet import quiet
from tests.fake_server import completion, serving, settled

PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Without the machine's own proxies; what `quiet` sets goes with the test."""
    for name in (*PROXIES, "no_proxy", "NO_PROXY", "WANDB_SILENT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


def test_a_players_request_to_this_machine_meets_no_proxy(environment):
    with serving(completion("from a proxy")) as (proxy, captured), serving(completion("from the server")) as (url, _):
        for name in PROXIES:
            environment.setenv(name, proxy.removesuffix("/v1"))
        quiet()
        request = Request(url, "key", "hosted_vllm/p@1", [{"role": "user", "content": "Begin."}], (), 0.7, 32, 5, True)
        reply = settled(complete(request, asyncio.Semaphore(1), need_logprobs=True))
    assert (reply.turn.content, captured) == ("from the server", [])


LOOPBACK = "127.0.0.1,localhost,::1"
UNPROXIED = [
    ({}, LOOPBACK),
    ({"NO_PROXY": "intern.example"}, f"intern.example,{LOOPBACK}"),
    ({"no_proxy": "localhost, intern.example"}, "localhost,intern.example,127.0.0.1,::1"),
    ({"no_proxy": "small.example", "NO_PROXY": "LARGE.example"}, f"small.example,{LOOPBACK}"),  # as clients look
    ({"NO_PROXY": "*"}, "*"),
]


@pytest.mark.parametrize(("given", "expected"), UNPROXIED)
def test_what_the_user_excepts_from_proxies_stays(environment, given, expected):
    for name, value in given.items():
        environment.setenv(name, value)
    quiet()
    assert (os.environ["no_proxy"], os.environ["NO_PROXY"]) == (expected, expected)


ASKED = """
import asyncio, sys
asked = set()

def note(event, about):
    if event == "socket.getaddrinfo":
        asked.add(str(about[0]))
    if event == "socket.connect" and isinstance(about[1], tuple):
        asked.add(str(about[1][0]))

sys.addaudithook(note)
from harness.launch.quiet import quiet
quiet()
import harness.backend.shared, harness.engine.trainer_process, harness.launch.engine_process, harness.launch.one_run
import harness.player_pool, harness.tracking.wandb_process, wandb
from harness.env import load_domain
from harness.episode_player import EpisodePlayer, Job, Sampling
job = Job(sys.argv[1], "key", "hosted_vllm/p@1", "mock_000", Sampling(0.7, 32, 4), 5, True)
episode = asyncio.run(EpisodePlayer(load_domain("mock"), 1).play(job))
print(episode.end, sorted(asked))
"""


def test_what_a_sweeps_processes_import_and_an_episode_ask_nobody_but_this_machine():
    """litellm would fetch prices, transformers look at the hub, tau2 and wandb bring clients of their own."""
    ours = ("LITELLM_", "HF_", "WANDB_", "TQDM_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    with serving(completion()) as (url, _):
        command = [sys.executable, "-c", ASKED, url]
        done = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines()[-1:] == ["user_stop ['127.0.0.1']"], done.stderr
