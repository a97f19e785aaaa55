"""One finished episode: what was served, what was sampled, how it was judged. Plain data.

An episode is sampled once and can stand in many trajectories: what a fix changes (tools, reward,
log-probs) is applied when the trajectory is built, never to the episode.
"""

import json
from dataclasses import dataclass
from typing import Any

from harness.seams import Outcome

# Part of every episode's key in the store and of a sweep's manifest: raise it when a change here, in the rollout, the
# player or the environment changes what an episode is. 2: the prompt's ids on the first turn and the last one only.
# 3: no check of an unfinished episode is met.
EPISODE_VERSION = 3


@dataclass(frozen=True)
class Turn:
    """One completion.

    prompt_ids: token ids as served; None on a turn that is neither the first nor the last of its episode
    output_ids: token ids as sampled
    logprobs: natural log, one per output id; None if the deployment dropped them
    tool_calls: all that the server parsed, as {"id", "name", "arguments"} with arguments as JSON text
    answered_by: digest of the weights behind the model name that the server says has answered
    """

    prompt_ids: tuple[int, ...] | None
    output_ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    content: str | None
    tool_calls: tuple[dict[str, str], ...]
    finish_reason: str
    answered_by: str


@dataclass(frozen=True)
class Episode:
    """messages: chat messages as sent, with a turn's index where its choice stands.

    end: `user_stop`, `turn_limit`, `length` (the context is full or a reply was cut)
    seconds: wall-clock time of the computation
    """

    task_id: str
    messages: tuple[dict[str, Any] | int, ...]
    turns: tuple[Turn, ...]
    outcome: Outcome
    end: str
    seconds: float

    def to_bytes(self) -> bytes:
        # vars, not asdict: nothing here is changed later, and asdict copies every list of token ids
        plain = vars(self) | {"turns": [vars(turn) for turn in self.turns], "outcome": vars(self.outcome)}
        return json.dumps(plain, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Episode":
        data = json.loads(raw)
        turns = tuple(
            Turn(
                None if t["prompt_ids"] is None else tuple(t["prompt_ids"]),
                tuple(t["output_ids"]),
                None if t["logprobs"] is None else tuple(t["logprobs"]),
                t["content"],
                tuple(t["tool_calls"]),
                t["finish_reason"],
                t["answered_by"],
            )
            for t in data["turns"]
        )
        return cls(
            data["task_id"],
            tuple(data["messages"]),
            turns,
            Outcome(**data["outcome"]),
            data["end"],
            data["seconds"],
        )

    @property
    def sampled_ids(self) -> tuple[tuple[int, ...], ...]:
        """What makes two rollouts the same: the sampled token ids of every turn."""
        return tuple(turn.output_ids for turn in self.turns)


def same_rollout(stored: bytes, again: bytes) -> bool:
    """An audit's question: did the recomputation sample the same tokens and get the same judgement?"""
    a, b = Episode.from_bytes(stored), Episode.from_bytes(again)
    return a.sampled_ids == b.sampled_ids and a.outcome == b.outcome
