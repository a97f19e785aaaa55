"""LoRA and RMS norms in fewer kernels than PEFT's and transformers' own: for small models on a GPU, where memory
traffic and the starting of kernels, not arithmetic, take the time. The result is the same up to rounding.
"""

from types import MethodType
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear

ADAPTER = "default"  # PEFT's name of the one adapter


def fuse(model: torch.nn.Module) -> int:
    """Replaces the forward pass of LoRA layers and RMS norms; returns how many modules were changed.

    Raises ValueError for a LoRA layer with what is left out here: dropout, biases, DoRA and other variants.
    """
    changed = 0
    for name, module in model.named_modules():
        if isinstance(module, LoraLinear):
            _assert_plain(name, module)
            module.forward = MethodType(_lora_linear, module)  # type: ignore[method-assign]
        elif type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
            module.forward = MethodType(_rms_norm, module)
        else:
            continue
        changed += 1
    return changed


def _lora_linear(self: Any, x: torch.Tensor, *_args: Any, **_kwargs: Any) -> torch.Tensor:
    """x W' + scaling (x A') B': the second product is added where the first one lies."""
    rows = x.reshape(-1, x.shape[-1])
    out: torch.Tensor = self.base_layer(rows)
    down = torch.nn.functional.linear(rows, self.lora_A[ADAPTER].weight)
    out = out.addmm_(down, self.lora_B[ADAPTER].weight.t(), alpha=self.scaling[ADAPTER])
    return out.view(*x.shape[:-1], -1)


def _rms_norm(self: Any, x: torch.Tensor) -> torch.Tensor:
    """Root-mean-square norm over the last dimension; PyTorch's kernel computes in float32 inside."""
    return torch.nn.functional.rms_norm(x, (x.shape[-1],), self.weight, self.variance_epsilon)


def _assert_plain(name: str, module: LoraLinear) -> None:
    dropout = module.lora_dropout[ADAPTER]
    extra = {
        "dropout": not isinstance(dropout, torch.nn.Identity),
        "a bias": module.lora_B[ADAPTER].bias is not None,
        "a variant": ADAPTER in module.lora_variant,
    }
    found = [what for what, is_there in extra.items() if is_there]
    if found:
        raise ValueError(f"The LoRA layer {name} has {' and '.join(found)}; the fused pass is for plain LoRA.")
