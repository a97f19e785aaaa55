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

import hashlib
import json
import warnings
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tau2.data_model.message import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage
from tau2.data_model.tasks import Action, EvaluationCriteria, RewardType, Task
from tau2.environment.db import DB
from tau2.environment.environment import Environment
from tau2.environment.toolkit import ToolKitBase
from tau2.evaluator.evaluator_action import ActionEvaluator
from tau2.evaluator.evaluator_communicate import CommunicateEvaluator

from harness.env.environment import Call, Step
from harness.env.overlay import Changes, changes, overlay
from harness.env.user import UNHEARD, Script
from harness.errors import ConfigError
from harness.seams import Outcome

TRANSFER = "transfer_to_human_agents"  # ends a conversation of tau-bench v1 (its `terminate_tools`), and none of tau2's

# A policy may write a number where a tool stores a string. tau2 accepts that; pydantic would warn at every dump.
warnings.filterwarnings("ignore", message="Pydantic serializer warnings", category=UserWarning)


@dataclass(frozen=True)
class TaskWorld:
    """What all episodes of one task share. own: whether its database is its alone, and so part of its content"""

    task: Task
    script: Script
    database: DB  # as the task's initial state has it; never changed
    toolkit: type[ToolKitBase]
    policy: str
    own: bool = False

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


class Domain:
    """Tasks, tools and policy of one benchmark domain. Built once, then read by any number of threads.

    transfer_ends: whether a call of `transfer_to_human_agents` ends the conversation, as in tau-bench v1
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
        return Domain(self.name, worlds, train, test, self.transfer_ends, self.task_groups)

    def world(self, task_id: str) -> TaskWorld:
        """Raises KeyError for an id that does not exist."""
        return self._worlds[task_id]

    def task_digest(self, task_id: str) -> str:
        """Of all that an episode of this task depends on, policy text and tools aside."""
        world = self.world(task_id)
        script = world.script
        stops = ["confirms"] if script.confirms else []
        own = [world.database.model_dump_json()] if world.own else []
        return _digest(world.task.model_dump_json(), script.opening, *script.replies, *stops, *own)

    def start(self, task_id: str, seed: int = 0) -> ScriptedConversation:
        """A new conversation; the seed changes nothing for a script. Raises KeyError for an id that does not exist."""
        return ScriptedConversation(self.world(task_id), self.transfer_ends)

    def solution(self, task_id: str) -> Iterator[Step]:
        """The gold actions that no tool refuses, then a text with the facts. See `harness.env.environment.Solved`."""
        world = self.world(task_id)
        criteria = world.task.evaluation_criteria
        facts = (criteria.communicate_info or []) if criteria else []
        yield from (Call(action.name, action.arguments) for action in world.actions)
        yield "; ".join(("Done", *facts)) + "."


class ScriptedConversation:
    """A `Conversation` with a scripted user. Not shared between threads.

    first, answer: what `opening` and `reply` give, for who awaits nothing
    messages: the conversation as tau2's evaluators take it, without the empty texts that tau2 refuses
    done: whether a tool has ended it
    """

    def __init__(self, world: TaskWorld, transfer_ends: bool = False) -> None:
        self._world = world
        self._environment = world.environment()
        self._replies = deque(world.script.replies)
        self._transfer_ends = transfer_ends
        self._accepted: list[Message] = []  # the calls that no tool refused
        self._silent = False  # whether the assistant's last word was an empty text
        self.done = False
        self.first = world.script.opening
        self.messages: list[Message] = [UserMessage(role="user", content=self.first)]

    async def opening(self) -> str:
        """The user's first message."""
        return self.first

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
    def closing(self) -> bool:
        """Whether the user may stop after the assistant's next text."""
        return not self._replies or (self._world.script.confirms and self._after_tool)

    @property
    def _after_tool(self) -> bool:
        return isinstance(self.messages[-1], ToolMessage)

    async def reply(self, text: str) -> str | None:
        """See `answer`."""
        return self.answer(text)

    def answer(self, text: str) -> str | None:
        """The user's next message after an assistant text; None: the user stopped, the episode ended well."""
        self._silent = not text.strip()
        if self._silent:
            return UNHEARD
        satisfied = self._world.script.satisfied(text, self._after_tool)
        self.messages.append(AssistantMessage(role="assistant", content=text))
        if satisfied or not self._replies:
            return None
        answer = self._replies.popleft()
        self.messages.append(UserMessage(role="user", content=answer))
        return answer

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


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
