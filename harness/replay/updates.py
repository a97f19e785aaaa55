"""Two updates of one key: the stored state, and the one that was computed again."""

import math

import torch
from safetensors.torch import load

from harness.backend.shared import unpacked
from harness.replay.findings import DIFFERS, SAME, UPDATES, WITHIN, Compared

# Root mean square of the weights' difference, as a share of what AdamW may move a weight in such an update (its rate
# times its gradient steps).
TOLERANCE_EXACT = 0.01
TOLERANCE_16_BIT = 0.12


def compare_updates(stored: bytes, again: bytes, learning_rate: float, exact: bool) -> Compared:
    """learning_rate: of the run; exact: the trainer computes in float32"""
    (there, metrics), (here, metrics_here) = unpacked(stored), unpacked(again)
    if (there.adapter, there.moments) == (here.adapter, here.moments):
        if stored == again:
            return Compared(UPDATES, there.digest, SAME)
        return Compared(
            UPDATES, there.digest, DIFFERS, f"the same weights, and another {_changed(metrics, metrics_here)}"
        )
    one, other = load(there.adapter), load(here.adapter)
    if {k: v.shape for k, v in one.items()} != {k: v.shape for k, v in other.items()}:
        return Compared(UPDATES, there.digest, DIFFERS, "another shape of adapter")
    if len(metrics) != len(metrics_here):
        text = f"{len(metrics)} gradient steps there, {len(metrics_here)} here"
        return Compared(UPDATES, there.digest, DIFFERS, text)
    share = _rms(one, other) / (learning_rate * max(1, len(metrics))) if learning_rate else math.inf
    tolerance = TOLERANCE_EXACT if exact else TOLERANCE_16_BIT
    text = f"weights differ by {share:.2g} of what such an update may move one (tolerance {tolerance:g})"
    return Compared(UPDATES, there.digest, WITHIN if share <= tolerance else DIFFERS, text)


def _changed(there: list[dict[str, float]], here: list[dict[str, float]]) -> str:
    """Names of the metrics that differ."""
    pairs = list(zip(there, here, strict=False))
    names = dict.fromkeys(k for a, b in pairs for k in {**a, **b} if a.get(k) != b.get(k))
    return ", ".join(names) or "head"


def _rms(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    squares = sum(float((one[k].double() - other[k].double()).square().sum()) for k in one)
    return math.sqrt(squares / sum(v.numel() for v in one.values()))
