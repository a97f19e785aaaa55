"""`harness pack FOLDER`, in a clone and with a network."""

from argparse import Namespace

from harness.machine.environments import progress
from harness.machine.pack import pack


def run(asked: Namespace) -> int:
    pack(asked.out, progress("pack"))
    print(f"Copy the files of {asked.out} into one folder there, and run: python3 FOLDER/unpack.py")
    return 0
