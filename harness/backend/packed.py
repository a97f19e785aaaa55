"""The token ids that were trained, read from the tensors that ART packed.

ART packs several rollouts into a row, and those of a group share one copy of the prompt that they have in common
(art/preprocessing/pack.py): a token's group id names its rollout, or the shared prompt, and its parent id the prompt
that stands before it.
"""

from collections.abc import Iterator

import numpy as np
from art.preprocessing.pack import PackedTensors

from harness.backend import TrainedContext

PADDING = -1  # group id


def contexts_of(tensors: PackedTensors) -> list[TrainedContext]:
    """The rollouts in packed tensors, each [rows, tokens], without those that have no advantage."""
    names = ("group_ids", "parent_ids", "tokens", "assistant_mask", "advantages")
    columns = [tensors[name].numpy() for name in names]  # type: ignore[literal-required]
    return [context for row in zip(*columns, strict=True) for context in _of_row(*row)]


def _of_row(
    groups: np.ndarray, parents: np.ndarray, tokens: np.ndarray, mask: np.ndarray, advantages: np.ndarray
) -> Iterator[TrainedContext]:
    trained = mask & (advantages != 0)
    for group in dict.fromkeys(groups[trained].tolist()):
        if group == PADDING:
            continue
        own = groups == group
        whole = np.flatnonzero(own | (groups == parents[own][0]))  # the prompt stands before all that share it
        yield TrainedContext(tuple(tokens[whole].tolist()), tuple(np.flatnonzero(trained[whole]).tolist()))
