"""A scripted agent whose form is always right and whose decisions are often wrong, always in the same way.

It is the faultless agent of `harness.env.retail_tasks.agent` with mistakes. The warm start imitates it, so its rates
become the policy's probabilities: a rate under one half makes greedy decoding wrong, while sampling shows the right
decision often enough to be found (as in `warm_starts.micro.demonstrations`). Only one rate is: half of all tasks are
about delivered items. With all four under one half, the first warm start, 1 to 3 of 40 held-out tasks were solved, and
few rollouts in training: an episode that fails for two reasons at once teaches little (experiments/LOG.md, 1).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from harness.env.environment import Call, Step
from harness.env.retail_tasks.agent import HOLD_ON, database_of, faultless, lookups
from harness.env.retail_tasks.generator import RetailTask
from harness.env.retail_tasks.goals import RETURN, SWAPS, TRANSFER, Goal

# How often the agent decides rightly, where it may decide wrongly.
RIGHT = {
    "delivered": 0.42,  # else it calls a human for what was delivered instead of taking it back
    "payment": 0.8,  # else it takes the original payment method whatever the user prefers
    "continue": 0.8,  # else it does the first of several requests and takes the rest for done
    "report": 0.8,  # else it does not say what it was asked
}
ALWAYS = dict.fromkeys(RIGHT, 1.0)


def decide(task: RetailTask, random: Random, right: dict[str, float]) -> tuple[tuple[Goal, ...], bool, tuple[str, ...]]:
    """The goals that the agent sets out for, whether it gives up before acting, and which decisions were wrong."""
    wrong, goals = [], task.goals
    if len(goals) > 1 and random.random() > right["continue"]:
        wrong.append("continue")
        goals = goals[:1]
    original = tuple(_with_original_payment(goal, task) for goal in goals)
    if original != goals and random.random() > right["payment"]:
        wrong.append("payment")
        goals = original
    if any(goal.facts for goal in goals) and random.random() > right["report"]:
        wrong.append("report")
        goals = tuple(replace(goal, facts=(), report=(), checks=()) for goal in goals)
    gives_up = any(_about_delivered(goal) for goal in goals) and random.random() > right["delivered"]
    if gives_up:
        wrong.append("delivered")
    return goals, gives_up, tuple(wrong)


def _about_delivered(goal: Goal) -> bool:
    return any(call.name in (RETURN, SWAPS["delivered"]) for call in goal.writes)


def _with_original_payment(goal: Goal, task: RetailTask) -> Goal:
    orders = database_of(task).orders

    def original(call: Call) -> Call:
        if call.name not in (RETURN, *SWAPS.values()) or call.arguments.get("order_id") not in orders:
            return call
        method = orders[call.arguments["order_id"]].payment_history[0].payment_method_id
        return Call(call.name, {**call.arguments, "payment_method_id": method})

    return replace(goal, writes=tuple(map(original, goal.writes)))


def play(task: RetailTask, goals: tuple[Goal, ...], gives_up: bool) -> Iterator[Step]:
    """What the agent does, step by step."""
    if not gives_up:
        yield from faultless(task, goals)
        return
    yield from lookups(task, goals)
    yield Call(TRANSFER, {"summary": "The request about delivered items cannot be handled."})
    yield HOLD_ON
