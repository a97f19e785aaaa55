"""Everything that can go wrong, by who has to act.

HarnessError
├── ConfigError    the input is wrong: change the command or the file it names
│   └── SetupError     what it asks for could not be fetched or installed: look at the network, disk or log it names
├── EngineError    the server or the trainer failed: look at the log it names, run the same command again
├── StoreError     a stored result cannot be read or written, or records differ from a replay
│   └── DiskError      a file cannot be written: make room or choose another folder, run the same command again
└── EpisodeError   one episode met an infrastructure failure: it is retried, then counted as missing
    ├── MissingLogprobs   no reply carried the log-probs that were needed: who needs none may ask again without
    └── UserError         the user, a model, gave no answer that can be used

Each message says what happened, what was expected, and what to do next.
"""

import difflib
import re
import traceback
from collections.abc import Iterable, Mapping
from enum import IntEnum

# All but tab and newline, and halves of surrogate pairs, as JSON and file names may hold, which UTF-8 cannot
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class Exit(IntEnum):
    """How a command ends."""

    DONE = 0
    FAILED = 1  # a run failed, or what all runs share
    WRONG_INPUT = 2
    INVALID = 3  # done, but in some run a switch did not take effect
    PRESENT = 3  # of `harness probe`: done, and some symptom is present
    HUNG_UP = 129  # SIGHUP: the terminal was closed
    INTERRUPTED = 130  # Ctrl-C
    TERMINATED = 143  # SIGTERM


def visible(text: str) -> str:
    """A text for a terminal: control characters are written out, as \\x1b, but for tabs and newlines. What a policy, a
    server or a record says must not move the cursor, colour the screen or set its title, nor fail to be encoded."""
    return _CONTROLS.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


class HarnessError(Exception):
    """Base of every error that the harness raises on purpose. As text it may go to a terminal (see `visible`)."""

    def __str__(self) -> str:
        return visible(super().__str__())


class ConfigError(HarnessError):
    """The configuration or the command line is wrong. Raised before anything expensive starts."""


class SetupError(ConfigError):
    """Something that has to be here could not be fetched or installed. The command is right: help it, run it again."""


class EngineError(HarnessError):
    """The sampler (vLLM server) or the trainer failed. What was computed so far is kept."""


class StoreError(HarnessError):
    """A stored result cannot be read or written, or a run's records differ from what was computed again."""


class DiskError(StoreError):
    """A file cannot be written (disk.py says why). No other run can be recorded either: all stop, none is failed."""


class EpisodeError(HarnessError):
    """Infrastructure failed within one episode. Retried; then missing data, never reward 0.

    spent: what the episode's user, a model, had cost by then
    """

    spent: Mapping[str, int] | None = None


class MissingLogprobs(EpisodeError):
    """The deployment dropped the log-probs of a reply that needed them, or sent some that are no numbers."""


class UserError(EpisodeError):
    """A user who is a model gave no answer that can be used, in all attempts."""


def raised(error: BaseException) -> str:
    """'ValueError: no tasks (mine/envs.py, line 12)': what somebody's code raised, and where"""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({frame.filename}, line {frame.lineno})"


def exit_of(error: HarnessError) -> Exit:
    """How a command ends that met this error: wrong input, unless nothing is wrong with what was typed."""
    typed_wrong = isinstance(error, ConfigError) and not isinstance(error, SetupError)
    return Exit.WRONG_INPUT if typed_wrong else Exit.FAILED


def closest(word: str, valid: Iterable[object]) -> str:
    """` Did you mean 'x'?`, or nothing when no valid word is near."""
    near = difflib.get_close_matches(word, [str(v) for v in valid], n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
