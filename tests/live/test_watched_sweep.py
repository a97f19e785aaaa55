"""A sweep of the real command that is watched and stopped by its page. Everything is real but vLLM's server."""

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from urllib.parse import urlencode, urlparse

import pytest

from harness.live.server import WatchServer

pytestmark = pytest.mark.engine

TINY = [
    "+ablation=smoke",
    "train.steps=100",
    "train.groups_per_step=3",
    "train.rollouts_per_group=4",
    "train.val_tasks=50",
    "validation.max_tasks=6",
    "backend.device=cpu",
    "backend.in_flight=16",
    "tracking=off",
]


@pytest.fixture
def sweep(stand_in, tmp_path):
    command = [sys.executable, "-m", "harness", *TINY, f"results={tmp_path}"]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=os.environ | stand_in, **output) as started:
        yield started
        started.kill()


@pytest.fixture
def server(sweep, tmp_path):
    wait_for((tmp_path / "smoke/logs/now.json").exists, sweep)
    with WatchServer(tmp_path / "smoke") as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def wait_for(what, sweep):
    deadline = time.monotonic() + 300
    while not what():
        if sweep.poll() is not None or time.monotonic() > deadline:
            sweep.kill()
            pytest.fail(sweep.communicate()[0])
        time.sleep(0.2)


def read(url, **post):
    request = urllib.request.Request(url, urlencode(post).encode() if post else None)
    if post:
        request.add_header("Origin", f"http://{urlparse(url).netloc}")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read().decode()


def test_its_page_follows_it_and_its_button_stops_it_in_order(sweep, server, tmp_path):
    wait_for(lambda: "at step 1" in json.loads(read(f"{server.url}now"))["html"], sweep)
    page = read(server.url)
    assert "<b>Running</b>" in page and 'class="curves"' in page and 'class="verdict"' not in page
    (token,) = re.findall(r'name="token" value="([^"]*)"', page)
    assert "<b>Stopping</b>" in read(f"{server.url}stop", token=token)
    output, _ = sweep.communicate(timeout=120)
    assert sweep.returncode == 130, output
    assert "The same command continues where it stopped" in output and "Traceback" not in output
    assert "Nothing computes here now" in read(server.url)
    assert not (tmp_path / "smoke/logs/stop").exists()
