"""The token ids that were trained, read from the tensors that ART packed.

ART packs several rollouts into a row, and those of a group share one copy of the prompt that they have in common
(art/preprocessing/pack.py): a token's group id names its rollout, or the shared prompt, and its parent id the prompt
that stands before it. All trained tokens of a rollout have one advantage.
"""

from collections.abc import Iterator

import numpy as np
import torch
from art.preprocessing.pack import PackedTensors

from harness.backend import TrainedContext

PADDING = -1  # group id
Place = tuple[int, torch.Tensor]  # row, and the positions in it


def contexts_of(tensors: PackedTensors, computed: torch.Tensor | None = None) -> list[TrainedContext]:
    """The rollouts in packed tensors, each [rows, tokens], without those that have no advantage.

    computed: [rows, tokens] advantages as ART had computed them, where others were trained with
    """
    names = ("group_ids", "parent_ids", "tokens", "assistant_mask", "advantages")
    columns = [tensors[name].numpy() for name in names]  # type: ignore[literal-required]
    columns.append(columns[-1] if computed is None else computed.numpy())
    return [context for row in zip(*columns, strict=True) for context in _of_row(*row)]


def rollouts_of(tensors: PackedTensors) -> list[Place]:
    """Where the trained tokens of each rollout are, as an index into the tensors."""
    trained = tensors["assistant_mask"] & (tensors["advantages"] != 0)
    places = []
    for row, (groups, mask) in enumerate(zip(tensors["group_ids"], trained, strict=True)):
        own = [group for group in dict.fromkeys(groups[mask].tolist()) if group != PADDING]
        places += [(row, torch.nonzero(mask & (groups == group)).flatten()) for group in own]
    return places


def _of_row(
    groups: np.ndarray,
    parents: np.ndarray,
    tokens: np.ndarray,
    mask: np.ndarray,
    advantages: np.ndarray,
    computed: np.ndarray,
) -> Iterator[TrainedContext]:
    trained = mask & (advantages != 0)
    for group in dict.fromkeys(groups[trained].tolist()):
        if group == PADDING:
            continue
        own = groups == group
        whole = np.flatnonzero(own | (groups == parents[own][0]))  # the prompt stands before all that share it
        first = int(np.flatnonzero(own & trained)[0])
        yield TrainedContext(
            tuple(tokens[whole].tolist()),
            tuple(np.flatnonzero(trained[whole]).tolist()),
            float(advantages[first]),
            float(computed[first]),
        )
