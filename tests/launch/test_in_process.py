"""One engine in this process: one that is lost is replaced, and goes on with the runs that have not ended."""

import pytest

from harness.errors import EngineError
from harness.launch import in_process
from harness.launch.engine_pool import STARTS
from harness.sweep.plan import prepare

NAMES = ["without_tools/seed=0", "all_on/seed=0"]


@pytest.fixture
def train(sweep_config, monkeypatch):
    """train(*engines): trains two runs on engines that are asked one after another; what each was given.

    An engine is the names of the runs that it ends, and whether it is lost after them; None: it does not start.
    """
    sweep = prepare(sweep_config("sweep=s", runs=[["fix/tools=off"], []]))

    def run(*engines):
        given, coming = [], iter(engines)

        async def work(sweep, batches, progress, counts, logs, store):
            engine = next(coming)
            if engine is None:
                raise EngineError("no port left")
            ends, lost = engine
            async for runs in batches:
                given.append([config.run.name for config in runs])
                for name in ends:
                    progress.finish_run(name, "completed", "valid")
                if lost:
                    raise EngineError("out of cheese.")

        monkeypatch.setattr(in_process, "work", work)
        try:
            in_process.train_here(sweep, sweep.config.runs)
        except EngineError as error:
            return given, str(error)
        return given, None

    return run


def test_the_next_engine_gets_the_runs_that_have_not_ended(train, capsys):
    given, error = train(([NAMES[0]], True), ([NAMES[1]], False))
    assert (given, error) == ([NAMES, NAMES[1:]], None)
    assert "the engine is lost: out of cheese. Another one starts." in capsys.readouterr().out


def test_an_engine_that_does_not_start_is_not_tried_again(train):
    assert train(None) == ([], "no port left")


def test_engines_that_are_lost_without_a_run_ended_are_replaced_a_few_times(train):
    given, error = train(*[([], True)] * STARTS)
    assert (given, error) == ([NAMES] * STARTS, "out of cheese.")


def test_a_run_that_ends_between_makes_the_losses_count_anew(train):
    given, error = train(*[([], True)] * (STARTS - 1), ([NAMES[0]], True), *[([], True)] * (STARTS - 1), None)
    assert given[-1] == NAMES[1:] and error == "no port left"
