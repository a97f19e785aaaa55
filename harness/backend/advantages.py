"""The advantages that ART computed and packed, shuffled among the rollouts of a step.

ART makes a rollout's advantage of its reward and of its group's, so rewards that are shuffled within a group give that
group its own advantages in another order. Here the whole step is one urn: a rollout may get the advantage of another
group. Which group did well, and by how much, is gone too; the values stay what ART had computed.
"""

import numpy as np
import torch
from art.preprocessing.pack import PackedTensors

from harness.backend.packed import rollouts_of


def shuffled(tensors: PackedTensors, seed: int) -> PackedTensors:
    """The same tensors with other advantages; every order of the trained rollouts is as likely."""
    advantages = tensors["advantages"].clone()
    places = rollouts_of(tensors)
    values = torch.stack([advantages[place][0] for place in places]) if places else advantages.new_empty(0)
    for place, value in zip(places, values[np.random.default_rng(seed).permutation(len(places))], strict=True):
        advantages[place] = value
    return PackedTensors(**{**tensors, "advantages": advantages})
