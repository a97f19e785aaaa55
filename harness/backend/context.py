"""The context that the trainer sees, and whether it is the one that was served.

ART re-tokenises a trajectory: `Trajectory.tools` missing, tools in another key order, or a tool call
rendered twice all give tokens that the policy never saw. Token equality is the only proof.
"""

from collections.abc import Sequence
from typing import Any

from art.preprocessing.tokenize import tokenize_trajectory
from art.trajectories import History, Trajectory
from transformers import PreTrainedTokenizerBase

from harness.episode import Episode
from harness.rollout import Asked, _choice
from harness.seams import Tools


class Contexts:
    """Compares served and trained tokens of episodes; each (episode, tools) is tokenised once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, tools: list[dict[str, Any]]) -> None:
        self.tokenizer = tokenizer
        self.tools = tools
        self._known: dict[tuple[str, bool], bool] = {}

    def equal(self, asked: Asked, attached: Sequence[dict[str, Any]] | None) -> bool:
        """Whether ART's tokens of the episode, given `Trajectory.tools`, are the served and sampled ones."""
        key = (asked.key, attached is not None)
        if key not in self._known:
            self._known[key] = self.trained_ids(asked.episode, attached) == served_ids(asked.episode)
        return self._known[key]

    def trained_ids(self, episode: Episode, attached: Sequence[dict[str, Any]] | None) -> list[int]:
        """ART's own token ids of the whole episode, up to the last sampled token."""
        messages = [_choice(episode.turns[m]) if isinstance(m, int) else m for m in episode.messages]
        tools = list(attached) if attached is not None else None
        trajectory = Trajectory(messages_and_choices=messages, tools=tools)
        result = tokenize_trajectory(
            self.tokenizer,
            None,
            History(messages_and_choices=trajectory.messages_and_choices, tools=trajectory.tools),
            advantage=1.0,
            allow_training_without_logprobs=False,
            trajectory=trajectory,
            chat_template_tool_schema_format="vllm_openai",
        )
        return result.token_ids if result else []


def served_ids(episode: Episode) -> list[int]:
    """The last turn's prompt and output: all that the policy saw and said."""
    last = episode.turns[-1]
    return [*last.prompt_ids, *last.output_ids]


__all__ = ["Contexts", "Tools", "served_ids"]
