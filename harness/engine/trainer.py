"""The trainer behind `backend=shared`: base weights once, an adapter and optimiser state per update.

An update is a pure function: (trainer state, packed tensors, hyper-parameters) -> (new state, metrics).
Nothing is kept in the trainer between updates, so the runs of a sweep can take turns on it.

Loss, masks and advantages are ART's: `art.loss.loss_fn` over tensors packed by ART, with the attention
rule of `art.unsloth.train.calculate_mask` (causal, and within the own rollout or its shared prompt).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from art.loss import loss_fn, shift_tensor
from art.preprocessing.pack import PackedTensors
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load, save
from transformers import AutoModelForCausalLM

from harness.store import digest


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


class Trainer:
    """Holds the base model with one LoRA slot; see the module's docstring."""

    def __init__(
        self, base: Path, base_digest: str, lora: Lora, optimiser: Optimiser, device: str = "cpu", threads: int = 1
    ) -> None:
        self.base_digest = base_digest
        self.lora = lora
        self.optimiser = optimiser
        self.device = torch.device(device)
        self.dtype = torch.float32 if self.device.type == "cpu" else torch.bfloat16
        if self.device.type == "cpu":
            torch.set_num_threads(threads)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=self.dtype, attn_implementation="sdpa")
        with torch.random.fork_rng():
            self.model = get_peft_model(model, lora.peft_config(str(base))).to(self.device)
        self._parameters = {
            name: p for name, p in self.model.named_parameters() if p.requires_grad
        }

    def initial_state(self, seed: int) -> State:
        """A fresh adapter: A from PEFT's initialisation under `seed`, B zero."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for module in self.model.modules():
                if hasattr(module, "reset_lora_parameters"):
                    module.reset_lora_parameters("default", init_lora_weights=True)
        return State.of(self._adapter(), {}, self.base_digest)

    def _adapter(self) -> dict[str, torch.Tensor]:
        return {
            name: t.detach().to("cpu", copy=True).contiguous()
            for name, t in get_peft_model_state_dict(self.model).items()
        }

    def update(
        self, state: State, tensors: PackedTensors, learning_rate: float, config: dict[str, Any]
    ) -> tuple[State, list[dict[str, float]]]:
        """Trains on packed tensors [rows, tokens] from `state`; metrics, one dict per gradient step."""
        set_peft_model_state_dict(self.model, load(state.adapter))
        adam = torch.optim.AdamW(
            self._parameters.values(),
            lr=learning_rate,
            betas=self.optimiser.betas,
            weight_decay=self.optimiser.weight_decay,
            fused=False,
        )
        if state.moments:
            self._load_moments(adam, load(state.moments))
        self.model.train()
        metrics = []
        for batch in minibatches(tensors, self.optimiser.groups_per_step):
            batch = {key: value.to(self.device) for key, value in batch.items()}
            metrics.append(self._gradient_step(adam, _trimmed(batch), config))
        first = {f"first/{name}": metrics[0][f"loss/{name}"] for name in ("probs_corr", "logprob_gap")}
        metrics = [{**step, **first} for step in metrics]  # ART averages over steps: the first one stays apart
        return State.of(self._adapter(), self._moments(adam), self.base_digest), metrics

    def _gradient_step(
        self, adam: torch.optim.AdamW, batch: dict[str, torch.Tensor], config: dict[str, Any]
    ) -> dict[str, float]:
        logprobs, entropy = self.logprobs(batch)
        loss = loss_fn(batch, logprobs, None, None, config)  # type: ignore[arg-type]
        loss.policy_loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._parameters.values(), self.optimiser.clip)
        adam.step()
        adam.zero_grad(set_to_none=True)
        served = shift_tensor(batch["logprobs"], math.nan)
        known = ~torch.isnan(served)
        gap = (served - logprobs.detach())[known].abs().mean()
        return {
            "loss/train": loss.policy_loss.item(),
            "loss/grad_norm": norm.item(),
            "loss/entropy": entropy.item(),
            "loss/probs_corr": loss.probs_corr.item(),
            "loss/logprob_gap": gap.item(),
        }

    def logprobs(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probs of each next token, [rows, tokens], zero where nothing is trained; mean entropy there."""
        hidden = self.model.get_base_model().model(
            input_ids=batch["tokens"].clamp(min=0),
            position_ids=batch["input_pos"],
            attention_mask=attention_bias(batch["group_ids"], batch["parent_ids"], self.dtype),
            use_cache=False,
        ).last_hidden_state
        trained = shift_tensor(batch["assistant_mask"], False)
        logits = self.model.get_output_embeddings()(hidden[trained]).float()
        distribution = torch.log_softmax(logits, dim=-1)
        targets = shift_tensor(batch["tokens"], 0)[trained]
        picked = distribution.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        entropy = -(distribution.detach().exp() * distribution.detach()).sum(-1).mean()
        out = torch.zeros(trained.shape, dtype=picked.dtype, device=self.device)
        return out.masked_scatter(trained, picked), entropy

    def _moments(self, adam: torch.optim.AdamW) -> dict[str, torch.Tensor]:
        out = {}
        for name, parameter in self._parameters.items():
            for key in ("exp_avg", "exp_avg_sq", "step"):
                out[f"{name}/{key}"] = adam.state[parameter][key].detach().cpu().clone()
        return out

    def _load_moments(self, adam: torch.optim.AdamW, moments: dict[str, torch.Tensor]) -> None:
        for name, parameter in self._parameters.items():
            adam.state[parameter] = {
                key: moments[f"{name}/{key}"].to(self.device if key != "step" else "cpu").clone()
                for key in ("exp_avg", "exp_avg_sq", "step")
            }


def minibatches(tensors: PackedTensors, groups_per_step: int) -> Iterator[dict[str, torch.Tensor]]:
    """The packed rows of some groups after another, [rows, tokens]; a token of another group trains nothing."""
    packed = {key: value for key, value in tensors.items() if isinstance(value, torch.Tensor)}
    parents = packed["parent_ids"]
    groups = list(dict.fromkeys(parents[parents != -1].tolist()))  # in the order in which ART packed them
    steps = math.ceil(len(groups) / groups_per_step)
    for chunk in torch.tensor(groups).tensor_split(steps):
        ours = torch.isin(parents, chunk)
        rows = ours.any(dim=1)
        batch, ours = {key: value[rows] for key, value in packed.items()}, ours[rows]
        yield batch | {
            "assistant_mask": batch["assistant_mask"] & ours,
            "logprobs": batch["logprobs"].masked_fill(~ours, math.nan),
            "advantages": batch["advantages"].masked_fill(~ours, 0.0),
            "weights": batch["weights"].masked_fill(~ours, 0.0),
        }


def _trimmed(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without the columns that are padding in every row (ART pads with group id -1)."""
    used = int((batch["group_ids"] != -1).any(dim=0).nonzero().max()) + 1
    return {key: value[:, :used] for key, value in batch.items()}


def attention_bias(group_ids: torch.Tensor, parent_ids: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask [rows, 1, tokens, tokens] of ART's packing: causal, own rollout or its shared prompt.

    The same rule as `calculate_mask` in ART's `art/unsloth/train.py`, which cannot be imported without trl.
    """
    tokens = group_ids.shape[1]
    causal = torch.ones(tokens, tokens, dtype=torch.bool, device=group_ids.device).tril()
    own = group_ids.unsqueeze(2) == group_ids.unsqueeze(1)
    prompt = parent_ids.unsqueeze(2) == group_ids.unsqueeze(1)
    allowed = causal & (own | prompt)
    bias = torch.zeros(allowed.shape, dtype=dtype, device=group_ids.device)
    return bias.masked_fill_(~allowed, torch.finfo(dtype).min).unsqueeze(1)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Python's global generator under a seed, put back afterwards: ART's packing draws from it."""
    import random

    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
