"""How a command ends that is stopped, or whose output nobody takes: what is said, and the exit code."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.endings import CONTINUE, STOPPING, Outputs
from harness.errors import Exit

STOPS = [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.TERMINATED), (signal.SIGHUP, Exit.HUNG_UP)]

# Work that a signal stops: its end takes no time, or (stubborn) for ever; "plain" is a command without an event loop.
WORK = """
import asyncio, sys, time
from harness.endings import CONTINUE, listen, run_stoppable, stoppable, stopped

async def work():
    with stoppable():
        print("working", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            if "stubborn" in sys.argv:
                await asyncio.Event().wait()
            if "engine" in sys.argv:
                raise RuntimeError("the engine is gone")

listen()
try:
    if "plain" in sys.argv:
        print("working", flush=True)
        time.sleep(600)
    run_stoppable(work())
except KeyboardInterrupt:
    code = stopped(CONTINUE)
    if "stubborn" in sys.argv:
        time.sleep(600)  # as an interpreter that waits for its threads
    sys.exit(code)
"""


@pytest.fixture
def start():
    """(arguments) -> the process, once it works. Whatever the test finds, none is left."""
    started = []

    def popen(*arguments: str, **options) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WORK, *arguments]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options))
        assert started[-1].stdout.readline() == "working\n"
        return started[-1]

    yield popen
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "code"), STOPS)
def test_the_first_signal_is_answered_at_once_and_the_work_ends_in_order(number, code, start):
    process = start()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (code, f"{STOPPING}\n{CONTINUE}\n")


def test_what_the_stop_brings_about_is_no_error(start):
    process = start("engine")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, f"{STOPPING}\n{CONTINUE}\n")


@pytest.mark.parametrize(("number", "code"), STOPS)
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_the_process_there_and_then(number, code, second, start):
    """Also while the first one's end hangs. The code is that of the first."""
    process = start("stubborn")
    process.send_signal(number)
    assert process.stderr and process.stderr.readline() == f"{STOPPING}\n"
    process.send_signal(second)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (code, "Stopped at once.\n")


@pytest.mark.parametrize(("number", "code"), STOPS)
def test_a_command_without_an_event_loop_stops_at_the_first_signal(number, code, start):
    process = start("plain")
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (code, f"{CONTINUE}\n")


def test_the_second_signal_also_cuts_off_an_interpreter_that_does_not_end(start):
    process = start("plain", "stubborn")
    process.send_signal(signal.SIGTERM)
    assert process.stderr and process.stderr.readline() == f"{CONTINUE}\n"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (143, "Stopped at once.\n")


@pytest.mark.parametrize("how", [(), ("plain",)], ids=["a sweep", "a command"])
def test_what_the_starter_ignores_stays_ignored(how, start):
    """nohup ignores SIGHUP, a shell's background job SIGINT."""

    def ignore():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    process = start(*how, preexec_fn=ignore)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == Exit.TERMINATED, errors


# A command that prints more than a pipe holds, then writes a file: the work that must not be lost.
PRINTS = """
import sys
from pathlib import Path
import harness.__main__ as door

def answer(arguments):
    for number in range(20_000):
        print("line", number)
    print("about it", file=sys.stderr)
    Path(sys.argv[1]).touch()
    return 3

door._answer = answer
door.door()
"""


def prints(tmp_path: Path, **options) -> tuple[subprocess.Popen[bytes], Path]:
    done = tmp_path / "done"
    return subprocess.Popen([sys.executable, "-c", PRINTS, str(done)], **options), done


def test_work_goes_on_when_the_reader_has_read_enough(tmp_path):
    process, done = prints(tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"line 0\n"
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (3, b"about it\n") and done.exists()


def test_work_goes_on_when_the_terminal_is_gone(tmp_path):
    """As after nohup: a terminal that is closed answers EIO, on both streams."""
    ours, theirs = pty.openpty()
    process, done = prints(tmp_path, stdout=theirs, stderr=theirs)
    os.close(theirs)
    assert os.read(ours, 4) == b"line"
    os.close(ours)
    process.wait(60)
    assert process.returncode == 3 and done.exists()


def test_output_that_a_full_disk_does_not_take_is_said_and_no_success():
    command = [sys.executable, "-m", "harness", "completion", "bash"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == Exit.FAILED
    assert done.stderr.startswith("harness: the output could not be written: No space left on device.")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_stream_is_no_error(closed):
    command = f"{sys.executable} -m harness policy list {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


ENCODED = [("ascii", "* o - x >= \\u4f60"), ("latin-1", "* o - × >= \\u4f60"), ("utf-8", "● ○ − × ≥ 你")]


@pytest.mark.parametrize(("encoding", "shown"), ENCODED)
def test_a_terminal_that_lacks_a_character_gets_a_plain_one(encoding, shown):
    script = "from harness.endings import Outputs; Outputs(); print('● ○ − × ≥ 你')"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment)
    assert done.stdout.decode(encoding) == f"{shown}\n"


def test_streams_that_are_no_descriptors_stay_what_they_are(capsys):
    before = sys.stdout
    Outputs()
    assert sys.stdout is before
