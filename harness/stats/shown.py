"""In how many seeds the switches behind an effect were shown at all.

A seed tells whether a factor matters only where its switch was shown at each level that is compared: in one run at
least of each. In the others (nothing was trained, or the chat template hides it) both levels may have been the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.stats.outcomes import Outcomes


@dataclass(frozen=True)
class Shown:
    """seeds: in which every switch was shown at each of its levels; text: empty where all seeds show them."""

    seeds: int
    text: str = ""


def shown(outcomes: Outcomes, factors: Sequence[str], arms: Sequence[int], seeds: Sequence[int]) -> Shown:
    """Of a comparison of these arms over these seeds (positions) that is to tell what the factors do."""
    told_N, texts = np.ones(len(seeds), dtype=bool), []
    for factor in factors:
        hidden_A_N = outcomes.unshown.get(factor, np.zeros_like(outcomes.counted_A_N))[np.ix_(arms, seeds)]
        levels = np.array([outcomes.arms[a].level(factor) for a in arms])
        tells_N = np.all([~hidden_A_N[levels == level].all(axis=0) for level in np.unique(levels)], axis=0)
        told_N &= tells_N
        if not tells_N.all():
            texts.append(_text(factor, hidden_A_N, int(tells_N.sum())))
    return Shown(int(told_N.sum()), ", ".join(texts))


def _text(factor: str, hidden_A_N: np.ndarray, told: int) -> str:
    """told: seeds that show the switch"""
    said = f"the switch of {factor} was not shown in {hidden_A_N.sum()} of {hidden_A_N.size} runs"
    return said if hidden_A_N.all() else f"{said}: {told} of {hidden_A_N.shape[1]} seeds show it at both levels"
