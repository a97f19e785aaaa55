"""What a probe looks at: rollouts in their groups, and what is known of updates and tasks. Plain data.

None stands for "not known" everywhere: a symptom that needs it cannot be told.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypeVar

from harness.probe.declared import Declared
from harness.seams import Outcome

T = TypeVar("T")
Ids = tuple[int, ...]
Logprobs = tuple[float | None, ...]  # natural; None: the server sent no number
Message = Mapping[str, Any]
Tools = tuple[Mapping[str, Any], ...]
Render = Callable[[Sequence[Message], Tools | None, bool], Ids]

# Names that ART, verifiers, vLLM and this project give to the end of an episode that was cut off
CUT = re.compile(r"(^|_)(length|truncated|context|max_\w+|(turn|prompt|token)_limit|prompt_too_long)")

ENDED = ("stop", "tool_calls")  # finish reasons of replies that ended by themselves


@dataclass(frozen=True)
class Turn:
    """One reply of the policy.

    prompt_ids, output_ids: token ids as served and as sampled; logprobs: as served, one per output id
    adapter_logprobs, base_logprobs: of the same tokens by the weights that should have answered, computed by the
        trainer, and by those that are most easily taken for them (the base model, the step before)
    model: the name that answered, as the server says; temperature: that the request carried
    """

    prompt_ids: Ids | None = None
    output_ids: Ids | None = None
    logprobs: Logprobs | None = None
    adapter_logprobs: Logprobs | None = None
    base_logprobs: Logprobs | None = None
    finish_reason: str | None = None
    model: str | None = None
    temperature: float | None = None


@dataclass(frozen=True)
class Rollout:
    """One episode, as it was played and as it is trained on.

    turns: one for each reply of the policy, in order
    said: where the policy spoke in `messages`, one index for each turn
    keeps: of "tools", "logprobs", those that the source of this rollout can hold, so that their absence says something
    tools, sent_tools: the schemas that the trainer is told of, and those that the policy saw
    trained_ids, trained_mask: the context as the trainer rendered it, and which of its tokens are trained
    opening: how many of these ids stand before the first reply, where that is known without the reply's ids
    success: the benchmark's own reward; end: how it ended, as the source says
    split: "train" or "validation"; error: of an exception in the episode
    group: how the source calls the group that it is trained in
    """

    messages: tuple[Message, ...] = ()
    turns: tuple[Turn, ...] = ()
    said: tuple[int, ...] = ()
    keeps: frozenset[str] = frozenset()
    tools: Tools | None = None
    sent_tools: Tools | None = None
    trained_ids: Ids | None = None
    trained_mask: tuple[bool, ...] | None = None
    opening: int | None = None
    reward: float | None = None
    success: float | None = None
    advantage: float | None = None
    end: str | None = None
    step: int | None = None
    task: str | None = None
    split: str = "train"
    error: str | None = None
    group: str | None = None

    @property
    def cut(self) -> bool:
        """Whether it was cut off: by the length of a reply, the context or the number of turns."""
        return bool(CUT.search(self.end or "")) or any(turn.finish_reason == "length" for turn in self.turns)

    @property
    def left_out(self) -> bool:
        """Whether its mask is empty, as loops leave it of what was cut off, has raised or teaches nothing."""
        empty = self.trained_mask is not None and not any(self.trained_mask)
        return empty and (self.cut or self.error is not None or self.advantage == 0)

    @property
    def replies(self) -> Iterator[tuple[int, Turn]]:
        """Where each reply stands in the messages, and its turn."""
        return zip(self.said, self.turns, strict=False)

    @property
    def calls_tools(self) -> bool:
        return any(m.get("tool_calls") or m.get("role") == "tool" for m in self.messages)

    @cached_property
    def served(self) -> Ids | None:
        """The whole context as it was served and sampled."""
        last = self.turns[-1] if self.turns else Turn()
        return None if last.prompt_ids is None or last.output_ids is None else (*last.prompt_ids, *last.output_ids)

    @cached_property
    def places(self) -> tuple[int | None, ...]:
        """Where each turn's output begins in the trained ids; None where it does not stand there in one piece."""
        out: list[int | None] = []
        begin = 0
        for turn in self.turns:
            at = find(self.trained_ids or (), turn.output_ids or (), begin)
            out.append(at)
            begin = begin if at is None else at + len(turn.output_ids or ())
        return tuple(out)


@dataclass(frozen=True)
class Update:
    """What a training call did. step: that it ended in; moved: whether the weights are others than before.

    before, after: digests of the weights
    """

    step: int | None = None
    gradient_steps: float | None = None
    trained_tokens: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    moved: bool | None = None
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True)
class Replayed:
    """What an environment does with a rollout's replies.

    opening: the messages before the first reply; answers: what follows on each reply, up to its end
    ended: the number of the reply upon which it ends the conversation; None: it would go on
    outcome: as the environment judges it
    """

    opening: tuple[Message, ...]
    answers: tuple[tuple[Message, ...], ...]
    ended: int | None
    outcome: Outcome | None


class Replays(Protocol):
    """The environment, to which replies are fed once more (replay.py)."""

    @property
    def world(self) -> Any: ...

    @property
    def follows(self) -> bool: ...

    def all(self, rollouts: Iterable[Rollout], calls: int | None = None) -> list[Replayed | str | None]: ...


@dataclass(frozen=True)
class Material:
    """All that is known.

    groups: of training rollouts; validation: rollouts of the loop's own validation
    train_tasks, validation_tasks: ids in the order in which they are asked, None for an index past the end
    validations: what each step validates, where that is known by step
    group_size: rollouts that a loop asks for in each group; epochs: how often it means to train on each
    known_tasks: the ids that exist
    decode: token ids to text; bos, eos: token ids
    exact: sampler and trainer compute in float32; else in 16 bits, where log-probs differ by rounding
    trainings: what each step may train on, where that is known by step
    declared: what the loop is meant to do; replay: the environment, to which replies are fed once more
    render: messages and tools as the token ids of a prompt; with calls' arguments as text (False) or as objects (True)
    """

    groups: tuple[tuple[Rollout, ...], ...] = ()
    validation: tuple[Rollout, ...] = ()
    updates: tuple[Update, ...] = ()
    train_tasks: tuple[str | None, ...] | None = None
    validation_tasks: tuple[str | None, ...] | None = None
    known_tasks: frozenset[str] | None = None
    validations: tuple[tuple[str | None, ...], ...] = ()
    group_size: int | None = None
    epochs: int | None = None
    decode: Callable[[Sequence[int]], str] | None = None
    bos: int | None = None
    eos: frozenset[int] = frozenset()
    exact: bool = False
    trainings: tuple[tuple[str | None, ...], ...] = ()
    declared: Declared = field(default_factory=Declared)
    replay: "Replays | None" = None
    render: Render | None = None

    def once(self, made: "Callable[[Material], T]") -> T:
        """What is made of the material, made once for all symptoms that ask for it."""
        kept: dict[object, T] = self.__dict__.setdefault("_kept", {})
        if made not in kept:
            kept[made] = made(self)
        return kept[made]

    @property
    def rollouts(self) -> Iterator[Rollout]:
        """Those that are trained on."""
        return (rollout for group in self.groups for rollout in group)

    @property
    def turns(self) -> Iterator[Turn]:
        return (turn for rollout in self.rollouts for turn in rollout.turns)

    @cached_property
    def rewarded(self) -> tuple[tuple[Rollout, ...], ...]:
        """Groups of at least two rollouts with a reward: those that can have an advantage."""
        groups = (tuple(r for r in group if r.reward is not None) for group in self.groups)
        return tuple(group for group in groups if len(group) > 1)


def find(ids: Sequence[int], part: Sequence[int], begin: int = 0) -> int | None:
    """Where the part, which must not be empty, stands in the ids in one piece, from `begin` on."""
    if not part:
        return None
    return next(
        (n for n in range(begin, len(ids) - len(part) + 1) if ids[n] == part[0] and ids[n : n + len(part)] == part),
        None,
    )


def text_of(message: Message) -> str:
    """A message's text; that of its parts, where it has several."""
    content = message.get("content")
    if isinstance(content, Sequence) and not isinstance(content, str):
        return "".join(str(part.get("text") or "") if isinstance(part, Mapping) else str(part) for part in content)
    return str(content or "")
