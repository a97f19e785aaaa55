"""The adapter of a warm start: trained on its own, small enough to travel, merged into the base where it is used.

Written out as LoRA defines it (Hu et al., 2021): a linear layer W becomes W + scale · up · down, `up` zero at first.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from harness.errors import ConfigError

SHARD = 15 * 2**20  # bytes of a file at most
MANIFEST = "manifest.json"
LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Manifest:
    """What made an adapter. base, demonstrations: digests; seconds: of training; loss: of the last steps.

    before: the manifest of the adapter that this training went on from, with an optimiser and a schedule of its own
    """

    base: str
    demonstrations: str
    seed: int
    steps: int
    row_tokens: int
    rank: int
    scale: float
    learning_rate: float
    context: int
    right: dict[str, float]
    seconds: float
    loss: float
    device: str
    measured: dict[str, float]
    before: dict[str, Any] | None = None

    @property
    def rows(self) -> int:
        """That all its training has seen: the first ones of the seed."""
        return self.steps + (Manifest(**self.before).rows if self.before else 0)


class LowRank(nn.Module):
    """A frozen linear layer with a trained update of low rank, kept in float32 and used in the input's type."""

    def __init__(self, linear: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.scale = scale
        options: dict[str, Any] = {"dtype": torch.float32, "device": linear.weight.device}
        self.down = nn.Parameter(torch.empty(rank, linear.in_features, **options))
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank, **options))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        inner = functional.linear(rows, self.down.to(x.dtype))
        # in place: one pass over memory less
        out: Tensor = self.linear(rows).addmm_(inner, self.up.to(x.dtype).t(), alpha=self.scale)
        return out.view(*x.shape[:-1], -1)


def attach(model: nn.Module, rank: int, scale: float) -> dict[str, LowRank]:
    """Wraps every linear layer of the blocks; all other weights are frozen. By the names of the layers."""
    model.requires_grad_(False)
    found = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and name.rpartition(".")[2] in LAYERS
    }
    wrapped = {}
    for name, layer in found.items():
        parent, _, last = name.rpartition(".")
        wrapped[name] = LowRank(layer, rank, scale)
        setattr(model.get_submodule(parent), last, wrapped[name])
    return wrapped


def tensors(layers: dict[str, LowRank]) -> dict[str, Tensor]:
    """What is kept of an adapter: bfloat16, on the CPU."""
    out = {}
    for name, layer in layers.items():
        out[f"{name}.down"] = layer.down.detach().to("cpu", torch.bfloat16).contiguous()
        out[f"{name}.up"] = layer.up.detach().to("cpu", torch.bfloat16).contiguous()
    return out


def restore(layers: dict[str, LowRank], adapter: dict[str, Tensor]) -> None:
    """Puts an adapter's tensors into the layers that `attach` made."""
    for name, layer in layers.items():
        layer.down.data.copy_(adapter[f"{name}.down"])
        layer.up.data.copy_(adapter[f"{name}.up"])


def save(adapter: dict[str, Tensor], manifest: Manifest, folder: Path) -> None:
    """Writes files of at most SHARD bytes each, and the manifest last: a folder without it is not whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("adapter-*.safetensors"), *folder.glob(MANIFEST)):
        old.unlink()
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in adapter.items():
        if shards[-1] and size + tensor.nbytes > SHARD - 2**16:  # room for the header
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    for number, shard in enumerate(shards):
        save_file(shard, folder / f"adapter-{number:02}.safetensors")
    content = asdict(manifest) | {"shards": len(shards)}
    (folder / MANIFEST).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def load(folder: Path) -> tuple[dict[str, Tensor], Manifest]:
    """Raises ConfigError for a folder that is not whole."""
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{folder} holds no {MANIFEST}: expected the folder that a warm start wrote.") from None
    files = sorted(folder.glob("adapter-*.safetensors"))
    if len(files) != content.pop("shards"):
        raise ConfigError(f"{folder} holds {len(files)} of its adapter's files; bring all of them.")
    adapter: dict[str, Tensor] = {}
    for file in files:
        adapter |= load_file(file)
    return adapter, Manifest(**content)


def merged(weights: dict[str, Tensor], adapter: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """The base's weights with the adapter in them, in the base's type.

    In float64, so that machines whose float32 products differ in the last digits write the same checkpoint.
    Raises ConfigError if the adapter is for another model.
    """
    out = dict(weights)
    for name in {key.rpartition(".")[0] for key in adapter}:
        weight, up, down = weights.get(f"{name}.weight"), adapter[f"{name}.up"], adapter[f"{name}.down"]
        if weight is None or weight.shape != (len(up), down.shape[1]):
            raise ConfigError(f"The adapter changes {name}, which the base does not have in that shape.")
        out[f"{name}.weight"] = (weight.double() + scale * (up.double() @ down.double())).to(weight.dtype)
    return out
