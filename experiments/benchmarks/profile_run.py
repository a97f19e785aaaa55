"""Where a run's time goes: which share is the harness's own.

    .venv/bin/python experiments/benchmarks/profile_run.py [overrides of `python -m harness` …]

Samples every thread's Python stack 100 times a second while one run (all fixes on, 4 steps, reuse off) is
computed, from the moment the server is up, and gives each sample to the innermost room that it is in. The vLLM
server is a process of its own: while this process only waits for it, no room is charged. Prints a table, and the
harness's own places that cost most.
"""

import argparse
import collections
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

ROOMS = (  # the first that matches a file of the stack, from the innermost frame outwards
    ("http client", ("/litellm/", "/httpx/", "/httpcore/", "/openai/", "/aiohttp/", "/h11/", "/anyio/", "/ssl.py")),
    ("trainer (torch, ART)", ("/torch/", "/peft/", "/transformers/", "/art/", "/safetensors/", "engine/trainer.py")),
    ("environment, evaluator", ("/tau2/", "/harness/env/")),
    ("W&B client", ("/wandb/", "/sentry_sdk/")),
    ("display", ("/rich/", "/matplotlib/", "sweep/display.py")),
    ("server start-up", ("engine/server_process.py", "engine/guard.py", "machine/environments.py")),
    ("event loop", ("/asyncio/", "/concurrent/")),
    ("harness", ("/harness/",)),
)
IDLE = ("select", "wait", "_recv", "epoll", "acquire", "_worker", "poll", "get", "sleep", "join", "run_forever")


def room(frame: FrameType | None) -> tuple[str, str]:
    """Room and place of the innermost frame that belongs to one; `waiting` for an idle leaf."""
    assert frame is not None
    code = frame.f_code
    if code.co_name in IDLE and code.co_filename.endswith(("selectors.py", "threading.py", "thread.py", "queue.py")):
        return "waiting", ""
    while frame is not None:
        name = frame.f_code.co_filename
        for title, parts in ROOMS:
            if any(part in name for part in parts):
                return title, f"{Path(name).name}:{frame.f_code.co_name}"
        frame = frame.f_back
    return "python itself", f"{Path(code.co_filename).name}:{code.co_name}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s [-h] [overrides of `python -m harness` ...]",
        allow_abbrev=False,
    )
    _, overrides = parser.parse_known_args()
    from harness import __main__ as door
    from harness.sweep.runner import Runner

    build = Runner.build

    def build_and_watch(*arguments: Any) -> Any:
        ready.set()
        return build(*arguments)

    Runner.build = build_and_watch  # type: ignore[method-assign, assignment]
    samples: collections.Counter[str] = collections.Counter()
    places: collections.Counter[str] = collections.Counter()
    ready, done = threading.Event(), threading.Event()

    def watch() -> None:
        while not done.is_set():
            time.sleep(0.01)
            if not ready.is_set():
                continue  # the server is still starting
            for thread, frame in sys._current_frames().items():
                if thread == threading.get_ident():
                    continue
                title, place = room(frame)
                if title == "waiting":
                    continue
                samples[title] += 1
                if title == "harness":
                    places[place] += 1
            samples["ticks"] += 1

    folder = tempfile.mkdtemp()
    defaults = [f"results={folder}", "reuse=off", "train.steps=4"]
    sys.argv = ["harness", *defaults, *overrides]
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        door.door()
    finally:
        done.set()
        watcher.join()
        ticks = samples.pop("ticks", 0) or 1
        print(f"\n{ticks} samples since the server was up; share of them in which a thread was in")
        for title, count in samples.most_common():
            print(f"  {title:24s} {count / ticks:6.1%}")
        print("\nthe harness's own places that cost most")
        for place, count in places.most_common(12):
            print(f"  {place:40s} {count / ticks:6.2%}")


if __name__ == "__main__":
    main()
