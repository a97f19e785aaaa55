"""Shared by all tests: no network look-ups on import, and configs composed as the command line does."""

import copy
import functools
import gc
import os
import signal
import sys
from pathlib import Path

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.pop("WANDB_API_KEY", None)
os.environ["NETRC"] = os.devnull  # whose keys are whose

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from harness.config import typed
from harness.paths import CONF


def pytest_configure():
    """Started in the background (`pytest &`, nohup) the suite ignores these signals, and the commands that it starts
    would inherit that: a program that is handled is started with the default."""
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    gc.set_threshold(50_000, 20, 100)  # the libraries make a million objects, and drop hardly any
    if "PYTEST_XDIST_WORKER" in os.environ:
        gc.disable()  # until they are there: whoever starts the workers collects no tests


def pytest_xdist_auto_num_workers(config):
    """One more than there are cores: tests with an engine wait for it half of their time."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_finish():
    gc.enable()
    gc.freeze()  # else each full collection goes through all of them


def pytest_collection_modifyitems(items):
    """Files with a real engine first: they take minutes, and one that begins last keeps the other process waiting."""
    slow = {item.path for item in items if item.get_closest_marker("engine")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def sweep_config(tmp_path):
    """The typed config of a sweep from overrides, its results in a temporary folder. runs: each one's own overrides"""

    def make(*overrides: str, runs=((),)):
        composed = [copy.deepcopy(_composed(*overrides, *each)) for each in runs]
        if not any(override.startswith("results=") for override in overrides):
            for config in composed:
                config.results = str(tmp_path)
        return typed(*composed)

    return make


@functools.cache
def _composed(*overrides: str) -> DictConfig:
    """Many tests ask for the same, and it takes a quarter of a second."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are made and become empty pictures: for tests that read what stands beside them."""
    svg = lambda _, out, **__: out.write('<svg height="1" width="1"></svg>')  # noqa: E731
    monkeypatch.setattr("matplotlib.backends.backend_svg.FigureCanvasSVG.print_svg", svg)
    monkeypatch.setattr(
        "matplotlib.backends.backend_agg.FigureCanvasAgg.print_png", lambda _, out, **__: out.write(b"a picture")
    )


@pytest.fixture
def run_config(sweep_config):
    """The typed config of one run from overrides."""
    return lambda *overrides: sweep_config(*overrides).runs[0]


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory):
    """What to add to a command's environment so that a stand-in takes the place of vLLM's server."""
    program = tmp_path_factory.mktemp("stand-in") / "vllm-python"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("stand_in_server.py")} "$@"\n')
    program.chmod(0o755)
    return {"HARNESS_VLLM_PYTHON": str(program)}


@pytest.fixture(scope="session")
def stand_in_with_weights(tmp_path_factory):
    """The same, with the log-probs that the adapters really have."""
    program = tmp_path_factory.mktemp("stand-in") / "vllm-python"
    server = Path(__file__).with_name("stand_in_server.py")
    program.write_text(f'#!/bin/sh\nSTAND_IN=\'{{"weights": true}}\' exec {sys.executable} {server} "$@"\n')
    program.chmod(0o755)
    return {"HARNESS_VLLM_PYTHON": str(program)}
