"""Retail tasks in the manner of tau2's training tasks: generated on the worlds of `worlds.py`, or the training tasks.

A task is a tau2 task like any other (scenario, gold actions, facts to communicate) with the goals behind it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from tau2.data_model.tasks import (
    Action,
    EvaluationCriteria,
    RewardType,
    StructuredUserInstructions,
    Task,
    UserScenario,
)
from tau2.domains.retail.data_model import RetailDB
from tau2.domains.retail.tools import RetailTools

from harness.env.domain import Domain, TaskWorld
from harness.env.environment import Call
from harness.env.retail_tasks.customer import Customer, Unfit, introduction, manner
from harness.env.retail_tasks.goals import CALCULATE, READS, Goal
from harness.env.retail_tasks.requests import KINDS, REQUESTS
from harness.env.retail_tasks.worlds import Population, Relabelling, customers, small
from harness.env.user import confirming

HOW_MANY = ((1, 68), (2, 25), (3, 7))  # requests of a task
ATTEMPTS = 50  # draws of a request for one customer
WORLDS = 200  # customers that are tried for one task


@dataclass(frozen=True)
class RetailTask:
    """A world, its customer, and what they want. kinds: of the requests of a generated task, in their order"""

    world: TaskWorld
    user_id: str
    goals: tuple[Goal, ...]
    kinds: tuple[str, ...] = ()


def generate(
    population: Population,
    random: Random,
    requests: int | None = None,
    kinds: Sequence[str] = KINDS,
    first: Sequence[str] | None = None,
) -> RetailTask:
    """A task on a new world. Its gold actions succeed; two requests never change one order's status.

    requests: how many; None: drawn, mostly one
    kinds: of `requests.KINDS`, those that are drawn; first: those that the first request is drawn from, None: the same
    Raises ValueError where no customer can make so many requests of these kinds.
    """
    for _ in range(WORLDS):
        database = population.world(random.choice(population.user_ids), random)
        customer = Customer(database, next(iter(database.users.values())), random)
        wanted = requests or _weighted(HOW_MANY, random)
        said: list[str] = []
        goals: list[Goal] = []
        chosen: list[str] = []
        for _ in range(ATTEMPTS):
            among = first if first and not goals else kinds
            kind = _weighted([(name, REQUESTS[name][1]) for name in among], random)
            try:
                words, goal = REQUESTS[kind][0](customer)
            except Unfit:
                continue
            if _fits(goal, goals):
                said.append(words)
                goals.append(goal)
                chosen.append(kind)
            if len(goals) == wanted:
                break
        else:
            continue
        task = _task(f"generated_{random.randrange(10**9)}", said, goals, customer)
        world = TaskWorld(task, confirming(task), database, RetailTools, "")
        if _succeeds(world):
            return RetailTask(world, customer.user.user_id, tuple(goals), tuple(chosen))
    raise ValueError(f"no customer of {WORLDS} could make {requests or 'the'} requests of {', '.join(first or kinds)}")


def _weighted(choices: Sequence[tuple[Any, int]], random: Random) -> Any:
    return random.choices([value for value, _ in choices], [weight for _, weight in choices])[0]


def _fits(goal: Goal, goals: Sequence[Goal]) -> bool:
    def changed(of: Goal) -> set[str]:
        return {str(call.arguments.get("order_id", call.arguments.get("user_id"))) for call in of.writes}

    return not any(changed(goal) & changed(other) or goal.facts == other.facts != () for other in goals)


def _task(task_id: str, said: Sequence[str], goals: Sequence[Goal], customer: Customer) -> Task:
    calls = [call for goal in goals for call in goal.writes]
    actions = [Action(action_id=f"{task_id}_{i}", name=c.name, arguments=c.arguments) for i, c in enumerate(calls)]
    scenario = StructuredUserInstructions(
        domain="retail",
        reason_for_call=customer.random.choice((" ", " ", " Also, ")).join(said),
        known_info=introduction(customer),
        task_instructions=manner(customer.random),
    )
    return Task(
        id=task_id,
        user_scenario=UserScenario(instructions=scenario),
        evaluation_criteria=EvaluationCriteria(
            actions=actions,
            communicate_info=[fact for goal in goals for fact in goal.facts],
            reward_basis=[RewardType.DB, RewardType.COMMUNICATE],
        ),
    )


def _succeeds(world: TaskWorld) -> bool:
    environment = world.environment()
    try:
        for action in world.task.evaluation_criteria.actions:
            environment.make_tool_call(action.name, requestor="assistant", **action.arguments)
    except ValueError:
        return False
    return True


def of_training(domain: Domain, task_id: str) -> RetailTask:
    """A training task with its own world. Raises ValueError for a held-out one."""
    if task_id not in domain.train_ids:
        raise ValueError(f"{task_id!r} is no training task.")
    return known(domain, task_id)


def known(domain: Domain, task_id: str) -> RetailTask:
    """One of tau2's own tasks with a goal for each of its gold writes; its facts and sums go with the last."""
    world = domain.world(task_id)
    criteria = world.task.evaluation_criteria
    actions = (criteria.actions or []) if criteria else []
    facts = tuple((criteria.communicate_info or []) if criteria else ())
    calls = [Call(action.name, action.arguments) for action in actions]
    writes = [c for c in calls if c.name not in (*READS, CALCULATE)]
    checks = tuple(c for c in calls if c.name == CALCULATE)
    goals = [Goal((c,), orders=_orders_of(c)) for c in writes] or [Goal()]
    seen = tuple(c.arguments["order_id"] for c in calls if c.name == "get_order_details") if facts or not writes else ()
    report = tuple(f"The answer is {fact}." for fact in facts)
    last = goals[-1]
    goals[-1] = replace(last, checks=checks, facts=facts, report=report, orders=(*last.orders, *seen))
    return RetailTask(world, _customer(domain, task_id), tuple(goals))


def _orders_of(call: Call) -> tuple[str, ...]:
    return (call.arguments["order_id"],) if "order_id" in call.arguments else ()


def _customer(domain: Domain, task_id: str) -> str:
    """The customer whom most gold actions are about."""
    world = domain.world(task_id)
    found = sorted(customers(domain, task_id))
    database: RetailDB = world.database
    text = str([action.arguments for action in world.task.evaluation_criteria.actions or []]) + world.script.opening

    def named(user_id: str) -> int:
        user = database.users[user_id]
        return sum(word in text for word in (user_id, user.email, user.address.zip, *user.orders))

    return max(found, key=named)


def relabelled(task: RetailTask, random: Random) -> RetailTask:
    """The same task under new ids, on the part of the database that it is about."""
    database: RetailDB = task.world.database
    named = re.findall(r"\b\d{10}\b", str(task.goals))
    new = Relabelling(random)
    world = small(database, [task.user_id], [item for item in named if item in database.products])
    part = RetailDB.model_validate(world)
    fresh = Task.model_validate_json(new(task.world.task.model_dump_json()))
    moved = TaskWorld(
        fresh, confirming(fresh), RetailDB.model_validate_json(new(part.model_dump_json())), RetailTools, ""
    )
    return RetailTask(moved, new(task.user_id), tuple(_renamed(goal, new) for goal in task.goals))


def _renamed(goal: Goal, new: Relabelling) -> Goal:
    def calls(old: tuple[Call, ...]) -> tuple[Call, ...]:
        return tuple(Call(call.name, _renamed_arguments(call.arguments, new)) for call in old)

    return Goal(
        calls(goal.writes),
        calls(goal.checks),
        tuple(map(new, goal.orders)),
        tuple(map(new, goal.facts)),
        tuple(map(new, goal.report)),
        goal.all_orders,
    )


def _renamed_arguments(arguments: dict[str, Any], new: Relabelling) -> dict[str, Any]:
    def value(old: Any) -> Any:
        if isinstance(old, list):
            return [value(item) for item in old]
        return new(old) if isinstance(old, str) else old

    return {name: value(old) for name, old in arguments.items()}
