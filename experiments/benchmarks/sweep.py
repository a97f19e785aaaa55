"""Runs a sweep from nothing and holds it against its targets.

    .venv/bin/python experiments/benchmarks/sweep.py leave_one_out   # target: 8 minutes on two cores
    .venv/bin/python experiments/benchmarks/sweep.py all             # target: 15 minutes
    .venv/bin/python experiments/benchmarks/sweep.py leave_one_out --reuse-factor

The sweep runs in a fresh folder (--keep DIR to keep it). Prints wall-clock and CPU seconds, the largest
memory of the whole process tree, what was distinct, and each criterion with what was measured.
--reuse-factor runs it once more with reuse=off, in the same minutes on the same machine, and prints the ratio.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from harness.records.load import load_sweep

TARGET_SECONDS = {"leave_one_out": 480, "all": 900}
GATED = ("without_endpoint", "without_exploration", "without_logprobs")


def run(ablation: str, folder: Path, *overrides: str) -> dict[str, float]:
    """Runs one sweep; seconds, peak memory of its process tree in GiB, exit code."""
    command = [sys.executable, "-m", "harness", f"+ablation={ablation}", f"results={folder}", *overrides]
    begun = time.perf_counter()
    process = subprocess.Popen(command)
    peak = 0.0
    stop = threading.Event()

    def watch() -> None:
        nonlocal peak
        parent = psutil.Process(process.pid)
        while not stop.wait(0.5):
            try:
                tree = [parent, *parent.children(recursive=True)]
                # Shared pages count once: proportional set size.
                peak = max(peak, sum(p.memory_full_info().pss for p in tree) / 2**30)
            except psutil.Error:
                continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    stop.set()
    watcher.join()
    return {"seconds": time.perf_counter() - begun, "peak_gib": peak, "code": code}


def criteria(ablation: str, folder: Path, measured: dict[str, float]) -> list[tuple[str, bool, str]]:
    sweep = load_sweep(folder / ablation)
    runs = {r.arm: r for r in sweep.runs}
    out = [
        ("exit code 0", measured["code"] == 0, f"{measured['code']:.0f}"),
        ("memory ≤ 8 GiB", measured["peak_gib"] <= 8, f"{measured['peak_gib']:.1f} GiB"),
        (
            "every run valid or named INVALID",
            all(r.state == "completed" and (r.valid or r.invalid) for r in sweep.runs),
            f"{sum(not r.valid for r in sweep.runs)} INVALID of {len(sweep.runs)}",
        ),
    ]
    if ablation in TARGET_SECONDS:
        limit = TARGET_SECONDS[ablation]
        out.append((f"≤ {limit / 60:.0f} minutes", measured["seconds"] <= limit, f"{measured['seconds']:.0f} s"))
    if "all_on" in runs:
        curve = [v.reference or 0.0 for v in runs["all_on"].validations]
        learned = curve[0] <= 0.4 and curve[-1] >= 0.8
        out.append(("all_on from ≤ 0.4 to ≥ 0.8", learned, f"{curve[0]:.2f} → {curve[-1]:.2f}"))
    for arm in GATED:
        if arm in runs:
            reported = [v.reported or 0.0 for v in runs[arm].validations]
            flat = max(reported) - min(reported) <= 0.1
            out.append((f"{arm} flat in reported reward", flat, " ".join(f"{r:.2f}" for r in reported)))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ablation")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--keep", type=Path, help="results folder that stays")
    parser.add_argument("--reuse-factor", action="store_true")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp())
    measured = run(options.ablation, folder, *options.overrides)
    reuse = json.loads((folder / options.ablation / "reuse.json").read_text())
    for kind in ("episodes", "updates"):
        counts = reuse[kind]
        factor = counts["asked"] / max(counts["computed"], 1)
        asked, computed, shared = (counts[what] for what in ("asked", "computed", "shared"))
        print(f"{kind}: asked {asked}, computed {computed}, shared {shared} ({factor:.1f} ×)")
    print(f"CPU {reuse['seconds']['cpu']:.0f} s on {reuse['cores']} cores")
    good = True
    for name, passed, value in criteria(options.ablation, folder, measured):
        print(f"{'ok  ' if passed else 'MISS'} {name}: {value}")
        good &= passed
    if options.reuse_factor:
        without = run(options.ablation, Path(tempfile.mkdtemp()), "reuse=off", *options.overrides)
        print(f"reuse=off: {without['seconds']:.0f} s; factor {without['seconds'] / measured['seconds']:.1f}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
