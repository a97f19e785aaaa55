"""The context that the trainer sees, and whether it is the one that was served.

ART re-tokenises a trajectory: `Trajectory.tools` missing, tools in another key order, or a tool call
rendered twice all give tokens that the policy never saw. Token equality is the only proof.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from art.preprocessing.tokenize import tokenize_trajectory
from art.trajectories import History, Trajectory
from transformers import PreTrainedTokenizerBase

from harness.episode import Episode
from harness.rollout import SourcedEpisode, choice_of


@dataclass(frozen=True)
class Comparison:
    """opening: the trained ids begin with the first turn as served; whole: they equal the whole rollout as
    served; tokens: how many the trainer sees."""

    opening: bool
    whole: bool
    tokens: int


class Contexts:
    """Compares served and trained tokens of episodes; each (episode, tools or none) is tokenised once.

    tool_schema_format: the key order in which ART renders tools, as the backend has it
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, tool_schema_format: str) -> None:
        self.tokenizer = tokenizer
        self.tool_schema_format = tool_schema_format
        self._known: dict[tuple[str, bool], Comparison] = {}

    def compare(self, asked: SourcedEpisode, attached: Sequence[dict[str, Any]] | None) -> Comparison:
        """ART's tokens of the episode, given `Trajectory.tools`, against the served and sampled ones."""
        key = (asked.key, attached is not None)
        if key not in self._known:
            first, last = asked.episode.turns[0], asked.episode.turns[-1]
            ids = self.trained_ids(asked.episode, attached)
            opening = [*(first.prompt_ids or ()), *first.output_ids]
            served = [*(last.prompt_ids or ()), *last.output_ids]
            self._known[key] = Comparison(ids[: len(opening)] == opening, ids == served, len(ids))
        return self._known[key]

    def trained_ids(self, episode: Episode, attached: Sequence[dict[str, Any]] | None) -> list[int]:
        """ART's own token ids of the whole episode, up to the last sampled token; [] without log-probs."""
        choices: list[Any] = [choice_of(episode.turns[m]) if isinstance(m, int) else m for m in episode.messages]
        tools: list[Any] | None = list(attached) if attached is not None else None
        return self.ids_of(Trajectory(messages_and_choices=choices, tools=tools))

    def ids_of(self, trajectory: Trajectory) -> list[int]:
        """ART's own token ids of a trajectory, up to the last sampled token; [] without log-probs."""
        result = tokenize_trajectory(
            self.tokenizer,
            None,
            History(messages_and_choices=trajectory.messages_and_choices, tools=trajectory.tools),
            advantage=1.0,
            allow_training_without_logprobs=False,
            trajectory=trajectory,
            chat_template_tool_schema_format=self.tool_schema_format,  # type: ignore[arg-type]
        )
        return result.token_ids if result else []
