"""Which weights answered? The trainer scores what was served, on the ids that were served.

A model name says which adapter should have answered. Only log-probs say which one did: a server that has another file
under the right name, or another adapter in the slot, gives other ones. What is scored is what the policy saw, so
nothing that a fix changes later (tools, reward, kept log-probs) matters here.
"""

import asyncio
import math
from collections.abc import Iterable, Iterator

import numpy as np

from harness.answering import Array, compared
from harness.backend import Backend, ScoredReply
from harness.evidence import RolloutTable
from harness.seams import Names, Scores

Turn = tuple[ScoredReply, Array]

# Turns of a step. In 16 bits the weights of two steps differ by less than rounding on most tokens, and 250 tokens did
# not tell them apart (experiments/LOG.md, 12).
SCORED_EXACT = 8
SCORED_16_BIT = 24


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
