"""The agent that makes no mistake on generated tasks.

`faultless` follows tau2's retail policy: find the customer, look up the orders one after another until what is asked
for is found, look up the products, propose, act on the user's yes, report. It is told the goals; the scripted agent of
the warm start (experiments/warm_starts/retail) is this one with mistakes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tau2.domains.retail.data_model import RetailDB

from harness.env.domain import ScriptedConversation
from harness.env.environment import Call, Step
from harness.env.retail_tasks.generator import RetailTask
from harness.env.retail_tasks.goals import PRODUCT, RETURN, SWAPS, TRANSFER, Goal
from harness.env.withholding import NOTHING_NEW
from harness.seams import Outcome

HOLD_ON = "YOU ARE BEING TRANSFERRED TO A HUMAN AGENT. PLEASE HOLD ON."  # tau2's retail policy wants these words
QUESTION = "Shall I go ahead (yes/no)?"
DONE = "All done."
NOTHING = "Done."
WHO = "Who are you? Please tell me your email, or your name and zip code."
MORE = "What else should I know about your request?"

Message = dict[str, Any]


@dataclass(frozen=True)
class Played:
    """messages: from the user's opening on, as chat messages without the system message"""

    messages: list[Message]
    outcome: Outcome


def played(task: RetailTask, steps: Iterable[Step], conversation: ScriptedConversation | None = None) -> Played:
    """A conversation in which the assistant takes these steps, up to the user's end, in tau2's real environment.

    conversation: with the task's scripted user, if none is given
    """
    episode = conversation or ScriptedConversation(task.world)
    messages: list[Message] = [{"role": "user", "content": episode.first}]
    stopped = False
    for step in steps:
        if isinstance(step, Call):
            identity = f"call_{len(messages)}"
            call = {"id": identity, "type": "function", "function": {"name": step.name, "arguments": step.arguments}}
            messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
            answer = episode.call_tool(identity, step.name, step.arguments)
            messages.append({"role": "tool", "tool_call_id": identity, "content": answer})
        else:
            messages.append({"role": "assistant", "content": step})
            reply = episode.answer(step)
            if reply is None:
                stopped = True
                break
            messages.append({"role": "user", "content": reply})
    return Played(messages, episode.outcome(stopped))


def thorough(task: RetailTask, goals: tuple[Goal, ...], conversation: ScriptedConversation) -> Iterator[Step]:
    """What the faultless agent does with a user who holds facts back: it asks until it hears nothing new."""
    if not re.search(r"@|\b\d{5}\b", conversation.first):
        yield WHO
    while conversation.messages[-1].content not in NOTHING_NEW:
        yield MORE
    yield from faultless(task, goals)


def idle() -> Iterator[Step]:
    """Says that it is done, as often as the user may answer."""
    while True:
        yield NOTHING


def faultless(task: RetailTask, goals: tuple[Goal, ...]) -> Iterator[Step]:
    """What the agent does for these goals of the task, step by step."""
    yield from lookups(task, goals)
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


def lookups(task: RetailTask, goals: tuple[Goal, ...]) -> Iterator[Call]:
    """The customer, their profile, and their orders: those that the opening names, or all up to the last needed."""
    database, opening = database_of(task), task.world.script.opening
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


def database_of(task: RetailTask) -> RetailDB:
    return task.world.database


def products(task: RetailTask, writes: list[Call]) -> Iterator[Call]:
    """Of the items that are to be replaced."""
    orders = database_of(task).orders
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
    names = {item.item_id: item.name for item in database_of(task).orders[order_id].items}
    return f"{names.get(item_id, 'item')} {item_id}"


def _variant(item_id: str, task: RetailTask) -> str:
    for product in database_of(task).products.values():
        if item_id in product.variants:
            return f"{json.dumps(product.variants[item_id].options)} {item_id}"
    return item_id
