"""The one door: `harness`, also `python -m harness`. Standard library alone until it is known what is asked.

Without a command it runs a sweep, as Hydra's arguments say (launch/run.py).
"""

import io
import os
import sys
import traceback
from types import TracebackType

from harness.commands import COMMANDS, load, run_command, unknown
from harness.errors import Exit, SetupError, exit_of, visible


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A traceback, as Python prints it, without control characters: its texts may come from a server or a policy."""
    print(visible("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)


def door() -> None:
    sys.excepthook = _show
    for stream in (sys.stdout, sys.stderr):  # a terminal that is not UTF-8 gets other characters, not an error
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:]
    first = arguments[0] if arguments else ""
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())  # as `python -m` does: a fix of one's own may lie in this folder
    if first in COMMANDS:
        sys.exit(run_command(first, arguments[1:]))
    try:
        if first == "__complete":  # what the shell asks
            sys.exit(load("harness.launch.completion").answer(arguments[1:]))
        if {"-h", "--help"} & set(arguments):
            sys.exit(load("harness.launch.help").show(arguments))
        if wrong := unknown(first):
            print(f"harness: {wrong}\n`harness --help` lists commands, fixes, ablations and options.", file=sys.stderr)
            sys.exit(Exit.WRONG_INPUT)
        run = load("harness.launch.run").run
    except SetupError as error:
        print(f"harness: {error}", file=sys.stderr)
        sys.exit(exit_of(error))
    run()


if __name__ == "__main__":
    door()
