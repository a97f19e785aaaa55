"""Room on the disk for a packed batch, before ART writes it through memory maps.

A write through a map that the disk does not take is no error but a bus error: it ends the process without a word.
"""

import os
from pathlib import Path
from typing import Any

import torch
from art.preprocessing.pack import PackedTensors
from art.utils.output_dirs import get_model_dir

from harness.disk import writing


def reserve(packed: PackedTensors, model: Any, art_path: str) -> None:
    """Gives the files of a batch their blocks, where ART puts them. Raises DiskError where there are none."""
    folder = Path(get_model_dir(model=model, art_path=art_path)) / "tensors"
    for name, tensor in packed.items():
        if isinstance(tensor, torch.Tensor) and tensor.nbytes:
            with writing(folder / f"{name}.pt"):
                folder.mkdir(parents=True, exist_ok=True)
                file = os.open(folder / f"{name}.pt", os.O_RDWR | os.O_CREAT, 0o644)
                try:
                    os.posix_fallocate(file, 0, tensor.nbytes)
                finally:
                    os.close(file)
