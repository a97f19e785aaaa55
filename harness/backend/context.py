"""The contexts that were trained, set beside what was served: token equality is the only proof.

ART re-tokenises a trajectory: `Trajectory.tools` missing, tools in another key order, or a tool call rendered twice all
give tokens that the policy never saw. What is judged are the ids in the tensors that ART packed. ART's code tokenises
an episode a second time only to find out what each kind of context looks like.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from art.preprocessing.tokenize import TokenizedResult, tokenize_trajectory
from art.trajectories import History, Trajectory

from harness.backend import TrainedContext
from harness.backend.stock import SCHEMA_FORMATS
from harness.backend.tokenizer import tokenizer_of
from harness.episode import Episode
from harness.policy.template import doubles_calls, read
from harness.rollout import SourcedEpisode, choice_of
from harness.seams import Rendering

Ids = tuple[int, ...]
# Kinds of an opening beside "served", and what ART is given to render them: with the tools or without, and in which key
# order.
OPENINGS: Mapping[str, tuple[bool, Literal["served", "stock"]]] = {
    "rendered": (True, "served"),
    "stock_order": (True, "stock"),
    "no_tools": (False, "served"),
}
BORDER = 4  # tokens: a part of a list of tools stands between others than the list does


@dataclass(frozen=True)
class ContextKind:
    """What a trained context is.

    key: of the episode whose sampled ids it trains; None: of none of the step
    opening: its kinds up to the first turn's output, "served" or of OPENINGS; several where they are the same ids; none
        if it is something else; "rendered" only where ART renders it otherwise than it was served
    rest: the same of what follows, "served", "twice" or "once" (once, and otherwise than it was served); None: no call
        stands before the last turn
    served: the whole is what was served and sampled
    apart: ART renders the opening otherwise than it was served, and not because of the tools
    """

    key: str | None
    opening: frozenset[str] = frozenset()
    rest: frozenset[str] | None = frozenset()
    served: bool = False
    apart: bool = False


class Contexts:
    """Judges trained contexts; each (episode, ids) once.

    checkpoint: whose tokenizer and chat template serve and train; tools: the schemas that are sent to the policy
    """

    def __init__(self, checkpoint: str, tools: Sequence[dict[str, Any]]) -> None:
        self.checkpoint = checkpoint
        self.tools = list(tools)
        self._judged: dict[tuple[str, int], ContextKind] = {}
        self._lengths: dict[tuple[str, bool, Rendering], int] = {}
        self._prompts: dict[Ids, dict[str, Ids]] = {}
        # Read off the template, not off what the trainer's tokenizer makes of it.
        self._doubles = doubles_calls(checkpoint, read(Path(checkpoint)) or "", self.tools)

    def judge(self, trained: Sequence[TrainedContext], asked: Sequence[SourcedEpisode]) -> list[ContextKind]:
        """What each trained context is, given the episodes of the step. Each episode is trained at most once."""
        by_sample: dict[Ids, list[SourcedEpisode]] = {}
        for each in asked:
            by_sample.setdefault(tuple(chain(*each.episode.sampled_ids)), []).append(each)
        return [self._matched(context, by_sample.get(context.sampled, [])) for context in trained]

    def length(self, asked: SourcedEpisode, attached: Sequence[dict[str, Any]] | None, rendering: Rendering) -> int:
        """Tokens of the episode as ART would train on it; 0 without log-probs."""
        key = (asked.key, attached is not None, rendering)
        if key not in self._lengths:
            self._lengths[key] = len(self.ids_of(_trajectory(asked.episode, attached), rendering))
        return self._lengths[key]

    def ids_of(self, trajectory: Trajectory, rendering: Rendering) -> list[int]:
        """ART's own token ids of a trajectory, up to the last sampled token; [] without log-probs."""
        result = self._tokenized(trajectory, rendering)
        return result.token_ids if result else []

    def _matched(self, context: TrainedContext, candidates: list[SourcedEpisode]) -> ContextKind:
        """The best of the episodes that sampled these ids, which is then taken."""
        found = [self._judge(context, asked) for asked in candidates]
        if not found:
            return ContextKind(None)
        best = max(range(len(found)), key=lambda i: (found[i].served, len(found[i].opening), bool(found[i].rest)))
        del candidates[best]
        return found[best]

    def _judge(self, context: TrainedContext, asked: SourcedEpisode) -> ContextKind:
        key = (asked.key, hash(context.ids))
        if key not in self._judged:
            first, last = asked.episode.turns[0], asked.episode.turns[-1]
            opening, rest = _split(context, len(first.output_ids))
            whole = (*(last.prompt_ids or ()), *last.output_ids)
            kinds, apart = self._opening(opening, asked.episode)
            shown = self._rest(rest, kinds, whole, asked.episode)
            self._judged[key] = ContextKind(asked.key, kinds, shown, context.ids == whole, apart)
        return self._judged[key]

    def _opening(self, opening: Ids, episode: Episode) -> tuple[frozenset[str], bool]:
        """Its kinds, and whether ART renders more than the tools otherwise than it was served."""
        prompt, output = episode.turns[0].prompt_ids or (), episode.turns[0].output_ids
        if prompt not in self._prompts:  # all rollouts of a task have it in common
            self._prompts[prompt] = self._openings(episode)
        known = self._prompts[prompt]
        if not any((*ids, *output) == opening for ids in known.values()):
            known = self._openings(episode)  # a template may begin in another way where other turns follow
        kinds = frozenset(kind for kind, ids in known.items() if (*ids, *output) == opening)
        return kinds, "rendered" in known and "served" not in kinds

    def _rest(self, rest: Ids, opening: frozenset[str], whole: Ids, episode: Episode) -> frozenset[str] | None:
        if not any(turn.tool_calls for turn in episode.turns[:-1]):
            return None
        first = episode.turns[0]
        start = (*(first.prompt_ids or ()), *first.output_ids)
        served = whole[: len(start)] == start and whole[len(start) :] == rest
        if served:
            return frozenset({"served"} if self._doubles else {"served", "twice"})
        kind = next((kind for kind in OPENINGS if kind in opening), "rendered")
        if self._doubles and self._example(episode, kind, "twice")[1] == rest:  # first: "once" may be rendered wrongly
            return frozenset({"twice"})
        if self._example(episode, kind, "once")[1] == rest:
            return frozenset({"once"} if self._doubles else {"once", "twice"})
        return frozenset()

    def _openings(self, episode: Episode) -> dict[str, Ids]:
        """The prompt of the first turn in each kind of opening: as it was served, and as ART renders it.

        Where ART renders it otherwise than it was served, what the tools add to it must stand in what was served,
        between the same tokens: else ART renders the tools otherwise, or not all of them, and shows no example of them.
        """
        found = {kind: self._example(episode, kind, "once")[0] for kind in OPENINGS}
        served = episode.turns[0].prompt_ids or ()
        if found["rendered"] == served:
            del found["rendered"]
        elif self.tools and not _contains(served, _added(found["rendered"], found["no_tools"])):
            del found["rendered"], found["stock_order"]
        return found | {"served": served}

    def _example(self, episode: Episode, kind: str, calls: Literal["once", "twice"]) -> tuple[Ids, Ids]:
        """The first turn's prompt and what follows its output, as ART renders them."""
        attached, order = OPENINGS[kind]
        trajectory = _trajectory(episode, self.tools if attached else None)
        result = self._tokenized(trajectory, Rendering(order, calls))
        if result is None:
            return (), ()
        start = result.choice_offsets[0]
        end = start + len(episode.turns[0].output_ids)
        return tuple(result.token_ids[:start]), tuple(result.token_ids[end:])

    def _tokenized(self, trajectory: Trajectory, rendering: Rendering) -> TokenizedResult | None:
        return tokenize_trajectory(
            tokenizer_of(self.checkpoint, rendering.calls),
            None,
            History(messages_and_choices=trajectory.messages_and_choices, tools=trajectory.tools),
            advantage=1.0,
            allow_training_without_logprobs=False,
            trajectory=trajectory,
            chat_template_tool_schema_format=SCHEMA_FORMATS[rendering.tool_order],
        )


def _split(context: TrainedContext, first_output: int) -> tuple[Ids, Ids]:
    """The ids up to the end of the first turn's output, and those that follow."""
    end = context.trained[first_output - 1] + 1 if 0 < first_output <= len(context.trained) else 0
    return context.ids[:end], context.ids[end:]


def _added(longer: Ids, shorter: Ids) -> Ids:
    """The ids of `longer` between what the two begin with and what they end with alike, and BORDER on either side;
    nothing where they are the same."""
    room = min(len(longer), len(shorter))
    start = next((n for n in range(room) if longer[n] != shorter[n]), room)
    end = next((n for n in range(room - start) if longer[-1 - n] != shorter[-1 - n]), room - start)
    return longer[max(start - BORDER, 0) : len(longer) - end + BORDER] if longer != shorter else ()


def _contains(ids: Ids, part: Ids) -> bool:
    """Whether the part, which must not be empty, stands in the ids in one piece."""
    return any(ids[n] == part[0] and ids[n : n + len(part)] == part for n in range(len(ids))) if part else False


def _trajectory(episode: Episode, attached: Sequence[dict[str, Any]] | None) -> Trajectory:
    choices: list[Any] = [choice_of(episode.turns[m]) if isinstance(m, int) else m for m in episode.messages]
    tools: list[Any] | None = list(attached) if attached is not None else None
    return Trajectory(messages_and_choices=choices, tools=tools)
