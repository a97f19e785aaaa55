"""One finished episode: what was served, what was sampled, how it was judged. Plain data.

An episode is sampled once and can stand in many trajectories: what a fix changes (tools, reward,
log-probs) is applied when the trajectory is built, never to the episode.
"""

import json
import math
from dataclasses import dataclass, field
from typing import Any

from harness.seams import Outcome

# Part of every episode's key in the store and of a sweep's manifest: raise it when a change here, in the rollout, the
# player or the environment changes what an episode is. 2: the prompt's ids on the first turn and the last one only.
# 3: no check of an unfinished episode is met. 4: `end` and `raised` stand in the outcome, a limit of the prompt ends an
# episode, the user and each request's temperature are recorded, refused calls and empty replies earn nothing, text
# that no encoder takes is replaced, and a tool's answer names its tool.
EPISODE_VERSION = 4

SCRIPTED = {"kind": "scripted"}  # the user of every episode before version 4


@dataclass(frozen=True)
class Turn:
    """One completion.

    prompt_ids: token ids as served; None on a turn that is neither the first nor the last of its episode
    output_ids: token ids as sampled
    logprobs: natural log, finite, one per output id; None if the deployment dropped them or sent others
    tool_calls: all that the server parsed, as {"id", "name", "arguments"} with arguments as JSON text
    answered_by: digest of the weights behind the model name that the server says has answered
    temperature: that the request carried; NaN for none, and in an episode that was stored before version 4
    """

    prompt_ids: tuple[int, ...] | None
    output_ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    content: str | None
    tool_calls: tuple[dict[str, str], ...]
    finish_reason: str
    answered_by: str
    temperature: float = math.nan


@dataclass(frozen=True)
class Episode:
    """messages: chat messages as sent, with a turn's index where its choice stands.

    turns: none where the first prompt fills the context
    seconds: wall-clock time of the computation
    user: who the user was and how it was asked (see `UserConfig`)
    spent: what a user who is a model cost (`harness.users.asking.Spent`); None: it was none
    """

    task_id: str
    messages: tuple[dict[str, Any] | int, ...]
    turns: tuple[Turn, ...]
    outcome: Outcome
    seconds: float
    user: dict[str, Any] = field(default_factory=lambda: dict(SCRIPTED))
    spent: dict[str, int] | None = None

    @property
    def end(self) -> str:
        """See `Outcome.end`."""
        return self.outcome.end

    @property
    def sampled_ids(self) -> tuple[tuple[int, ...], ...]:
        """What makes two rollouts the same: the sampled token ids of every turn."""
        return tuple(turn.output_ids for turn in self.turns)

    def to_bytes(self) -> bytes:
        # vars, not asdict: nothing here is changed later, and asdict copies every list of token ids
        judged = {name: value for name, value in vars(self.outcome).items() if name != "shaped" or value is not None}
        plain = vars(self) | {"turns": [vars(turn) for turn in self.turns], "outcome": judged}
        if self.spent is None:
            del plain["spent"]
        return json.dumps(plain, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Episode":
        data = json.loads(raw)
        before_4 = {"end": data["end"]} if "end" in data else {}  # then it stood beside the outcome
        return cls(
            data["task_id"],
            tuple(data["messages"]),
            tuple(_turn(turn) for turn in data["turns"]),
            Outcome(**data["outcome"], **before_4),
            data["seconds"],
            data.get("user", dict(SCRIPTED)),
            data.get("spent"),
        )


def _turn(data: dict[str, Any]) -> Turn:
    lists = ("prompt_ids", "output_ids", "logprobs", "tool_calls")
    return Turn(**data | {name: tuple(data[name]) for name in lists if data[name] is not None})


def same_rollout(stored: bytes, again: bytes) -> bool:
    """An audit's question: did the recomputation sample the same tokens and get the same judgement?"""
    a, b = Episode.from_bytes(stored), Episode.from_bytes(again)
    return a.sampled_ids == b.sampled_ids and a.outcome == b.outcome
