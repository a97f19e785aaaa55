"""Two episodes of one key: the stored one, and the one that was played again."""

import json
from itertools import zip_longest

from harness.episode import Episode, Turn
from harness.replay.findings import DIFFERS, EPISODES, OTHER_TOKENS, SAME, WITHIN, Compared

NOT_RESULTS = ("seconds", "spent")  # of an episode


def compare_episodes(stored: bytes, again: bytes, tolerance: float) -> Compared:
    """tolerance: mean |difference| of log-probs (nats) that rounding accounts for.

    Other tokens part two episodes: what follows in them is not compared. How many may do so is not judged here.
    """
    if _results(stored) == _results(again):
        return _of(stored, SAME, "")
    there, here = Episode.from_bytes(stored), Episode.from_bytes(again)
    gaps: list[float] = []
    for number, (one, other) in enumerate(zip_longest(there.turns, here.turns), 1):
        if one is None or other is None:
            return _of(stored, DIFFERS, f"{len(there.turns)} turns there, {len(here.turns)} here, all equal so far")
        if one.prompt_ids != other.prompt_ids:
            return _of(stored, DIFFERS, f"turn {number}: the same replies so far, and another prompt")
        gaps += _gaps(one, other)
        if one.output_ids != other.output_ids:
            same = _equal_until(one, other)
            if _mean(gaps) > tolerance:
                return _of(stored, DIFFERS, _log_probs(gaps, tolerance))
            return _of(stored, OTHER_TOKENS, f"turn {number}: other tokens after {same} equal ones")
    if there.outcome != here.outcome:
        changed = [name for name, value in vars(there.outcome).items() if vars(here.outcome)[name] != value]
        both = ", ".join(f"{n} {vars(there.outcome)[n]} there, {vars(here.outcome)[n]} here" for n in changed)
        return _of(stored, DIFFERS, f"the same tokens, and another judgement: {both}")
    if there.messages != here.messages:
        return _of(stored, DIFFERS, "the same tokens, and other messages")
    if [turn.answered_by for turn in there.turns] != [turn.answered_by for turn in here.turns]:
        return _of(stored, DIFFERS, "the same tokens, said to be answered by other weights")
    if (None in [t.logprobs for t in there.turns]) != (None in [t.logprobs for t in here.turns]):
        return _of(stored, DIFFERS, "log-probs on one side alone")
    if not _mean(gaps) <= tolerance:  # not >: NaN is a difference
        return _of(stored, DIFFERS, _log_probs(gaps, tolerance))
    return _of(stored, WITHIN, _log_probs(gaps, tolerance))


def _results(raw: bytes) -> str:
    return json.dumps({k: v for k, v in json.loads(raw).items() if k not in NOT_RESULTS}, sort_keys=True)


def _of(stored: bytes, verdict: str, detail: str) -> Compared:
    episode = Episode.from_bytes(stored)
    text = f"task {episode.task_id}: {detail}" if detail else ""
    return Compared(EPISODES, episode.task_id, verdict, text, len(episode.turns))


def _equal_until(one: Turn, other: Turn) -> int:
    pairs = zip(one.output_ids, other.output_ids, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one.output_ids), len(other.output_ids)))


def _gaps(one: Turn, other: Turn) -> list[float]:
    """Of the log-probs up to the first token that differs."""
    upto = _equal_until(one, other)
    pairs = zip((one.logprobs or ())[:upto], (other.logprobs or ())[:upto], strict=False)
    return [abs(a - b) for a, b in pairs]


def _mean(gaps: list[float]) -> float:
    return sum(gaps) / len(gaps) if gaps else 0.0


def _log_probs(gaps: list[float], tolerance: float) -> str:
    return f"log-probs differ by {_mean(gaps):.2g} nats in the mean (tolerance {tolerance:.2g})"
