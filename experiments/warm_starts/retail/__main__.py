"""python -m experiments.warm_starts.retail: the warm start of smollm2_135m.

--out FOLDER    train on this machine's GPU, write the adapter (40 MB in files of at most 15 MiB), then apply it
--apply FOLDER  write the checkpoint from the base and an adapter that was trained elsewhere; needs no GPU
--checkpoint FOLDER  where the checkpoint goes, for policy.path=; else it is policy=smollm2_135m
--show N        print N demonstrations
--tiny          try the training for a few steps without a GPU, with the micro policy's weights
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from experiments.warm_starts.retail.warm_start import Settings, warm_start
from harness.env import load_domain
from harness.errors import ConfigError, HarnessError
from harness.machine.environments import progress
from harness.policy import smollm2

TINY = Settings(steps=40, minutes=2.0, row_tokens=2048, rank=16, learning_rate=1e-2, workers=0, brief=True)


def main(arguments: list[str] | None = None) -> int:
    default = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m experiments.warm_starts.retail",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, metavar="FOLDER", help="train, and write the adapter here")
    what.add_argument("--apply", type=Path, metavar="FOLDER", help="write the checkpoint from the adapter in here")
    what.add_argument("--show", type=int, metavar="N", help="print demonstrations")
    what.add_argument("--tiny", action="store_true", help="try the training on a CPU")
    parser.add_argument("--checkpoint", type=Path, metavar="FOLDER", help="where; else policy=smollm2_135m")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--steps", type=int, default=default.steps, help="rows, one gradient step each")
    parser.add_argument("--minutes", type=float, default=default.minutes, help="of training at most")
    parser.add_argument("--more", type=Path, metavar="FOLDER", help="train on from this adapter, after its rows")
    parser.add_argument("--row-tokens", type=int, default=default.row_tokens, help="a multiple of 128")
    parser.add_argument("--rank", type=int, default=default.rank)
    parser.add_argument("--rate", type=float, default=default.learning_rate, help="peak learning rate")
    parser.add_argument("--workers", type=int, default=default.workers, help="processes that make rows")
    parser.add_argument("--faultless", action="store_true", help="demonstrations without deliberate mistakes")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    given = parser.parse_args(arguments)
    if given.more and not given.out:
        parser.error("--more goes with --out: the folder for the adapter that comes of it")
    settings = Settings(
        seed=given.seed,
        steps=given.steps,
        minutes=given.minutes,
        row_tokens=given.row_tokens,
        rank=given.rank,
        learning_rate=given.rate,
        workers=given.workers,
        more=given.more,
        faultless=given.faultless,
    )
    try:
        if given.show:
            show(given.show, settings)
        elif given.tiny:
            tiny(given.seed)
        elif given.apply:
            apply(given.apply, given.checkpoint)
        else:
            train(given.out, settings, given.device)
            apply(given.out, given.checkpoint)
    except HarnessError as error:
        print(f"python -m experiments.warm_starts.retail: {error}", file=sys.stderr)
        return 1
    return 0


def train(out: Path, settings: Settings, device: str) -> None:
    import torch

    from experiments.warm_starts.retail.checkpoint import weights_digest

    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("No GPU is visible; --device cpu trains on the CPU (days), --tiny tries the code.")
    base = smollm2.base()
    warm_start(base, weights_digest(base), out, settings, device, progress("warm start"))


def apply(adapter: Path, checkpoint: Path | None = None) -> None:
    """checkpoint: None for the one that policy=smollm2_135m reads."""
    from experiments.warm_starts.retail.checkpoint import apply

    made = checkpoint or smollm2.warm_checkpoint()
    apply(smollm2.base(), adapter, made)
    chosen = f"policy.path={checkpoint} policy.tool_parser=hermes" if checkpoint else "policy=smollm2_135m"
    progress("warm start")(f"{made} is ready: {chosen}")


def tiny(seed: int) -> None:
    from harness.policy import MICRO

    with tempfile.TemporaryDirectory() as folder:
        warm_start(MICRO, "micro", Path(folder), replace(TINY, seed=seed), "cpu", progress("tiny"))


def show(count: int, settings: Settings) -> None:
    from experiments.warm_starts.retail.demonstrations import Source

    stream = Source(load_domain("retail"), settings.right).stream(f"{settings.seed}/0")
    for _, shown in zip(range(count), stream, strict=False):
        print(f"--- reward {shown.outcome.reward:.0f}; decided wrongly: {', '.join(shown.wrong) or 'nothing'}")
        for message in shown.messages:
            for call in message.get("tool_calls", ()):
                print(f"call: {json.dumps(call['function'], ensure_ascii=False)}")
            if message["content"]:
                print(f"{message['role']}: {message['content']}")


if __name__ == "__main__":
    sys.exit(main())
