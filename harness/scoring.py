"""Which weights answered? The trainer scores what was served, on the ids that were served.

A model name says which adapter should have answered. Only log-probs say which one did: a server that has another file
under the right name, or another adapter in the slot, gives other ones. What is scored is what the policy saw, so
nothing that a fix changes later (tools, reward, kept log-probs) matters here.
"""

import asyncio
import math
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from harness.backend import Backend, ScoredReply
from harness.evidence import RolloutTable
from harness.seams import Names, Scores

Array = npt.NDArray[np.floating]
Turn = tuple[ScoredReply, Array]

# Turns of a step. In 16 bits the weights of two steps differ by less than rounding on most tokens, and 250 tokens did
# not tell them apart (experiments/LOG.md, 12).
SCORED_EXACT = 8
SCORED_16_BIT = 24
EQUAL = 1e-6  # relative: a mean of equal numbers may lie above them by rounding


async def served_scores(
    sampled: RolloutTable, asked: str, names: Names, backend: Backend, exact: bool
) -> Scores | None:
    """The scores under the name that was asked and under its rival; None where nothing can be scored.

    asked: a served model name, without litellm's provider prefix
    exact: the sampler computes in float32
    Before the step's update: the trainer forgets the weights of older steps.
    """
    turns = _most_surprising(_turns(sampled), SCORED_EXACT if exact else SCORED_16_BIT)
    if not turns:
        return None
    replies = [reply for reply, _ in turns]
    answering, rival = await asyncio.gather(*(backend.score(n, replies) for n in (asked, names.rival(asked))))
    if answering is None:
        return None
    return compared(
        np.concatenate([logprobs for _, logprobs in turns]),
        np.concatenate(answering),
        None if rival is None else np.concatenate(rival),
        np.repeat(np.arange(len(turns)), [len(logprobs) for _, logprobs in turns]),
    )


def compared(served: Array, answering: Array, rival: Array | None, reply: npt.NDArray[np.integer]) -> Scores:
    """The scores of log-probs, each [tokens]; reply: which one a token belongs to.

    Tokens on which the two weights differ by less than their mean difference are not asked which weights explain them
    better: rounding answers. The choice looks at the two weights alone, so it favours neither.
    """
    gap = np.abs(served - answering)
    if rival is None:
        return Scores(float(gap.mean()), math.nan, math.nan, math.nan, math.nan, len(gap), 0)
    rival_gap, apart = np.abs(served - rival), np.abs(answering - rival)
    telling = apart >= apart.mean() * (1 - EQUAL)
    both = (rival_gap + gap)[telling]
    better = np.divide((rival_gap - gap)[telling], both, out=np.zeros_like(both), where=both > 0)
    return Scores(
        gap=float(gap.mean()),
        rival_gap=float(rival_gap.mean()),
        apart=float(apart.mean()),
        preference=float(better.mean()),
        error=_error_of_mean(better, reply[telling]),
        tokens=len(gap),
        replies=len(np.unique(reply[telling])),
    )


def _error_of_mean(values: Array, cluster: npt.NDArray[np.integer]) -> float:
    """Standard error of the mean of values that depend on each other within clusters; NaN for one cluster.

    The cluster-robust one with the factor G / (G - 1) for G clusters (Cameron and Miller, 2015, J. Human Resources 50).
    """
    found, place = np.unique(cluster, return_inverse=True)
    if len(found) < 2:
        return math.nan
    sums = np.bincount(place, weights=values - values.mean())
    return float(math.sqrt(len(found) / (len(found) - 1) * float(sums @ sums)) / len(values))


def _turns(sampled: RolloutTable) -> Iterator[Turn]:
    """The first and the last turn of each episode, whose prompts are stored: what is to be scored, and the log-probs as
    served. The first rollout of each task, then the second of each, and so on.
    """
    taken: set[str] = set()
    for place in sorted(sampled.asked, key=lambda place: (place[1], sampled.tasks.index(place[0]))):
        one = sampled.asked[place]
        turns = one.episode.turns
        if one.key in taken or not turns:
            continue
        taken.add(one.key)
        for number in sorted({0, len(turns) - 1}):
            turn = turns[number]
            if turn.prompt_ids and turn.logprobs and all(map(math.isfinite, turn.logprobs)):
                yield ScoredReply(one.key, number, turn.prompt_ids, turn.output_ids), np.asarray(turn.logprobs)


def _most_surprising(turns: Iterable[Turn], count: int) -> list[Turn]:
    """Those whose tokens were least probable together: a token that is certain under all weights tells nothing."""
    return sorted(turns, key=lambda turn: float(turn[1].sum()))[:count]
