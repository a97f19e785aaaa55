"""domain=telecom_solo: tau2's telecom in solo mode, with its official tasks, split, tools and policy.

There is no user: a ticket says what is wrong, and the agent calls its own tools and those of the customer's phone until
it calls `done`. A text is an agent error, which ends the episode and earns nothing, unless it holds `###STOP###`. The
reward is tau2's: the task's assertions about the end state hold, and where ACTION is in its reward basis all gold
actions were called. Assertions count as facts where there is partial credit.

What differs from tau2's own runs: the ticket is the first message instead of the end of the system prompt, since here
all tasks share that; and a text is not made impossible (tau2 asks with `tool_choice="required"`).

Each episode has a copy of both databases, which are small (11 kB pickled, 0.4 ms); they are lists, which the tools
search from the start, so that a copy-on-write view would have to copy what it shows.

Two things of tau2's are made to depend on the task alone: the id of a new bill, which is random there, and the details
of a VPN, which are one object of the class there, so that the first task with a broken VPN breaks it for all others in
the process.
"""

from __future__ import annotations

import ast
import hashlib
import pickle
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import tau2
from tau2.data_model.message import AssistantMessage, Message, ToolCall
from tau2.data_model.tasks import Action, EvaluationCriteria, RewardType, Task
from tau2.domains.telecom.data_model import TelecomDB
from tau2.domains.telecom.environment import TelecomEnvironment, get_environment, get_tasks, get_tasks_split
from tau2.domains.telecom.tools import TelecomTools
from tau2.domains.telecom.user_data_model import TelecomUserDB
from tau2.domains.telecom.user_tools import TelecomUserTools
from tau2.environment.tool import as_tool
from tau2.evaluator.evaluator_action import ActionEvaluator

from harness.env.domain import TRANSFER, Domain, TaskWorld, called
from harness.env.environment import Call, Step
from harness.env.overlay import Changes
from harness.env.user import Script
from harness.seams import Outcome

NAME = "telecom_solo"
DONE, STOP = "done", "###STOP###"


class OfficeTools(TelecomTools):  # type: ignore[misc]
    """The agent's own tools."""

    def _apply_one_time_charge(self, customer_id: str, amount: float, description: str) -> None:
        known = len(self.db.bills)
        super()._apply_one_time_charge(customer_id, amount, description)
        for number, bill in enumerate(self.db.bills[known:], known):  # tau2 draws its id
            ids = self.get_customer_by_id(customer_id).bill_ids
            new = f"B{hashlib.sha256(f'{customer_id} {number}'.encode()).hexdigest()[:8]}"
            ids[ids.index(bill.bill_id)] = bill.bill_id = new


class PhoneTools(TelecomUserTools):  # type: ignore[misc]
    """Those of the customer's phone."""

    def __init__(self, db: TelecomUserDB) -> None:
        super().__init__(db)
        self.default_vpn_details = FIRST_VPN.model_copy()  # tau2's is of the class, and a broken one stays broken


FIRST_VPN = TelecomUserTools.default_vpn_details.model_copy()


@dataclass(frozen=True)
class SoloWorld(TaskWorld):
    """state: both toolkits with their databases, as the task's initial state has them, pickled"""

    state: bytes = b""

    def environment(self) -> TelecomEnvironment:
        """A fresh environment (0.4 ms)."""
        office, phone = pickle.loads(self.state)
        environment = TelecomEnvironment("telecom", self.policy, office, phone)
        environment.solo_mode = True  # whether names overlap was looked at when the domain was loaded
        return environment

    @property
    def criteria(self) -> EvaluationCriteria:
        return self.task.evaluation_criteria or EvaluationCriteria(reward_basis=[])

    @cached_property
    def _replayed(self) -> tuple[Changes, list[Action]]:
        environment = self.environment()
        calls = [(a, ToolCall(id="gold", name=a.name, arguments=a.arguments)) for a in self.criteria.actions or []]
        return {}, [action for action, call in calls if not environment.get_response(call).error]


class TelecomSolo(Domain):
    """See the module. user: there is none, so no other one can take its place"""

    user: ClassVar[dict[str, str]] = {"kind": "none"}

    def __init__(
        self,
        worlds: Sequence[SoloWorld],
        train_ids: Sequence[str],
        test_ids: Sequence[str],
        tools: list[dict[str, Any]],
        transfer_ends: bool = False,
    ) -> None:
        super().__init__(NAME, worlds, train_ids, test_ids, transfer_ends)
        self._solo = {world.task.id: world for world in worlds}
        self.tools = tools

    def part(self, task_ids: Collection[str]) -> TelecomSolo:
        part = super().part(task_ids)
        worlds = [self._solo[task_id] for task_id in part.task_ids]
        return TelecomSolo(worlds, part.train_ids, part.test_ids, self.tools, self.transfer_ends)

    def start(self, task_id: str, seed: int = 0) -> SoloConversation:  # type: ignore[override]
        """A new conversation; nothing in it is random. Raises KeyError for an id that does not exist."""
        return SoloConversation(self._solo[task_id], self.transfer_ends)

    def solution(self, task_id: str) -> Iterator[Step]:
        yield from (Call(action.name, action.arguments) for action in self.world(task_id).actions)
        yield Call(DONE, {})


class SoloConversation:
    """A `Conversation` without a user. Not shared between threads.

    closing: False, although every text ends it: calls come first, and each would carry the ids of its long prompt
    messages: as tau2's evaluators take them, `done` as the text that tau2 makes of it
    """

    closing = False

    def __init__(self, world: SoloWorld, transfer_ends: bool = False) -> None:
        self._world = world
        self._environment = world.environment()
        self._transfer_ends = transfer_ends
        self._accepted: list[Message] = []  # the calls that no tool refused
        self._error = False  # whether the agent wrote a text
        self.done = False
        self.messages: list[Message] = []

    async def opening(self) -> str:
        """The ticket."""
        return self._world.script.opening

    def call_tool(self, call_id: str, name: str, arguments: Any) -> str:
        """See `ScriptedConversation.call_tool`."""
        if name == DONE:
            self.done = True
            self.messages.append(AssistantMessage(role="assistant", content=STOP))
            return STOP
        if not isinstance(arguments, dict):
            return f"Error: arguments must be a JSON object, got {type(arguments).__name__}"
        call = ToolCall(id=call_id, name=name, arguments=arguments)
        answer = self._environment.get_response(call)
        said = AssistantMessage(role="assistant", tool_calls=[call])
        self.messages += [said, answer]
        if not answer.error:
            self._accepted.append(said)
        self.done = self._transfer_ends and name == TRANSFER
        return answer.content or ""

    async def reply(self, text: str) -> None:
        """Ends the conversation."""
        self._error = STOP not in text
        self.messages.append(AssistantMessage(role="assistant", content=text))

    def outcome(self, stopped: bool) -> Outcome:
        """See `ScriptedConversation.outcome`. Nothing counts as met after an agent error either."""
        criteria, gold = self._world.criteria, self._world.actions
        assertions = criteria.env_assertions or []
        if not stopped or self._error:
            return Outcome(0.0, 0, len(gold), 0, len(assertions), None)
        actions = ActionEvaluator.evaluate_actions(self._accepted, gold)
        held = [self._environment.run_env_assertion(each, raise_assertion_error=False) for each in assertions]
        checks = {
            RewardType.ENV_ASSERTION: all(held),
            RewardType.ACTION: all(check.action_match for check in actions),
        }
        return Outcome(
            reward=float(all(checks[kind] for kind in criteria.reward_basis)),
            actions_matched=sum(check.action_match and called(check.action, self._accepted) for check in actions),
            actions_total=len(actions),
            facts_met=sum(held),
            facts_total=len(held),
            db_match=None,
        )


def load(transfer_ends: bool = False) -> TelecomSolo:
    """Takes about 1 s."""
    base = get_environment(solo_mode=True)  # validates that no tool of the phone has the name of one of the office
    prompts, tools = _solo_agent()
    policy = prompts["SYSTEM_PROMPT_SOLO"].partition("<ticket>")[0].strip()
    instruction = prompts["AGENT_SOLO_INSTRUCTION"].format(stop_function_name=DONE, stop_token=STOP)
    policy = policy.format(agent_instruction=instruction, domain_policy=base.get_policy())
    schemas = [tool.openai_schema for tool in (*base.get_tools(), *base.get_user_tools(), *tools)]
    fresh = pickle.dumps((base.tools.db, base.user_tools.db), pickle.HIGHEST_PROTOCOL)
    worlds = [_world(task, fresh, policy) for task in get_tasks("base")]
    split, known = get_tasks_split(), {world.task.id for world in worlds}
    train, test = ([i for i in split[part] if i in known] for part in ("train", "test"))
    return TelecomSolo(worlds, train, test, schemas, transfer_ends)


def _world(task: Task, fresh: bytes, policy: str) -> SoloWorld:
    """fresh: both databases without a task's initial state, pickled"""
    office_db, phone_db = pickle.loads(fresh)
    office, phone = OfficeTools(office_db), PhoneTools(phone_db)
    environment, initial = TelecomEnvironment("telecom", policy, office, phone), task.initial_state
    if initial is not None:
        environment.set_state(initial.initialization_data, initial.initialization_actions, [])
    state = pickle.dumps((office, phone), pickle.HIGHEST_PROTOCOL)
    script = Script(f"<ticket>\n{task.ticket}\n</ticket>")
    database: TelecomDB = office.db
    return SoloWorld(task, script, database, OfficeTools, policy, state=state)


def _solo_agent() -> tuple[dict[str, str], list[Any]]:
    """The prompts of tau2's solo agent by their names, and its tool `done`; read from its source, since importing it
    imports litellm and changes litellm's settings for the whole process."""
    source = Path(tau2.__file__).parent / "agent" / "llm_agent.py"
    tree = ast.parse(source.read_text(encoding="utf-8"))
    prompts: dict[str, str] = {}
    for node in tree.body:
        match node:  # NAME = """…""".strip()
            case ast.Assign(
                targets=[ast.Name(id=name)],
                value=ast.Call(func=ast.Attribute(value=ast.Constant(value=str(text)), attr="strip")),
            ):
                prompts[name] = text.strip()

    def done() -> str:
        return STOP

    found = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == DONE)
    done.__doc__ = ast.get_docstring(next(found))
    return prompts, [as_tool(done)]
