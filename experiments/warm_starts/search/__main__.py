"""python -m experiments.warm_starts.search --out DIR [--seed 0] [--steps N]: build the policy micro_search."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from experiments.warm_starts.micro import warm_start
from experiments.warm_starts.search import demonstrations
from harness.env.search_qa import SearchQa
from harness.policy import digest_files

parser = argparse.ArgumentParser(
    prog="python -m experiments.warm_starts.search", description="Build the policy micro_search."
)
parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--steps", type=int, default=warm_start.STEPS)
options = parser.parse_args()

torch.set_num_threads(1)  # the number of threads decides the last digits of the weights; two save little
warm_start.build_of(demonstrations.stream(options.seed), SearchQa.tools, options.out, options.seed, options.steps)
print(f"{options.out}: {digest_files(options.out)}")
