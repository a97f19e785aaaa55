"""How long vLLM's server takes to start on a CPU: its engine's process forked, as we start it, against spawned.

    .venv/bin/python -m experiments.benchmarks.server_start --times 3

Both kinds take turns in one run. Prints wall-clock and CPU seconds until the server answers, of its process and all
below it, and the ratio of the medians.
"""

import argparse
import asyncio
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

from harness.engine.server import Server
from harness.engine.server_process import ServerConfig
from harness.policy import load_policy

WITHOUT_FORK = "base_is_base,tokens_by_pieces"  # of our plug-ins
KINDS = {"forked": None, "spawned": WITHOUT_FORK}


async def start(plugins: str | None) -> tuple[float, float]:
    """Wall-clock and CPU seconds of one start. plugins: those that vLLM loads; None: all."""
    os.environ.pop("VLLM_PLUGINS", None)
    if plugins is not None:
        os.environ["VLLM_PLUGINS"] = plugins
    policy = load_policy("micro")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "vllm.log"
        config = ServerConfig(policy.path, "micro", policy.tool_parser, policy.max_model_len, policy.dtype, 8, log)
        begun, before = time.perf_counter(), _spent()
        async with Server(config):
            seconds = time.perf_counter() - begun
    return seconds, _spent() - before


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3, help="starts of each kind")
    times = parser.parse_args().times
    seen: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    for _ in range(times):
        for kind, plugins in KINDS.items():
            seen[kind].append(asyncio.run(start(plugins)))
            print(f"{kind:8} {seen[kind][-1][0]:5.1f} s, CPU {seen[kind][-1][1]:5.1f} s", flush=True)
    median = {kind: statistics.median(wall for wall, _ in found) for kind, found in seen.items()}
    print(
        f"median: forked {median['forked']:.1f} s, spawned {median['spawned']:.1f} s; "
        f"ratio {median['forked'] / median['spawned']:.2f}"
    )


if __name__ == "__main__":
    main()
