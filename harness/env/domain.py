"""One task of a tau2 domain, played call by call and scored by tau2's own evaluators.

`Domain` is an `Environment`: it parses its tasks and database once. A `ScriptedConversation` works on a copy-on-write
view of it. The reward is the benchmark's: the product over the task's `reward_basis` of database, action and
communication checks, and 0 unless the user ended the conversation. The database check compares the conversation's own
end state with that of the task's gold actions, where tau2 replays both conversations; `tests/env` holds the two against
each other.

Two rules are stricter than tau2's evaluators. A call that the tool refused matches no action, and a gold action that is
refused counts for none: tau2 compares names and arguments alone, so a handover without its arguments would be one. And
a conversation in which the assistant's last word was an empty text earns nothing: tau2 refuses such a message before it
judges anything.
"""

from __future__ import annotations

import copy
import hashlib
import json
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

from tau2.data_model.message import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage
from tau2.data_model.tasks import Action, EvaluationCriteria, RewardType, Task
from tau2.environment.db import DB
from tau2.environment.environment import Environment
from tau2.environment.toolkit import ToolKitBase
from tau2.evaluator.evaluator_action import ActionEvaluator
from tau2.evaluator.evaluator_communicate import CommunicateEvaluator

from harness.env.environment import AwaitedUser, Call, Plays, Role, Step
from harness.env.overlay import Changes, changes, overlay
from harness.env.tau2_role import role_of
from harness.env.user import UNHEARD, Script, ScriptedUser
from harness.env.withholding import Scenario, WithholdingUser, of_task
from harness.errors import ConfigError
from harness.seams import Outcome

TRANSFER = "transfer_to_human_agents"  # ends a conversation of tau-bench v1 (its `terminate_tools`), and none of tau2's

# A policy may write a number where a tool stores a string. tau2 accepts that; pydantic would warn at every dump.
warnings.filterwarnings("ignore", message="Pydantic serializer warnings", category=UserWarning)


@dataclass(frozen=True)
class TaskWorld:
    """What all episodes of one task share. own: whether its database is its alone, and so part of its content

    scenario: what a withholding user knows and wants; None: what the task's instructions say
    """

    task: Task
    script: Script
    database: DB  # as the task's initial state has it; never changed
    toolkit: type[ToolKitBase]
    policy: str
    own: bool = False
    scenario: Scenario | None = None

    def environment(self) -> Environment:
        """A fresh tau2 environment of its own (about 0.05 ms)."""
        return Environment(domain_name="", policy=self.policy, tools=self.toolkit(overlay(self.database)))

    @property
    def gold(self) -> Changes:
        """What the gold actions change."""
        return self._replayed[0]

    @property
    def actions(self) -> list[Action]:
        """The gold actions that can be matched: those that no tool refuses. 18 of retail's tasks have some that fail,
        most of them look-ups; they change nothing, and none of these tasks has ACTION in its reward basis."""
        return self._replayed[1]

    @cached_property
    def _replayed(self) -> tuple[Changes, list[Action]]:
        environment, accepted = self.environment(), []
        criteria = self.task.evaluation_criteria
        for action in (criteria.actions or []) if criteria else []:
            try:
                environment.make_tool_call(action.name, requestor=action.requestor, **action.arguments)
            except Exception:
                continue
            accepted.append(action)
        return changes(environment.tools.db, self.database), accepted


class SpokenUser(Protocol):
    """A user who asks no model: what it says is there at once. first: its opening"""

    first: str

    def closing(self, after_tool: bool) -> bool:
        """Whether it may stop at the assistant's next text. after_tool: whether a tool was used right before it."""
        ...

    def answer(self, text: str, after_tool: bool) -> str | None:
        """What it says to a text; None: it stops."""
        ...


class Users(Protocol):
    """Who talks in a domain's conversations."""

    def content(self, world: TaskWorld) -> list[str]:
        """What an episode of the task depends on besides the task and its script."""
        ...

    def start(self, world: TaskWorld, seed: int, transfer_ends: bool) -> TaskConversation: ...


class Scripted:
    def content(self, world: TaskWorld) -> list[str]:
        return []

    def start(self, world: TaskWorld, seed: int, transfer_ends: bool) -> ScriptedConversation:
        return ScriptedConversation(world, transfer_ends)


@dataclass(frozen=True)
class Withholding:
    """See `WithholdingUser`."""

    patience: int
    reserve: float

    def content(self, world: TaskWorld) -> list[str]:
        return ["withholding", self._scenario(world).content]

    def start(self, world: TaskWorld, seed: int, transfer_ends: bool) -> ScriptedConversation:
        user = WithholdingUser(self._scenario(world), seed, self.patience, self.reserve)
        return ScriptedConversation(world, transfer_ends, user)

    def _scenario(self, world: TaskWorld) -> Scenario:
        return world.scenario or of_task(world.task)


@dataclass(frozen=True)
class PlayedByModel:
    """A model that is told what tau2 tells its own."""

    play: Plays

    def content(self, world: TaskWorld) -> list[str]:
        role = role_of(world.task)
        return ["played by a model", role.system, role.greeting, *role.stops]

    def start(self, world: TaskWorld, seed: int, transfer_ends: bool) -> AwaitedConversation:
        return AwaitedConversation(world, transfer_ends, self.play(role_of(world.task), seed))


class Domain:
    """Tasks, tools and policy of one benchmark domain. Built once, then read by any number of threads.

    transfer_ends: whether a call of `transfer_to_human_agents` ends the conversation, as in tau-bench v1
    users: who talks in its conversations
    task_groups: which tasks are variants of one another, by id; validation_sets: further held-out tasks, by the name of
        their set (environment.py)
    """

    def __init__(
        self,
        name: str,
        worlds: Sequence[TaskWorld],
        train_ids: Sequence[str],
        test_ids: Sequence[str],
        transfer_ends: bool = False,
        task_groups: Mapping[str, str] | None = None,
        validation_sets: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.name = name
        self.users: Users = Scripted()
        self.transfer_ends = transfer_ends
        self._worlds: Mapping[str, TaskWorld] = {world.task.id: world for world in worlds}
        self.task_ids = tuple(self._worlds)
        self.train_ids = tuple(train_ids)
        self.test_ids = tuple(test_ids)
        self.task_groups = {task: name for task, name in (task_groups or {}).items() if task in self._worlds}
        self.validation_sets = {name: tuple(ids) for name, ids in (validation_sets or {}).items()}
        first = worlds[0]
        self.system_prompt = first.policy
        self.tools: list[dict[str, Any]] = [tool.openai_schema for tool in first.environment().get_tools()]

    @cached_property
    def digest(self) -> str:
        """Changes when tasks, splits, policy, tools or what ends a conversation do."""
        parts = [self.name, self.system_prompt, json.dumps(self.tools), *self.train_ids, "|", *self.test_ids]
        ending = ["transfer ends"] if self.transfer_ends else []
        further = [part for name, ids in self.validation_sets.items() for part in (f"set {name}", *ids)]
        return _digest(*parts, *(self.task_digest(task_id) for task_id in self.task_ids), *ending, *further)

    def withholding(self, patience: int, reserve: float) -> Self:
        """The domain with a withholding user in place of the scripted one."""
        return self._with(Withholding(patience, reserve))

    def played_by(self, play: Plays) -> Self:
        """See `harness.env.environment.ModelUsers`."""
        return self._with(PlayedByModel(play))

    def role(self, task_id: str) -> Role:
        """See `harness.env.environment.ModelUsers`."""
        return role_of(self.world(task_id).task)

    def scripted(self, task_id: str) -> ScriptedConversation:
        """A conversation with the scripted user, whoever the domain's is. Raises KeyError."""
        return ScriptedConversation(self.world(task_id), self.transfer_ends)

    def expected_messages(self, task_ids: Sequence[str]) -> float | None:
        """Of the user in an episode, its stop included, where users say their requests one after the other."""
        scripts = [self.world(task_id).script for task_id in task_ids]
        if any(script.confirms for script in scripts):
            return None
        return sum(2 + len(script.replies) for script in scripts) / len(scripts)

    def _with(self, users: Users) -> Self:
        made = copy.copy(self)
        made.users = users
        made.__dict__.pop("digest", None)
        return made

    def part(self, task_ids: Collection[str]) -> Domain:
        """The domain with these tasks alone, in its own order. Raises ConfigError for ids that it does not have."""
        if unknown := sorted(set(task_ids) - set(self.task_ids)):
            raise ConfigError(
                f"env.task_ids holds {', '.join(unknown[:5])}{', …' * (len(unknown) > 5)}: domain {self.name} has no "
                f"such task. It has {len(self.task_ids)}, e.g. {', '.join(self.task_ids[:5])}."
            )
        train, test = ([i for i in ids if i in task_ids] for ids in (self.train_ids, self.test_ids))
        if not train or not test:
            raise ConfigError(
                f"env.task_ids holds {len(train)} training tasks and {len(test)} held-out ones of domain {self.name}; "
                "expected at least one of each."
            )
        worlds = [self._worlds[i] for i in self.task_ids if i in task_ids]
        made = Domain(self.name, worlds, train, test, self.transfer_ends, self.task_groups)
        made.users = self.users
        return made

    def world(self, task_id: str) -> TaskWorld:
        """Raises KeyError for an id that does not exist."""
        return self._worlds[task_id]

    def task_digest(self, task_id: str) -> str:
        """Of all that an episode of this task depends on, policy text and tools aside."""
        world = self.world(task_id)
        script = world.script
        stops = ["confirms"] if script.confirms else []
        own = [world.database.model_dump_json()] if world.own else []
        user = self.users.content(world)
        return _digest(world.task.model_dump_json(), script.opening, *script.replies, *stops, *own, *user)

    def start(self, task_id: str, seed: int = 0) -> TaskConversation:
        """A new conversation; the seed changes nothing for a script. Raises KeyError for an id that does not exist."""
        return self.users.start(self.world(task_id), seed, self.transfer_ends)

    def solution(self, task_id: str) -> Iterator[Step]:
        """The gold actions that no tool refuses, then a text with the facts. See `harness.env.environment.Solved`."""
        world = self.world(task_id)
        criteria = world.task.evaluation_criteria
        facts = (criteria.communicate_info or []) if criteria else []
        yield from (Call(action.name, action.arguments) for action in world.actions)
        yield "; ".join(("Done", *facts)) + "."


class TaskConversation:
    """A task being played, all but its user. Not shared between threads.

    messages: the conversation as tau2's evaluators take it, without the empty texts that tau2 refuses
    done: whether a tool has ended it
    """

    def __init__(self, world: TaskWorld, transfer_ends: bool) -> None:
        self._world = world
        self._environment = world.environment()
        self._transfer_ends = transfer_ends
        self._accepted: list[Message] = []  # the calls that no tool refused
        self._silent = False  # whether the assistant's last word was an empty text
        self.done = False
        self.messages: list[Message] = []

    @property
    def closing(self) -> bool:
        """Whether the user may stop after the assistant's next text."""
        raise NotImplementedError

    async def opening(self) -> str:
        """The user's first message."""
        raise NotImplementedError

    async def reply(self, text: str) -> str | None:
        """The user's next message after an assistant text; None: the user stopped, the episode ended well."""
        raise NotImplementedError

    def call_tool(self, call_id: str, name: str, arguments: Any) -> str:
        """The tool's answer. A wrong name or wrong arguments are answered by an error text, never raised."""
        if not isinstance(arguments, dict):
            # Not recorded: tau2's ToolCall holds a dict only.
            return f"Error: arguments must be a JSON object, got {type(arguments).__name__}"
        call = ToolCall(id=call_id, name=name, arguments=arguments)
        answer = self._environment.get_response(call)
        said = AssistantMessage(role="assistant", tool_calls=[call])
        self.messages += [said, answer]
        self._silent = False
        if not answer.error:
            self._accepted.append(said)
        # tau-bench v1's `Env.step` ends at the tool's name, also where the tool refused the arguments
        self.done = self._transfer_ends and name == TRANSFER
        return answer.content or ""

    @property
    def _after_tool(self) -> bool:
        return isinstance(self.messages[-1], ToolMessage)

    def _hear(self, text: str) -> bool:
        """Keeps a text of the assistant; False for one that is empty or blank."""
        self._silent = not text.strip()
        if not self._silent:
            self.messages.append(AssistantMessage(role="assistant", content=text))
        return not self._silent

    def _say(self, text: str | None) -> str | None:
        """Keeps a text of the user."""
        if text is not None:
            self.messages.append(UserMessage(role="user", content=text))
        return text

    def outcome(self, stopped: bool) -> Outcome:
        """Score the conversation so far. stopped: whether the user or a tool ended it; else no check counts as met, as
        tau2 judges nothing that ended prematurely (tau2/evaluator/evaluator.py)."""
        criteria = self._world.task.evaluation_criteria or EvaluationCriteria(reward_basis=[])
        basis = criteria.reward_basis
        if not stopped or self._silent:
            totals = len(self._world.actions), len(criteria.communicate_info or [])
            return Outcome(0.0, 0, totals[0], 0, totals[1], False if RewardType.DB in basis else None)
        actions = ActionEvaluator.evaluate_actions(self._accepted, self._world.actions)
        facts = CommunicateEvaluator.evaluate_communicate_info(self.messages, criteria.communicate_info or [])
        db_match = changes(self._environment.tools.db, self._world.database) == self._world.gold
        checks: dict[RewardType, Callable[[], bool]] = {
            RewardType.DB: lambda: db_match,
            RewardType.ACTION: lambda: all(check.action_match for check in actions),
            RewardType.COMMUNICATE: lambda: all(check.met for check in facts),
        }
        return Outcome(
            reward=float(all(checks[kind]() for kind in basis)),
            actions_matched=sum(check.action_match and called(check.action, self._accepted) for check in actions),
            actions_total=len(actions),
            facts_met=sum(check.met for check in facts),
            facts_total=len(facts),
            db_match=db_match if RewardType.DB in basis else None,
        )


def called(action: Action, accepted: Sequence[Message]) -> bool:
    """Whether a match is earned by one of the accepted calls. tau2 lets a call without arguments match every action of
    its name where the task names no `compare_args`; as partial credit that would be a reward for empty calls."""
    calls = [call for m in accepted if isinstance(m, AssistantMessage) for call in m.tool_calls or []]
    return any(c.name == action.name and (c.arguments or not action.arguments) for c in calls)


class ScriptedConversation(TaskConversation):
    """A `Conversation` with a user who asks no model.

    user: None: one who follows the task's script
    first, answer: what `opening` and `reply` give, for who awaits nothing
    """

    def __init__(self, world: TaskWorld, transfer_ends: bool = False, user: SpokenUser | None = None) -> None:
        super().__init__(world, transfer_ends)
        self._user = user or ScriptedUser(world.script)
        self.first = self._user.first
        self._say(self.first)

    @property
    def closing(self) -> bool:
        return self._user.closing(self._after_tool)

    async def opening(self) -> str:
        return self.first

    async def reply(self, text: str) -> str | None:
        return self.answer(text)

    def answer(self, text: str) -> str | None:
        """The user's next message after an assistant text; None: the user stopped, the episode ended well."""
        after_tool = self._after_tool
        return self._say(self._user.answer(text, after_tool)) if self._hear(text) else UNHEARD


class AwaitedConversation(TaskConversation):
    """A `Conversation` with a user who has to be waited for. spent: what the user cost"""

    def __init__(self, world: TaskWorld, transfer_ends: bool, user: AwaitedUser) -> None:
        super().__init__(world, transfer_ends)
        self._user = user

    @property
    def closing(self) -> bool:
        """After a tool call most texts are reports."""
        return self._after_tool

    @property
    def spent(self) -> Mapping[str, int]:
        return self._user.spent

    async def opening(self) -> str:
        first = await self._user.opening()
        self._say(first)
        return first

    async def reply(self, text: str) -> str | None:
        return self._say(await self._user.reply(text)) if self._hear(text) else UNHEARD


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
