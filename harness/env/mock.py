"""A seeded generator of small tasks over tau2's own mock tools, policy text and evaluators.

Every task is a real tau2 `Task`: users and tasks in the initial database, gold actions, facts to communicate. Its kind
is one line of KINDS; the tasks walk through KINDS in order, so every split holds every kind, with other entities. Most
kinds need several decisions to be right at once: their binary reward is rare for a beginner, their partial credit
is not. A policy mostly solves all tasks of a kind or none, so those of a kind are a group (`task_groups`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from tau2.data_model.tasks import (
    Action,
    EvaluationCriteria,
    InitializationData,
    InitialState,
    RewardType,
    Task,
    UserScenario,
)
from tau2.domains.mock.data_model import MockDB
from tau2.domains.mock.tools import MockTools
from tau2.domains.mock.utils import MOCK_DB_PATH, MOCK_POLICY_PATH

from harness.env.domain import Domain, TaskWorld
from harness.env.user import by_lines
from harness.env.withholding import Fact, Line, Scenario

TRAIN_TASKS = 30

# Requests in the user's order. `?`: a fact is asked for. `/`: what follows is said only after the first answer.
# Deletions come alone or last in a message of their own: at the end of a compound, forgetting one would leave the
# database as it should be, and partial credit would reward giving up early.
KINDS = (
    "complete",
    "create? complete",
    "reopen",
    "create / delete",
    "complete?",
    "complete create reopen",
    "create",
    "reopen / delete",
    "complete / create",
    "create?",
    "complete reopen",
    "delete",
    "create? complete reopen",
    "complete reopen complete",
    "complete create?",
)

PHRASES = {
    "complete": ("mark {task} as completed", "set {task} to completed", "close {task}"),
    "reopen": ("reopen {task}", "mark {task} as pending", "set {task} to pending"),
    "delete": ("delete {task}", "remove {task}", "erase {task}"),
    "create": (
        'create a task "{title}" for {user}',
        'add a task "{title}" for {user}',
        'open a new task "{title}" for {user}',
    ),
}
# Words of a question that ask for what a request is about.
TOPICS = {
    verb: ("task", "tasks", "id", *(("title", "user", "whom", "name") if verb == "create" else ())) for verb in PHRASES
}
STATUS = {"complete": "completed", "reopen": "pending"}

VERBS = """
    Paint Fix Clean Check Order Print Book Call Plan Sort Move Pack Test Draft Send Scan Wash Count Label Build Review
    Water Sweep Update Repair Renew Cancel Collect Deliver Measure
""".split()  # noqa: SIM905  words read better as words
NOUNS = """
    fence door desk report lamp printer room shelf invoice window garden floor kitchen engine budget poster cable table
    letter camera server laptop phone bridge wall roof truck badge survey menu
""".split()  # noqa: SIM905
NAMES = "Ada Ben Cleo Dan Eva Finn Gus Hana Ivo Jana Kai Lena Max Nora Otto Pia Quin Rosa Sam Tess".split()  # noqa: SIM905


@dataclass(frozen=True)
class Request:
    """One thing that the user asks for."""

    verb: str  # complete, reopen, delete, create
    task_id: str  # for create: the id that the new task will get
    title: str
    user_id: str
    report: bool  # the user wants to know a fact: the new task's id, or the title of an updated one

    @property
    def fact(self) -> str:
        return self.task_id if self.verb == "create" else self.title


@dataclass(frozen=True)
class Variant:
    """What one generated task is made of."""

    kind: str
    turns: tuple[tuple[Request, ...], ...]  # one tuple of requests per user message
    lines: tuple[str, ...]  # the user's messages
    users: dict[str, dict[str, Any]]
    tasks: dict[str, dict[str, Any]]

    @property
    def requests(self) -> tuple[Request, ...]:
        return tuple(request for turn in self.turns for request in turn)


def draw(kind: str, random: Random) -> Variant:
    """A variant of this kind: entities, initial database and wording from `random`."""
    verbs = [word for word in kind.split() if word != "/"]
    spare = random.randint(1, 3)  # tasks in the database that nobody talks about
    numbers = random.sample(range(20, 100), len(verbs) + spare)
    titles = [f"{random.choice(VERBS)} {random.choice(NOUNS)}" for _ in numbers]
    names = random.sample(NAMES, 3)
    user_ids = [f"user_{name.lower()}" for name in names]

    asked: list[Request] = []
    tasks: dict[str, dict[str, Any]] = {}
    existing = sum(word.rstrip("?") != "create" for word in verbs) + spare
    created = existing + 1  # tau2's mock database starts with task_1, and a new id is the number of tasks plus one
    for i, (number, title) in enumerate(zip(numbers, titles, strict=True)):
        verb = verbs[i].rstrip("?") if i < len(verbs) else "spare"
        report = i < len(verbs) and verbs[i].endswith("?")
        task_id = f"task_{number}"
        if verb == "create":
            created += 1
            asked.append(Request(verb, f"task_{created}", title, random.choice(user_ids), report))
            continue
        status = "completed" if verb == "reopen" else "pending"
        tasks[task_id] = {"task_id": task_id, "title": title, "description": None, "status": status}
        if verb != "spare":
            asked.append(Request(verb, task_id, title, "", report))
    owned = {user_id: [task_id for i, task_id in enumerate(tasks) if i % 3 == u] for u, user_id in enumerate(user_ids)}
    users = {u: {"user_id": u, "name": name, "tasks": owned[u]} for u, name in zip(user_ids, names, strict=True)}

    queue = iter(asked)
    turns = tuple(tuple(next(queue) for _ in part.split()) for part in kind.split("/"))
    lines = tuple(_line([_phrase(request, random) for request in turn], random) for turn in turns)
    return Variant(kind, turns, lines, users, tasks)


def _phrase(request: Request, random: Random) -> str:
    return _worded(random.choice(PHRASES[request.verb]), request)


def _worded(phrase: str, request: Request) -> str:
    phrase = phrase.format(task=request.task_id, title=request.title, user=request.user_id)
    if not request.report:
        return phrase
    return f"{phrase} and tell me its {'id' if request.verb == 'create' else 'title'}"


def _line(phrases: Sequence[str], random: Random) -> str:
    return random.choice(("Please ", "Hi, please ", "Can you ")) + ", then ".join(phrases) + "."


def scenario(variant: Variant) -> Scenario:
    """What a withholding user makes of the variant: it may name its tasks, a title or an owner only when asked."""
    turns = tuple(tuple(_may_hold(request) for request in turn) for turn in variant.turns)
    wanted = [f"{request.task_id} {request.title} {request.verb}" for request in variant.requests]
    handed_over = "transfer" if any(request.verb == "delete" for request in variant.requests) else ""
    return Scenario(turns, _line, f"{' '.join(wanted)} {handed_over}".lower(), confirms=False)


def _may_hold(request: Request) -> Line:
    full = tuple(_worded(phrase, request) for phrase in PHRASES[request.verb])
    fact = Fact(tuple(f"Please {wording}." for wording in full), TOPICS[request.verb])
    return Line(full, tuple((_worded(phrase, request), fact) for phrase in _shortened(request.verb)))


def _shortened(verb: str) -> list[str]:
    """Its phrases without what they are about."""
    if verb == "create":
        bare = [phrase.replace(' "{title}"', "") for phrase in PHRASES[verb]]
        return [*bare, *(phrase.replace(" for {user}", "") for phrase in PHRASES[verb])]
    return [phrase.replace("{task}", "a task") for phrase in PHRASES[verb]]


def as_task(variant: Variant, task_id: str) -> Task:
    """The variant as a tau2 task, scored on database, actions and communicated facts."""
    facts = [request.fact for request in variant.requests if request.report]
    return Task(
        id=task_id,
        user_scenario=UserScenario(instructions="\n".join(variant.lines)),
        initial_state=InitialState(
            initialization_data=InitializationData(agent_data={"users": variant.users, "tasks": variant.tasks})
        ),
        evaluation_criteria=EvaluationCriteria(
            actions=[gold_action(request, f"{task_id}_{i}") for i, request in enumerate(variant.requests)],
            communicate_info=facts,
            reward_basis=[RewardType.DB, RewardType.ACTION, RewardType.COMMUNICATE],
        ),
    )


def gold_action(request: Request, action_id: str) -> Action:
    """What the policy text asks for: deleting is not allowed, a human agent takes over."""
    if request.verb == "create":
        name, arguments = "create_task", {"user_id": request.user_id, "title": request.title}
    elif request.verb == "delete":
        # The summary is free text: the name of the call decides.
        summary = f"Delete {request.task_id}"
        return Action(
            action_id=action_id, name="transfer_to_human_agents", arguments={"summary": summary}, compare_args=[]
        )
    else:
        name, arguments = "update_task_status", {"task_id": request.task_id, "status": STATUS[request.verb]}
    return Action(action_id=action_id, name=name, arguments=arguments, compare_args=list(arguments))


def variants(count: int, seed: int) -> list[Variant]:
    """The first `count` variants of this seed; a longer list starts with the shorter one."""
    return [draw(KINDS[i % len(KINDS)], Random(f"mock/{seed}/{i}")) for i in range(count)]


def world(variant: Variant, task_id: str, base: MockDB, policy: str) -> TaskWorld:
    task = as_task(variant, task_id)
    toolkit = MockTools(base)
    toolkit.update_db(task.initial_state.initialization_data.agent_data)  # as tau2's Environment.set_state does
    return TaskWorld(task, by_lines(task), toolkit.db, MockTools, policy, scenario=scenario(variant))


def load(tasks: int = 75, seed: int = 0, transfer_ends: bool = False) -> Domain:
    """Generated tasks `mock_000`, `mock_001`, …: the first 30 are for training, the rest for testing."""
    base = MockDB.model_validate_json(MOCK_DB_PATH.read_text(encoding="utf-8"))
    policy = MOCK_POLICY_PATH.read_text(encoding="utf-8")
    worlds = [world(v, f"mock_{i:03d}", base, policy) for i, v in enumerate(variants(tasks, seed))]
    ids = [w.task.id for w in worlds]
    groups = {task_id: f"kind {i % len(KINDS)}" for i, task_id in enumerate(ids)}
    return Domain("mock", worlds, ids[:TRAIN_TASKS], ids[TRAIN_TASKS:], transfer_ends, groups)
