"""Adapters that nobody trained: for measuring what others in a batch do to an answer."""

import math
from pathlib import Path

import torch
from peft import get_peft_model
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from harness.engine.fused import ADAPTER
from harness.engine.state import Lora

SPREAD = 0.02  # standard deviation of B's entries: about what some tens of gradient steps make of zeros


def save_random_adapters(base: Path, lora: Lora, folders: list[Path]) -> None:
    """One in each folder, which is made; always the same for a position in the list. base: the policy's checkpoint, of
    which the shapes are read."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base))
        model = get_peft_model(model, lora.peft_config(str(base)))
    shapes = {name: p.shape for name, p in model.named_parameters() if ".lora_" in name}
    for number, folder in enumerate(folders):
        generator = torch.Generator().manual_seed(number)
        tensors = {
            name.replace(f".{ADAPTER}.", "."): _drawn(shape, "lora_A" in name, generator)
            for name, shape in shapes.items()
        }
        folder.mkdir(parents=True)
        save_file(tensors, folder / "adapter_model.safetensors")
        lora.peft_config(str(base)).save_pretrained(str(folder))


def _drawn(shape: torch.Size, is_a: bool, generator: torch.Generator) -> torch.Tensor:
    if is_a:  # as PEFT initialises it
        return (2 * torch.rand(shape, generator=generator) - 1) / math.sqrt(shape[1])
    return SPREAD * torch.randn(shape, generator=generator)
