"""A run's model is admitted, trained and released; the backend learns how the run is rendered."""

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.fixes import toolcalls, toolorder
from harness.seams import Rendering
from harness.sweep.runner import Runner
from tests.fakes import RUN, SEAMS


class Backend:
    def __init__(self):
        self.admitted, self.released = [], []

    async def admit(self, model, run, seed, rendering):
        self.admitted.append((model.name, run, seed, rendering))

    async def check_base(self):
        return 0.25

    async def release(self, model):
        self.released.append(model.name)


def run(seams, monkeypatch, loop):
    monkeypatch.setattr("harness.sweep.runner.run_loop", loop)
    sweep = SimpleNamespace(name="s", policy=SimpleNamespace(path=Path("checkpoint")))
    runner = Runner(sweep, Backend(), None, None, None)
    config, progress = SimpleNamespace(run=RUN, seams=seams), SimpleNamespace(step=lambda *_: None)
    try:
        return runner.backend, asyncio.run(runner.run(config, None, progress))
    except RuntimeError as error:
        return runner.backend, error


async def trained(*_):
    return ["a check"]


RENDERINGS = [
    ((), Rendering()),
    ((toolcalls.On(), toolorder.On()), Rendering()),
    ((toolcalls.Off(), toolorder.On()), Rendering(calls="twice")),
    ((toolcalls.Off(), toolorder.Off()), Rendering("stock", "twice")),
]


@pytest.mark.parametrize(("further", "rendering"), RENDERINGS)
def test_a_run_is_admitted_with_the_rendering_of_its_levels(further, rendering, monkeypatch):
    backend, result = run(replace(SEAMS, further=further), monkeypatch, trained)
    name = f"{RUN.arm.name}-seed5"
    assert backend.admitted == [(name, RUN.name, 5, rendering)]
    assert result == (["a check"], 0.25) and backend.released == [name]


def test_a_run_that_fails_is_released(monkeypatch):
    async def fails(*_):
        raise RuntimeError("out of cheese")

    backend, result = run(SEAMS, monkeypatch, fails)
    assert str(result) == "out of cheese" and len(backend.released) == 1
