"""The command: python -m harness.node pack OUT."""

import argparse
import sys
from pathlib import Path

from harness.engine.install import progress
from harness.errors import ConfigError
from harness.node.pack import pack


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m harness.node", description="Prepare the harness for a GPU machine without a network."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="collect what such a machine lacks into a folder")
    packing.add_argument("out", type=Path, help="a new or empty folder")
    chosen = parser.parse_args(arguments)
    try:
        pack(chosen.out, progress("pack"))
    except ConfigError as error:
        print(f"python -m harness.node: {error}", file=sys.stderr)
        return 1
    print(f"Copy the files of {chosen.out} into one folder there, and run: python3 FOLDER/unpack.py")
    return 0


if __name__ == "__main__":
    sys.exit(main())
