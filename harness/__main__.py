"""The one door: `harness`, also `python -m harness`. Standard library alone until a command is chosen.

Without a command it runs a sweep, as Hydra's arguments say (launch/run.py).
"""

import importlib
import io
import sys

COMMANDS = {
    "report": "harness.report.command",
    "claims": "harness.stats.command",
    "track": "harness.tracking.command",
    "dashboard": "harness.tracking.dashboard.command",
    "doctor": "harness.launch.doctor",
    "setup": "harness.machine.setup",
    "pack": "harness.machine.pack_command",
}


def door() -> None:
    for stream in (sys.stdout, sys.stderr):  # a terminal that is not UTF-8 gets other characters, not an error
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in COMMANDS:
        sys.exit(importlib.import_module(COMMANDS[name]).main(sys.argv[2:]))
    importlib.import_module("harness.launch.run").run()


if __name__ == "__main__":
    door()
