"""A child process answers what it is asked, says what went wrong, and never outlives its starter."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from harness import heartbeat
from harness.child_process import PEAKS, ChildProcess
from harness.errors import ConfigError, EngineError

MODULE = "tests.child_of_tests"
ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def found_from_here(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@asynccontextmanager
async def child(tmp_path, greeting="you", **options):
    process = ChildProcess("A child", MODULE, tmp_path / "child.log", **options)
    try:
        process.greeted = await process.start(greeting)
        yield process
    finally:
        await process.close()


def run(tmp_path, use, greeting="you", **options):
    async def within():
        async with child(tmp_path, greeting, **options) as process:
            return await use(process)

    return asyncio.run(asyncio.wait_for(within(), 60))  # a process that hangs must not keep the suite


def test_each_question_gets_its_own_answer_whichever_comes_first(tmp_path):
    async def ask(process):
        return process.greeted, await asyncio.gather(*(process.ask(number) for number in (1, 2, 3)))

    assert run(tmp_path, ask) == ("hello you", [2, 4, 6])


def test_a_process_may_have_a_card_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert run(tmp_path, lambda process: process.ask("card")) == "0,1"
    assert run(tmp_path, lambda process: process.ask("card"), environment={"CUDA_VISIBLE_DEVICES": "1"}) == "1"


def test_what_libraries_print_goes_to_the_log_and_not_into_the_answers(tmp_path):
    assert run(tmp_path, lambda process: process.ask("print")) == "printed"
    assert "a library's line" in (tmp_path / "child.log").read_text()


def test_what_a_process_has_loaded_is_never_collected_and_what_comes_as_usual(tmp_path):
    frozen, threshold = run(tmp_path, lambda process: process.ask("collector"))
    assert frozen > 10_000 and threshold == (700, 10, 10)


@pytest.mark.parametrize(
    ("question", "error", "text"),
    [("wrong", ConfigError, "^so wrong$"), ("break", RuntimeError, "^A child failed: ZeroDivisionError: division by")],
)
def test_an_error_of_an_answer_reaches_its_asker_alone(tmp_path, question, error, text):
    async def ask(process):
        with pytest.raises(error, match=text):
            await process.ask(question)
        return await process.ask(4)

    assert run(tmp_path, ask) == 8


@pytest.mark.parametrize(
    ("greeting", "error", "text"),
    [("refuse", ConfigError, "no such thing"), ("die", EngineError, r"A child ended \(status 3\)\..*child\.log")],
)
def test_a_process_that_cannot_greet_says_why(tmp_path, greeting, error, text):
    with pytest.raises(error, match=text):
        run(tmp_path, lambda process: process.ask(1), greeting)


def test_the_open_questions_of_a_process_that_dies_fail_and_so_do_later_ones(tmp_path):
    async def ask(process):
        busy = asyncio.create_task(process.ask("busy"))
        os.kill(await process.ask("pid"), signal.SIGKILL)
        for question in (busy, process.ask(1)):
            with pytest.raises(EngineError, match=r"A child ended \(status -9\)"):
                await question
        with pytest.raises(EngineError, match="Run the same command again"):
            process.assert_alive()

    run(tmp_path, ask)


def test_closing_does_not_wait_for_work_that_nobody_asks_for_any_more(tmp_path):
    begun = time.monotonic()

    async def ask(process):
        busy = asyncio.create_task(process.ask("busy"))
        pid = await process.ask("pid")
        await process.close()
        with pytest.raises(EngineError, match="A child ended"):
            await busy
        return pid

    pid = run(tmp_path, ask)
    assert not Path(f"/proc/{pid}").exists()
    assert time.monotonic() - begun < 10
    assert PEAKS[-1] > 0


def test_a_busy_child_ends_when_its_starter_is_killed(tmp_path):
    program = f"""
import asyncio, sys
from pathlib import Path
from harness import heartbeat
from harness.child_process import ChildProcess

async def main():
    child = ChildProcess("A child", "{MODULE}", Path("{tmp_path}/child.log"))
    await child.start("you")
    busy = asyncio.create_task(child.ask("busy"))
    print(await child.ask("pid"), flush=True)
    await busy

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as starter:
        pid = int(starter.stdout.readline())
        starter.kill()
    assert ended(pid)


def ended(pid, within=10.0):
    """Whether the process goes away within so many seconds."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


def test_a_log_that_a_full_disk_does_not_take_keeps_no_answer_back():
    async def ask():
        process = ChildProcess("A child", MODULE, Path("/dev/full"))
        try:
            await process.start("you")
            assert await process.ask("print") == "printed"
            with pytest.raises(RuntimeError, match="ZeroDivisionError"):
                await asyncio.wait_for(process.ask("break"), 60)
        finally:
            await process.close()

    asyncio.run(ask())


@pytest.fixture
def impatient(monkeypatch):
    """The times after which a silent process is spoken of and given up, as fractions of a second."""
    bounds = {"HEARTBEAT": 0.1, "LOOK": 0.05, "SILENCE": 0.3, "IDLE_LIMIT": 0.8, "BUSY_LIMIT": 30.0}
    for name, seconds in bounds.items():
        monkeypatch.setattr(heartbeat, name, seconds)


def test_a_process_that_is_stopped_is_spoken_of_then_ended_and_everybody_is_told(tmp_path, impatient):
    async def ask(process):
        notes = []
        process.note = notes.append
        pid = await process.ask("pid")
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(EngineError, match=r"A child gave no answer for \d s and was ended\. Its log is"):
            await asyncio.wait_for(process.ask(4), 20)
        with pytest.raises(EngineError, match="gave no answer"):
            process.assert_alive()
        assert ended(pid)
        return notes

    (note,) = run(tmp_path, ask)
    assert note.startswith("a child has given no answer for 0 s and computes nothing")


def test_a_process_that_is_stopped_before_it_has_greeted_is_ended(tmp_path, impatient):
    with pytest.raises(EngineError, match="gave no answer"):
        run(tmp_path, lambda process: process.ask(1), "stop")


def test_a_process_that_computes_is_waited_for(tmp_path, impatient):
    """Whether its event loop answers meanwhile, or not: twice as long as one that computes nothing."""

    async def ask(process):
        process.computes = True
        return await process.ask("compute"), await process.ask("compute in a thread")

    assert run(tmp_path, ask) == ("computed", "computed")


def test_one_whose_thread_waits_for_ever_is_ended_where_it_was_to_compute(tmp_path, impatient):
    async def ask(process):
        process.computes = True
        with pytest.raises(EngineError, match=r"A child computed nothing for \d s of what it was asked, and was ended"):
            await asyncio.wait_for(process.ask("busy"), 20)

    run(tmp_path, ask)


def test_one_that_is_never_without_a_short_question_is_let_be(tmp_path, impatient):
    """As the trainer of many runs on a slow machine: it computes little, and yet every question is answered."""

    async def ask(process):
        process.computes = True

        async def one_after_another():
            for _ in range(6):
                assert await process.ask("wait") == "waited"

        first = asyncio.create_task(one_after_another())
        await asyncio.sleep(0.15)
        await asyncio.gather(first, one_after_another())

    run(tmp_path, ask)


def test_one_that_was_asked_for_nothing_or_waits_for_others_is_let_be(tmp_path, impatient):
    async def ask(process):
        await asyncio.sleep(1.5)
        waiting = asyncio.create_task(process.ask("busy"))
        await asyncio.sleep(1.5)
        process.assert_alive()
        waiting.cancel()

    run(tmp_path, ask)


def test_time_in_which_nobody_looked_is_not_held_against_a_process(tmp_path, impatient):
    """As after Ctrl-Z and fg."""

    async def ask(process):
        pid = await process.ask("pid")
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(0.3)  # a sign of life has been asked for
        time.sleep(2)
        os.kill(pid, signal.SIGCONT)
        assert await process.ask(4) == 8

    run(tmp_path, ask)


def test_it_ends_with_its_starter_while_it_loads_libraries_too(tmp_path):
    """Found by `experiments/benchmarks/kills.py`: a trainer that was loading torch outlived a killed sweep."""
    starter = (
        "import asyncio\n"
        "from pathlib import Path\n"
        "from harness.child_process import ChildProcess\n"
        f"child = ChildProcess('A child', 'tests.slow_child_of_tests', Path({str(tmp_path / 'child.log')!r}))\n"
        "asyncio.run(child.start('you'))"
    )
    process = subprocess.Popen([sys.executable, "-c", starter])
    deadline = time.monotonic() + 60
    while not (below := psutil.Process(process.pid).children()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert below
    _, alive = psutil.wait_procs(below, timeout=30)
    assert not alive
