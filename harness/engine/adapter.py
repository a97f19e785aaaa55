"""The one adapter in the trainer's model: filled from a state, trained, and read back as the next state.

Where the base weights are bfloat16 there are two of it: float32 parameters that the optimiser moves, and the bfloat16
copy inside the model that computes. PEFT alone would keep float32 in the model and convert the activations instead.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass

import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load

from harness.engine.fused import ADAPTER
from harness.engine.state import Optimiser, State

MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class _Copy:
    """A state on the device, never written to."""

    adapter: dict[str, torch.Tensor]
    moments: dict[str, torch.Tensor]


class Adapter:
    """Parameters by their name in the model. copies: how many of the latest states stay on the device as well."""

    def __init__(self, model: torch.nn.Module, base_digest: str, dtype: torch.dtype, copies: int) -> None:
        self._model = model
        self._base_digest = base_digest
        self._most = copies
        self._copies: OrderedDict[str, _Copy] = OrderedDict()
        self._computing = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.parameters = self._computing
        if dtype != torch.float32:
            self.parameters = {name: torch.nn.Parameter(p.detach().float()) for name, p in self._computing.items()}
            for parameter in self._computing.values():
                parameter.data = parameter.data.to(dtype)

    def initial(self, seed: int) -> State:
        """A fresh adapter: A uniform as PEFT initialises it, drawn on the CPU in the model's order; B zero."""
        adapter = {_saved(name): torch.zeros(p.shape) for name, p in self.parameters.items()}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for name, module in self._model.named_modules():
                if isinstance(module, LoraLayer):
                    torch.nn.init.kaiming_uniform_(adapter[f"{name}.lora_A.weight"], a=math.sqrt(5))
        return State.of(adapter, {}, self._base_digest)

    def resume(self, state: State, optimiser: Optimiser, learning_rate: float) -> torch.optim.AdamW:
        """Puts the state's adapter in place and returns an AdamW that goes on with its moments."""
        copy = self._copies.get(state.digest)
        if copy is None:
            copy = _Copy(load(state.adapter), load(state.moments) if state.moments else {})
        self._put(copy.adapter)
        fused = all(p.device.type == "cuda" for p in self.parameters.values())
        adam = torch.optim.AdamW(
            self.parameters.values(),
            lr=learning_rate,
            betas=optimiser.betas,
            weight_decay=optimiser.weight_decay,
            fused=fused,
        )
        for name, parameter in self.parameters.items() if copy.moments else ():
            adam.state[parameter] = {
                # Adam's kernel for CUDA has the number of steps there, its other forms in main memory
                key: copy.moments[f"{name}/{key}"].to(
                    "cpu" if key == "step" and not fused else parameter.device, copy=True
                )
                for key in MOMENTS
            }
        return adam

    def finite(self) -> bool:
        """Whether every trained parameter is."""
        return bool(torch.stack([p.detach().abs().max() for p in self.parameters.values()]).isfinite().all())

    def leave(self, adam: torch.optim.AdamW) -> State:
        """The state after an update, as bytes; a copy stays on the device."""
        adapter = {_saved(name): p.detach().clone() for name, p in self.parameters.items()}
        moments = {
            f"{name}/{key}": adam.state[p][key].detach() for name, p in self.parameters.items() for key in MOMENTS
        }
        state = State.of(_on_cpu(adapter), _on_cpu(moments), self._base_digest)
        if self._most:
            self._copies[state.digest] = _Copy(adapter, moments)
            self._copies.move_to_end(state.digest)
            while len(self._copies) > self._most:
                self._copies.popitem(last=False)
        return state

    def show(self, adapter: bytes) -> None:
        """Puts an adapter in place to compute with; the next `resume` replaces it."""
        self._put(load(adapter))

    def _put(self, adapter: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(adapter[_saved(name)])
        self.hand_over()

    def hand_over(self) -> None:
        """The trained parameters to those that compute, where they are not the same."""
        if self.parameters is not self._computing:
            with torch.no_grad():
                torch._foreach_copy_(list(self._computing.values()), list(self.parameters.values()))

    def collect(self) -> None:
        """Adds what a backward pass left in the model to the gradients of the trained parameters."""
        if self.parameters is self._computing:
            return
        for name, parameter in self.parameters.items():
            gradient, self._computing[name].grad = self._computing[name].grad, None
            if gradient is None:
                continue
            if parameter.grad is None:
                parameter.grad = gradient.float()
            else:
                parameter.grad += gradient

    def gradient(self) -> torch.Tensor:
        """What a backward pass left in the model, flat in float32; it is taken away."""
        found = [p.grad.float().flatten() for p in self._computing.values() if p.grad is not None]
        self._model.zero_grad(set_to_none=True)
        return torch.cat(found)


def _saved(name: str) -> str:
    """The name of a parameter in an adapter's file: PEFT leaves out that of the adapter."""
    return name.replace(f".{ADAPTER}.", ".")


def _on_cpu(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies in main memory; from a GPU in one transfer."""
    if all(t.device.type == "cpu" for t in tensors.values()):
        return {name: t.detach().clone().contiguous() for name, t in tensors.items()}
    flat = torch.cat([t.detach().float().flatten() for t in tensors.values()]).cpu()
    parts = flat.split([t.numel() for t in tensors.values()])
    return {name: part.clone().view(t.shape) for (name, t), part in zip(tensors.items(), parts, strict=True)}
