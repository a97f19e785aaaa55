"""What an update starts from and ends with, and what it is made with."""

from dataclasses import dataclass

import torch
from peft import LoraConfig
from safetensors.torch import save

from harness.records.store import digest


@dataclass(frozen=True)
class Lora:
    """rank r, scaling alpha / r; modules that get an adapter."""

    rank: int = 8
    alpha: int = 16
    modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

    def peft_config(self, base: str) -> LoraConfig:
        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            target_modules=list(self.modules),
            task_type="CAUSAL_LM",
            base_model_name_or_path=base,
        )


@dataclass(frozen=True)
class Optimiser:
    """AdamW. clip: maximum gradient norm.

    groups_per_step: groups of rollouts in one gradient step. Counted in groups and not in packed rows, so that arms
    with the same rollouts take the same number of steps, however long the context is that they train on.
    """

    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    clip: float = 1.0
    groups_per_step: int = 2


@dataclass(frozen=True)
class State:
    """What an update starts from: adapter weights and Adam's moments, as safetensors bytes.

    moments is empty before the first update. digest names the whole state, weights the adapter alone.
    """

    adapter: bytes
    moments: bytes
    digest: str
    weights: str

    @classmethod
    def of(cls, adapter: dict[str, torch.Tensor], moments: dict[str, torch.Tensor], base: str) -> "State":
        """base: digest of the base weights. An adapter whose B matrices are zero *is* the base policy."""
        adapter_raw = save(adapter)
        moments_raw = save(moments) if moments else b""
        is_base = not any(t.any() for name, t in adapter.items() if "lora_B" in name)
        weights = base if is_base else digest("weights", base, adapter_raw)
        return cls(adapter_raw, moments_raw, digest("state", base, adapter_raw, moments_raw), weights)
