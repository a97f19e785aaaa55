"""python -m harness.policy.micro --out DIR [--seed 0] [--steps N]: build the micro policy from its demonstrations."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from harness.policy import digest_files
from harness.policy.micro import warm_start

parser = argparse.ArgumentParser(prog="python -m harness.policy.micro", description="Build the micro policy.")
parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--steps", type=int, default=warm_start.STEPS)
options = parser.parse_args()

torch.set_num_threads(1)  # the number of threads decides the last digits of the weights; two save little
warm_start.build(options.out, options.seed, options.steps)
print(f"{options.out}: {digest_files(options.out)}")
