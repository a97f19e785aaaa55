"""Progress that is read from the records of runs elsewhere."""

import json

import pytest

from harness.sweep.watch import Watch
from harness.tracking import given_up


class Shown:
    """What a display was told."""

    def __init__(self):
        self.said: list[tuple] = []

    def start_run(self, run):
        self.said.append(("start", run))

    def step(self, run, step, validation):
        self.said.append(("step", step, validation))

    def finish_run(self, run, state, validity):
        self.said.append(("finish", state, validity))

    def warn(self, text):
        self.said.append(("warn", text))


@pytest.fixture
def run(tmp_path):
    """A run's folder, a writer of its status, and what a watch of it shows at each look."""

    class Watched:
        folder = tmp_path / "runs" / "all_on/seed=0"

        def status(self, **status):
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "status.json").write_text(json.dumps(status))

        def watch(self):
            self.shown = Shown()
            self.watched = Watch(tmp_path, ["all_on/seed=0"], self.shown)

        def look(self, *settled):
            before = len(self.shown.said)
            self.watched.look(settled)
            return self.shown.said[before:]

    return Watched()


def test_a_run_is_shown_from_start_to_end(run):
    run.watch()
    assert run.look() == []
    run.status(state="running")
    assert run.look() == [("start", "all_on/seed=0")]
    (run.folder / "validation.jsonl").write_text('{"step": 0, "reference": {"mean": 0.25}}\n')
    (run.folder / "steps.jsonl").write_text('{"step": 1}\n')
    assert run.look() == [("step", 1, 0.25)]
    assert run.look() == []
    run.status(state="completed", validity="valid")
    assert run.look() == [("finish", "completed", "valid")]
    assert run.look("all_on/seed=0") == []


def test_what_an_earlier_start_left_is_no_news(run):
    run.status(state="running", left="by a killed sweep")
    run.watch()
    assert run.look() == []


def test_a_failed_run_is_shown_once_no_engine_will_train_it_again(run):
    run.watch()
    run.status(state="running")
    run.look()
    run.status(state="failed", error="the server died")
    assert run.look() == []
    run.status(state="running", again=True)
    assert run.look() == []
    run.status(state="failed", error="the server died once more")
    assert run.look("all_on/seed=0") == [("finish", "failed", None)]


def test_that_an_engine_gave_wandb_up_is_shown_once(run, tmp_path):
    (tmp_path / "logs").mkdir()
    run.watch()
    given_up.say_once(tmp_path, lambda _: None, "no network")
    ((kind, line),) = run.look()
    assert kind == "warn" and "no network" in line
    assert run.look() == []
