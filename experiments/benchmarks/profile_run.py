"""Which processes of a sweep use the processor, and for how long.

    .venv/bin/python -m experiments.benchmarks.profile_run [overrides of `python -m harness` …]

Starts `python -m harness` (all fixes on, 4 steps, reuse off, unless the overrides say otherwise) and looks at its
process and all that come from it ten times a second. Prints the processor seconds of each kind of process and its
share, the seconds of the whole command, and how much of the machine's cores that was. What a process did between the
last look and its end is not seen. Main holds the loop, the HTTP client, ART's tokenisation, the environment where there
are no players, and the report.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter

import psutil

from experiments.benchmarks.kills import role_of
from experiments.benchmarks.overrides import replaced

LOOK = 0.1  # seconds


def seconds_of(command: list[str]) -> tuple[float, Counter[str]]:
    """Of a command from its start to its end: seconds, and processor seconds by kind of process.

    Raises RuntimeError if it fails.
    """
    used: dict[psutil.Process, float] = {}
    roles: dict[psutil.Process, str] = {}
    begun = time.perf_counter()
    main = subprocess.Popen(command)
    root = psutil.Process(main.pid)
    while main.poll() is None:
        for process in [root, *root.children(recursive=True)]:
            try:
                times = process.cpu_times()
                used[process] = times.user + times.system
                if roles.get(process, "other") == "other":  # a fork has its parent's command line at first
                    roles[process] = "main" if process == root else role_of(process)
            except psutil.Error:
                continue
        time.sleep(LOOK)
    if main.returncode:
        raise RuntimeError(f"the command ended with {main.returncode}: {' '.join(command)}")
    found: Counter[str] = Counter()
    for process, seconds in used.items():
        found[roles[process]] += seconds  # type: ignore[assignment]
    return time.perf_counter() - begun, found


def table(wall: float, used: Counter[str], cores: int) -> str:
    total = sum(used.values())
    lines = ["| process | processor, s | share |", "|---|---|---|"]
    lines += [f"| {name} | {seconds:.1f} | {seconds / total:.0%} |" for name, seconds in used.most_common()]
    busy = total / wall / cores
    return "\n".join([*lines, f"\n{total:.0f} s of the processor in {wall:.0f} s: {busy:.0%} of {cores} cores."])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s [-h] [overrides of `python -m harness` ...]",
    )
    _, overrides = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        defaults = [f"results={folder}", "reuse=off", "train.steps=4"]
        found = seconds_of([sys.executable, "-m", "harness", *replaced(defaults, overrides)])
    print("\n" + table(*found, os.cpu_count() or 1))


if __name__ == "__main__":
    main()
