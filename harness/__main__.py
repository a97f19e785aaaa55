"""The one door: `harness`, also `python -m harness`. Standard library alone until it is known what is asked.

Without a command it runs a sweep, as Hydra's arguments say (launch/run.py).
"""

import io
import os
import sys

from harness.commands import COMMANDS, load, run_command, unknown
from harness.errors import Exit, SetupError, exit_of


def door() -> None:
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
