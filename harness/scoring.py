"""Which weights answered? The trainer scores what was served, on the ids that were served.

A model name says which adapter should have answered. Only log-probs say which one did: a server that has another file
under the right name, or another adapter in the slot, gives other ones. What is scored is what the policy saw, so
nothing that a fix changes later (tools, reward, kept log-probs) matters here.
"""

import asyncio
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from harness.backend import Backend, ScoredReply
from harness.evidence import RolloutTable
from harness.seams import Names, Scores

Array = npt.NDArray[np.floating]

SCORED = 4  # rollouts of a step; in 16 bits rounding takes some hundred tokens to average out


async def served_scores(sampled: RolloutTable, asked: str, names: Names, backend: Backend) -> Scores | None:
    """The scores under the name that was asked and under its rival; None where nothing can be scored.

    asked: a served model name, without litellm's provider prefix
    Before the step's update: the trainer forgets the weights of older steps.
    """
    turns = list(_turns(sampled))
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
    )


def compared(served: Array, answering: Array, rival: Array | None) -> Scores:
    """The scores of log-probs, each [tokens]."""
    gap = np.abs(served - answering)
    if rival is None:
        return Scores(float(gap.mean()), math.nan, math.nan, math.nan, math.nan, len(gap))
    rival_gap = np.abs(served - rival)
    both = rival_gap + gap
    better = np.divide(rival_gap - gap, both, out=np.zeros_like(both), where=both > 0)
    return Scores(
        gap=float(gap.mean()),
        rival_gap=float(rival_gap.mean()),
        apart=float(np.abs(answering - rival).mean()),
        preference=float(better.mean()),
        error=float(better.std(ddof=1) / math.sqrt(len(better))) if len(better) > 1 else math.nan,
        tokens=len(gap),
    )


def _turns(sampled: RolloutTable) -> Iterator[tuple[ScoredReply, Array]]:
    """The first and the last turn of some episodes, whose prompts are stored, with the log-probs as served.

    The first rollout of each task, then the second of each, and so on, until there are SCORED different episodes.
    """
    taken: set[str] = set()
    for place in sorted(sampled.asked, key=lambda place: (place[1], sampled.tasks.index(place[0]))):
        one = sampled.asked[place]
        if len(taken) == SCORED or one.key in taken:
            continue
        turns = one.episode.turns
        for number in sorted({0, len(turns) - 1}) if turns else ():
            turn = turns[number]
            if turn.prompt_ids and turn.logprobs and all(map(math.isfinite, turn.logprobs)):
                taken.add(one.key)
                yield ScoredReply(one.key, number, turn.prompt_ids, turn.output_ids), np.asarray(turn.logprobs)
