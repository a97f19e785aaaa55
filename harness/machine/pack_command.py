"""The command: python -m harness pack OUT."""

import argparse
import sys
from pathlib import Path

from harness.errors import ConfigError
from harness.machine.environments import progress
from harness.machine.pack import pack


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m harness", description="Prepare the harness for a GPU machine without a network."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="collect what such a machine lacks into a folder")
    packing.add_argument("out", type=Path, help="a new or empty folder")
    chosen = parser.parse_args(arguments)
    try:
        pack(chosen.out, progress("pack"))
    except ConfigError as error:
        print(f"python -m harness: {error}", file=sys.stderr)
        return 1
    print(f"Copy the files of {chosen.out} into one folder there, and run: python3 FOLDER/unpack.py")
    return 0
