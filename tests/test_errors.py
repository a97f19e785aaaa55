"""What an error says may come from a server or a policy: it is text for a terminal, never its commands."""

import os
import subprocess
import sys

import pytest

from harness.errors import ConfigError, EngineError, visible
from harness.launch.doctor import Report
from harness.sweep.display import Progress

ESCAPES = "\x1b]0;title\x07\x1b[31m\x9b2J\r\x08"
WRITTEN = r"\x1b]0;title\x07\x1b[31m\x9b2J\x0d\x08"


def test_control_characters_are_written_out_and_lines_stay():
    assert visible(f"one\n\ttwo {ESCAPES} – é 你好") == f"one\n\ttwo {WRITTEN} – é 你好"


def test_half_a_surrogate_pair_which_no_terminal_can_be_sent_is_written_out():
    assert visible("\ud800 \udcff 🙂") == r"\ud800 \udcff 🙂"


@pytest.mark.parametrize("kind", [ConfigError, EngineError])
def test_an_error_shows_what_a_server_said_without_its_escapes(kind):
    assert str(kind(f"It said {ESCAPES}")) == f"It said {WRITTEN}"


def test_an_error_that_nobody_expected_does_so_too():
    program = (
        "import sys; from harness import __main__ as m\n"
        f"def load(module): raise RuntimeError({ESCAPES!r})\n"
        "m.load = load; sys.argv = ['harness', 'a=b']; m.door()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=os.environ, check=False)
    assert done.returncode == 1
    assert WRITTEN.encode() in done.stderr and b"Traceback" in done.stderr and b"\x1b" not in done.stderr


def test_what_shows_the_progress_and_the_machine_does_so_too(capsys):
    with Progress(total_runs=1, total_steps=1) as progress:
        progress.start_run(f"[red]{ESCAPES}")
        progress.note(ESCAPES)
        progress.finish_run(ESCAPES, "failed", None)
    report = Report()
    report.say(ESCAPES)
    report.todo(ESCAPES)
    shown = capsys.readouterr().out + "".join(report.lines)
    assert "\x1b" not in shown and "\x07" not in shown and "\x9b" not in shown
    assert f"[red]{WRITTEN} started" in shown and shown.count(WRITTEN) == 5
