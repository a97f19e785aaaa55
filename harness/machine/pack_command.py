"""`harness pack FOLDER`, in a clone and with a network."""

from argparse import Namespace

from harness.machine.environments import progress
from harness.machine.pack import pack
from harness.printed import printed


def run(asked: Namespace) -> int:
    pack(asked.out, progress("pack"))
    if asked.json:
        print(printed({"folder": str(asked.out), "files": sorted(file.name for file in asked.out.iterdir())}))
        return 0
    print(f"Copy the files of {asked.out} into one folder there, and run: python3 FOLDER/unpack.py")
    return 0
