"""The one door: `harness`, also `python -m harness`. Standard library alone until it is known what is asked.

Without a command it runs a sweep, as Hydra's arguments say (launch/run.py).
"""

import os
import sys
import traceback
from types import TracebackType
from typing import Any

from harness.commands import COMMANDS, load, run_command, unknown
from harness.endings import Outputs, ended, listen, stopped
from harness.errors import Exit, SetupError, exit_of, visible


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A traceback, as Python prints it, without control characters: its texts may come from a server or a policy."""
    print(visible("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)


def door() -> None:
    """Ends the process."""
    sys.excepthook = _show
    outputs = Outputs()
    try:
        listen()
        code: Any = _answer(sys.argv[1:])
    except SystemExit as ending:
        code = ending.code
    except KeyboardInterrupt:
        code = stopped("harness: stopped.")
    sys.exit(ended(code, outputs))


def _answer(arguments: list[str]) -> int:
    """The exit code of what was asked; a sweep ends with SystemExit."""
    first = arguments[0] if arguments else ""
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())  # as `python -m` does: a fix of one's own may lie in this folder
    if first in COMMANDS:
        return run_command(first, arguments[1:])
    try:
        if first == "__complete":  # what the shell asks
            return int(load("harness.launch.completion").answer(arguments[1:]))
        if {"-h", "--help"} & set(arguments):
            return int(load("harness.launch.help").show(arguments))
        if wrong := unknown(first):
            print(f"harness: {wrong}\n`harness --help` lists commands, fixes, ablations and options.", file=sys.stderr)
            return Exit.WRONG_INPUT
        run = load("harness.launch.run").run
    except SetupError as error:
        print(f"harness: {error}", file=sys.stderr)
        return exit_of(error)
    run()
    return Exit.DONE


if __name__ == "__main__":
    door()
