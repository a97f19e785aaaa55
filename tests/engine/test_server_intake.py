"""New requests wait in the server as long as stopping the others for them would cost more, and no longer."""

import importlib.util

import pytest

from harness.engine.process import SERVER_SIDE


def load():
    spec = importlib.util.spec_from_file_location("harness_vllm_intake", SERVER_SIDE / "harness_vllm_intake.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


intake = load()


def fake():
    """A class as vLLM's scheduler: what runs goes on, what waits is taken in unless it is paused."""

    class Scheduler:
        def __init__(self, waiting, running):
            self.waiting, self.running, self._pause_state = [0] * waiting, [0] * running, "unpaused"

        def schedule(self):
            if self._pause_state == "unpaused":
                self.running += self.waiting
                self.waiting = []
            return len(self.running)

    return Scheduler


def steps_until_taken_in(waiting, running, extra=4.0):
    scheduler_class = fake()
    intake.patch(scheduler_class, "unpaused", "paused", extra)
    scheduler = scheduler_class(waiting, running)
    for step in range(10_000):
        scheduler.schedule()
        assert scheduler._pause_state == "unpaused"  # as it was, for whoever asks between two steps
        if not scheduler.waiting:
            return step
    pytest.fail("never taken in")


CASES = [(1, 0, 0), (200, 5, 0), (1, 1, 3), (1, 200, 799), (40, 200, 19)]


@pytest.mark.parametrize(("waiting", "running", "steps"), CASES)
def test_the_waiting_of_all_is_weighed_against_the_loss_of_all(waiting, running, steps):
    assert steps_until_taken_in(waiting, running) == steps


def test_waiting_is_counted_anew_after_an_intake():
    scheduler_class = fake()
    intake.patch(scheduler_class, "unpaused", "paused", 4.0)
    scheduler = scheduler_class(10, 5)
    scheduler.schedule(), scheduler.schedule()
    assert scheduler.waiting == [] and len(scheduler.running) == 15
    scheduler.waiting = [0] * 15
    assert [scheduler.schedule() for _ in range(4)] == [15, 15, 15, 30]


def test_a_pause_that_somebody_else_asked_for_stays():
    scheduler_class = fake()
    intake.patch(scheduler_class, "unpaused", "paused", 4.0)
    scheduler = scheduler_class(1, 10)
    scheduler._pause_state = "all paused"
    scheduler.schedule()
    assert scheduler._pause_state == "all paused" and scheduler.waiting == [0]


def test_patching_twice_is_patching_once():
    scheduler_class = fake()
    intake.patch(scheduler_class, "unpaused", "paused", 4.0)
    once = scheduler_class.schedule
    intake.patch(scheduler_class, "unpaused", "paused", 4.0)
    assert scheduler_class.schedule is once


def test_nothing_is_changed_unless_it_is_asked_for(monkeypatch):
    monkeypatch.setenv(intake.EXTRA, "0")
    intake.apply()  # would import vLLM, which is not in this environment
