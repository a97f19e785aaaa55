"""A scripted agent whose form is always right and whose decisions are often wrong, always in the same way.

It follows tau2's retail policy: find the customer, look up the orders one after another until what is asked for is
found, look up the products, propose, act on the user's yes, report. The warm start imitates it, so its rates become
the policy's probabilities: a rate under one half makes greedy decoding wrong, while sampling shows the right decision
often enough to be found (as in `warm_starts.micro.demonstrations`). Only one rate is: half of all tasks are about
delivered items. With all four under one half, the first warm start, 1 to 3 of 40 held-out tasks were solved, and few
rollouts in training: an episode that fails for two reasons at once teaches little (experiments/LOG.md, 1).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from random import Random

from tau2.domains.retail.data_model import RetailDB

from harness.env.domain import ScriptedConversation
from harness.env.retail_tasks.generator import RetailTask
from harness.env.retail_tasks.goals import PRODUCT, RETURN, SWAPS, TRANSFER, Call, Goal

# How often the agent decides rightly, where it may decide wrongly.
RIGHT = {
    "delivered": 0.42,  # else it calls a human for what was delivered instead of taking it back
    "payment": 0.8,  # else it takes the original payment method whatever the user prefers
    "continue": 0.8,  # else it does the first of several requests and takes the rest for done
    "report": 0.8,  # else it does not say what it was asked
}
ALWAYS = dict.fromkeys(RIGHT, 1.0)

HOLD_ON = "YOU ARE BEING TRANSFERRED TO A HUMAN AGENT. PLEASE HOLD ON."  # tau2's retail policy wants these words
QUESTION = "Shall I go ahead (yes/no)?"
DONE = "All done."

Step = Call | str  # a tool call, or a text for the user


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
    orders = _database(task).orders

    def original(call: Call) -> Call:
        if call.name not in (RETURN, *SWAPS.values()) or call.arguments.get("order_id") not in orders:
            return call
        method = orders[call.arguments["order_id"]].payment_history[0].payment_method_id
        return Call(call.name, {**call.arguments, "payment_method_id": method})

    return replace(goal, writes=tuple(map(original, goal.writes)))


def _database(task: RetailTask) -> RetailDB:
    return task.world.database


def play(task: RetailTask, goals: tuple[Goal, ...], gives_up: bool, episode: ScriptedConversation) -> Iterator[Step]:
    """What the agent does, step by step; the caller carries each out."""
    yield from lookups(task, goals, episode.first)
    if gives_up:
        yield Call(TRANSFER, {"summary": "The request about delivered items cannot be handled."})
        yield HOLD_ON
        return
    writes = [call for goal in goals for call in goal.writes]
    yield from products(task, writes)
    for goal in goals:
        yield from goal.checks
    proposed = [proposal(call, task) for call in writes if call.name != TRANSFER]
    if proposed:
        yield " ".join((*proposed, QUESTION))
    yield from writes
    start = HOLD_ON if writes and writes[-1].name == TRANSFER else DONE if writes else ""
    report = " ".join(sentence for goal in goals for sentence in goal.report)
    yield f"{start} {report}".strip() or DONE


def lookups(task: RetailTask, goals: tuple[Goal, ...], opening: str) -> Iterator[Call]:
    """The customer, their profile, and their orders: those that the opening names, or all up to the last needed."""
    database = _database(task)
    user = database.users[task.user_id]
    if user.email in opening:
        yield Call("find_user_id_by_email", {"email": user.email})
    else:
        name = user.name
        told = {"first_name": name.first_name, "last_name": name.last_name, "zip": user.address.zip}
        yield Call("find_user_id_by_name_zip", told)
    yield Call("get_user_details", {"user_id": user.user_id})
    needed = {order_id for goal in goals for order_id in goal.orders} & set(user.orders)
    named = re.findall(r"#?W\d{7}", opening)
    named = [order_id for order_id in dict.fromkeys(f"#{n.lstrip('#')}" for n in named) if order_id in user.orders]
    if needed and needed <= set(named):
        looked_up = [order_id for order_id in named if order_id in needed]
    elif any(goal.all_orders for goal in goals):
        looked_up = user.orders
    else:
        last = max((user.orders.index(order_id) for order_id in needed), default=-1)
        looked_up = user.orders[: last + 1]
    for order_id in looked_up:
        yield Call("get_order_details", {"order_id": order_id})


def products(task: RetailTask, writes: list[Call]) -> Iterator[Call]:
    """Of the items that are to be replaced."""
    orders = _database(task).orders
    wanted: list[str] = []
    for call in writes:
        if call.name in SWAPS.values():
            of = {item.item_id: item.product_id for item in orders[call.arguments["order_id"]].items}
            wanted += [of[item_id] for item_id in call.arguments["item_ids"] if item_id in of]
    for product_id in dict.fromkeys(wanted):
        yield Call(PRODUCT, {"product_id": product_id})


def proposal(call: Call, task: RetailTask) -> str:
    """What a write would do, as the user is asked to confirm it. New options come before their item's id: the id is
    looked up by them."""
    told = call.arguments
    address = ", ".join(told[name] for name in ("address1", "address2", "city", "state", "zip") if told.get(name))
    if call.name == "cancel_pending_order":
        return f"I will cancel order {told['order_id']} ({told['reason']})."
    if call.name == "modify_user_address":
        return f"I will change your default address to {address}."
    if call.name == "modify_pending_order_address":
        return f"I will send order {told['order_id']} to {address}."
    if call.name == "modify_pending_order_payment":
        return f"I will charge {told['payment_method_id']} for order {told['order_id']}."
    if call.name == RETURN:
        items = ", ".join(_item(item_id, told["order_id"], task) for item_id in told["item_ids"])
        return f"I will return {items} of order {told['order_id']} and refund {told['payment_method_id']}."
    if call.name in SWAPS.values():
        pairs = zip(told["item_ids"], told["new_item_ids"], strict=True)
        items = ", ".join(f"{_item(old, told['order_id'], task)} to {_variant(new, task)}" for old, new in pairs)
        return f"In order {told['order_id']} I will exchange {items}, with {told['payment_method_id']}."
    raise ValueError(f"The agent has no words for {call.name}.")


def _item(item_id: str, order_id: str, task: RetailTask) -> str:
    names = {item.item_id: item.name for item in _database(task).orders[order_id].items}
    return f"{names.get(item_id, 'item')} {item_id}"


def _variant(item_id: str, task: RetailTask) -> str:
    for product in _database(task).products.values():
        if item_id in product.variants:
            return f"{json.dumps(product.variants[item_id].options)} {item_id}"
    return item_id
