"""What the harness needs of an environment: two Protocols. `Domain` (tau2's worlds) satisfies them, so may yours.

An environment is tasks with tools and a user; a conversation is one task being played. The harness puts the policy
between them: it sends `system_prompt`, `tools` and the user's messages, and hands back calls and texts. Nothing here
knows of models, tokens or training. docs/bring_your_own.md writes a small one.

Three things are asked beyond the signatures:
- The same task and seed answered in the same way give the same conversation and the same outcome, in every process:
  episodes are stored, shared by arms and replayed. What is random is drawn from the task's id, a user's luck from the
  seed.
- Every process makes the environment anew from the same target and arguments, and compares `digest`.
- Many conversations are under way at once in one process. They share the environment, which must not change.

Where some tasks are variants of one another, an environment also has `task_groups` (`TaskGroups` below); further sets
of held-out tasks are `validation_sets`; what solves a task is its `solution`, from which follows what rewards lie
between (agents.py), unless it says so itself (`bounds`). Where the user asks a model, `user` says who it is; where our
model may play the user (`user=llm`), there are `role` and `played_by`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from harness.seams import Outcome


class Conversation(Protocol):
    """One task being played, for one episode."""

    @property
    def closing(self) -> bool:
        """Whether the user may stop after the policy's next text. True too often costs time, never correctness."""
        ...

    @property
    def done(self) -> bool:
        """Whether a tool has ended the conversation: then the policy is asked no more, and what it did is judged. Asked
        after every call; False for ever where no tool does that."""
        ...

    async def opening(self) -> str:
        """The user's first message. Awaited once, before all else: a user may be a model."""
        ...

    def call_tool(self, call_id: str, name: str, arguments: Any) -> str:
        """The tool's answer. Whatever the policy wrote arrives here: unknown names, wrong or missing arguments, or
        {"arguments": <text>} where it wrote no JSON object. All of these are answered by a text, never raised."""
        ...

    async def reply(self, text: str) -> str | None:
        """The user's next message after a text of the policy; None: the user stops, which ends the episode well. The
        text is empty, or blank, where the policy wrote neither text nor call."""
        ...

    def outcome(self, stopped: bool) -> Outcome:
        """Judges the conversation so far. stopped: whether the user or a tool ended it, not a limit.

        `reward` 1.0 is success, 0.0 is not; with fix/reward=on an episode without success earns a share of its checks
        (actions, facts, database). A task without such checks has totals of 0 and `db_match` None.
        """
        ...


class Environment(Protocol):
    """Tasks of one kind, with what every one of them shares."""

    @property
    def name(self) -> str:
        """For plans and messages, e.g. retail."""
        ...

    @property
    def system_prompt(self) -> str: ...

    @property
    def tools(self) -> list[dict[str, Any]]:
        """Schemas as OpenAI's API takes them: {"type": "function", "function": {"name", "description", …}}."""
        ...

    @property
    def train_ids(self) -> Sequence[str]:
        """Ids of the tasks to train on, in a fixed order."""
        ...

    @property
    def test_ids(self) -> Sequence[str]:
        """Ids of the held-out tasks, by which every arm is validated; none of `train_ids` is among them."""
        ...

    @property
    def digest(self) -> str:
        """Another one whenever tasks, split, prompt, tools, user or rules are: a sweep is not continued with it."""
        ...

    def task_digest(self, task_id: str) -> str:
        """Names one task's content; the id itself where `digest` covers the rest."""
        ...

    def start(self, task_id: str, seed: int) -> Conversation:
        """A new conversation. seed: of the user's luck; a user without any ignores it, and its conversations are the
        same for all seeds. Raises KeyError for an id that does not exist."""
        ...


class TaskGroups(Protocol):
    """What an environment has besides where its tasks are variants of one another: the same request with other names,
    say, which a policy solves all or none of. Intervals count a group as one task: variants are no new evidence."""

    @property
    def task_groups(self) -> Mapping[str, str]:
        """By task id the name of its group, which may be the id of one of its tasks. A task that is not named is a
        group of its own."""
        ...


class ValidationSets(Protocol):
    """What an environment has besides where there are held-out tasks beyond `test_ids`, which `validation.also` names:
    of another kind, or another benchmark's with the same prompt and tools."""

    @property
    def validation_sets(self) -> Mapping[str, Sequence[str]]:
        """By name the ids of a set; none of them is trained on or in `test_ids`."""
        ...


@dataclass(frozen=True)
class Call:
    """A tool call."""

    name: str
    arguments: dict[str, Any]


Step = Call | str  # what an agent does: a call, or a text for the user


class Solved(Protocol):
    """What an environment has besides where it knows what solves its tasks."""

    def solution(self, task_id: str) -> Iterable[Step]:
        """What an agent that makes no mistake does, whatever the answers are. Raises KeyError for an unknown id."""
        ...


class Bounded(Protocol):
    """What an environment has besides where it can say what rewards lie between."""

    def bounds(self, task_ids: Sequence[str]) -> tuple[float, float]:
        """Mean rewards on these tasks: of an agent that does nothing, and of one that makes no mistake."""
        ...


class DeclaredUser(Protocol):
    """What an environment has besides where its user is more than a script: one that asks a model, or that draws luck
    from a conversation's seed."""

    @property
    def user(self) -> Mapping[str, Any]:
        """Who the user is and how it is asked, all that changes what it says: `{"kind": "model", "model": …,
        "temperature": …}`. Plain data. It stands in each episode's record and is part of its key, in place of
        `{"kind": "scripted"}`."""
        ...


@dataclass(frozen=True)
class Role:
    """What a model is told that plays the user of a task.

    system: its instructions; greeting: the assistant's words that its opening answers
    stops: words of which one in a message ends the conversation
    """

    system: str
    stops: tuple[str, ...]
    greeting: str = "Hi! How can I help you today?"

    def ends(self, text: str) -> bool:
        return any(stop in text for stop in self.stops)


class AwaitedUser(Protocol):
    """A user of one conversation who has to be waited for. spent: what it cost (see `Spends`)"""

    @property
    def spent(self) -> Mapping[str, int]: ...

    async def opening(self) -> str: ...

    async def reply(self, text: str) -> str | None:
        """Its answer to a text of the policy, which is not blank; None: it stops."""
        ...


Plays = Callable[[Role, int], AwaitedUser]  # given a role and the seed of the user's luck


class Spends(Protocol):
    """What a conversation has besides where its user costs something."""

    @property
    def spent(self) -> Mapping[str, int]:
        """So far: calls, tokens and money by name, each a whole number that adds up."""
        ...


class ModelUsers(Protocol):
    """What an environment has besides where a model may play its users (`user=llm`)."""

    def role(self, task_id: str) -> Role:
        """Raises KeyError for an id that does not exist."""
        ...

    def played_by(self, play: Plays) -> Environment:
        """The environment with these users in place of its own. Its digests depend on the roles."""
        ...


def declared_user(environment: Environment) -> dict[str, Any] | None:
    """Who the environment says its user is; None where it does not say."""
    declared = getattr(environment, "user", None)
    return None if declared is None else dict(declared)


def spent_in(conversation: Conversation) -> dict[str, int] | None:
    """None where it does not say."""
    spent = getattr(conversation, "spent", None)
    return None if spent is None else dict(spent)


def validation_sets(environment: Environment) -> dict[str, tuple[str, ...]]:
    """Those that the environment declares; empty where it declares none."""
    declared = getattr(environment, "validation_sets", None) or {}
    return {name: tuple(ids) for name, ids in declared.items()}


def task_groups(environment: Environment) -> dict[str, str]:
    """Those that the environment declares; empty where it declares none."""
    return dict(getattr(environment, "task_groups", None) or {})
