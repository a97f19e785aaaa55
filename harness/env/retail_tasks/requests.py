"""What customers ask for: a sentence in the second person, as in tau2's scenarios, and the goal behind it.

Each kind raises `Unfit` for a customer who cannot make such a request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tau2.domains.retail.data_model import GiftCard, Order, OrderItem, UserAddress, Variant

from harness.env.environment import Call
from harness.env.retail_tasks.customer import METHODS, Customer, Unfit
from harness.env.retail_tasks.goals import CALCULATE, RETURN, SWAPS, Goal

Request = tuple[str, Goal]


def cancel(customer: Customer) -> Request:
    order, random = customer.order("pending"), customer.random
    reason = random.choice(("no longer needed", "no longer needed", "ordered by mistake"))
    why = {
        "no longer needed": (" because it is no longer needed", ", since you no longer need it", ""),
        "ordered by mistake": (" because you ordered it by mistake", ", which was ordered by mistake"),
    }[reason]
    which = _which_order(customer, order)
    call = Call("cancel_pending_order", {"order_id": order.order_id, "reason": reason})
    said = f"{random.choice(('You want to cancel', 'You need to cancel', 'Cancel'))} {which}{random.choice(why)}."
    return said, Goal((call,), orders=(order.order_id,))


def _which_order(customer: Customer, order: Order) -> str:
    items = customer.items(order, 2)
    others = {item.name for other in customer.orders if other is not order for item in other.items}
    if not others & {item.name for item in items} and customer.random.random() < 0.5:
        return f"{customer.random.choice(('the', 'your'))} order with the {_listed(items)}"
    return customer.random.choice((f"order {order.order_id}", f"your order {order.order_id}"))


def cancel_all(customer: Customer) -> Request:
    pending = [order.order_id for order in customer.orders if order.status == "pending"]
    if not pending:
        raise Unfit
    reason = customer.random.choice(("no longer needed", "ordered by mistake"))
    why = {"no longer needed": " since they are no longer needed", "ordered by mistake": ", all ordered by mistake"}
    calls = tuple(Call("cancel_pending_order", {"order_id": order_id, "reason": reason}) for order_id in pending)
    goal = Goal(calls, orders=tuple(pending), all_orders=True)
    return f"You want to cancel all your pending orders{why[reason]}.", goal


def give_back(customer: Customer) -> Request:
    order, random = customer.order("delivered"), customer.random
    kept: list[OrderItem] = []
    if len(order.items) > 1 and random.random() < 0.3:
        kept = customer.items(order, 1) if random.random() < 0.6 else []
        items = [item for item in order.items if item not in kept]
        rest = f" except the {_listed(kept)}" if kept else ""
        said = f"You want to return everything in order {order.order_id}{rest}."
    else:
        items = customer.items(order, 3)
        verb = random.choice(("You want to return the", "You would like to return the", "Return the"))
        got = random.choice(("", " you received", " you just received"))
        said = f"{verb} {_listed(items)}{got}{customer.place(order, items)}."
    about, method = customer.payment(order)
    if not isinstance(customer.user.payment_methods[method], GiftCard):  # the policy allows no other
        about, method = "", order.payment_history[0].payment_method_id
    call = Call(
        RETURN,
        {"order_id": order.order_id, "item_ids": [item.item_id for item in items], "payment_method_id": method},
    )
    goal = Goal((call,), orders=(order.order_id,))
    if random.random() < 0.25:
        about += random.choice((" You want to know how much money you get back.", " You ask for the total refund."))
        goal = replace(goal, **_total([item.price for item in items], "You get back"))
    return said + about, goal


def _total(prices: Sequence[float], words: str) -> dict[str, Any]:
    fact = _number(sum(prices))
    sums = (Call(CALCULATE, {"expression": " + ".join(_number(price) for price in prices)}),)
    return {"checks": sums if len(prices) > 1 else (), "facts": (fact,), "report": (f"{words} {fact}.",)}


def swap(customer: Customer) -> Request:
    order, random = customer.order("delivered", "pending"), customer.random
    items = customer.items(order, 2)
    wishes, new = zip(*(_wish(customer, item) for item in items), strict=True)
    about, method = customer.payment(order)
    verbs = ("exchange", "exchange", "change") if order.status == "delivered" else ("modify", "change", "exchange")
    where = customer.place(order, items)
    said = f"You want to {random.choice(verbs)} " + ", and ".join(wishes) + f"{where}."
    if where and random.random() < 0.3:
        said = f"For {order.order_id}, {said[0].lower() + said[1:].replace(where, '')}"
    call = Call(
        SWAPS[order.status],
        {
            "order_id": order.order_id,
            "item_ids": [item.item_id for item in items],
            "new_item_ids": [variant.item_id for variant in new],
            "payment_method_id": method,
        },
    )
    goal = Goal((call,), orders=(order.order_id,))
    gap = new[0].price - items[0].price
    if len(items) == 1 and abs(gap) > 0.01 and random.random() < 0.25:
        about += " You want to know the price difference."
        high, low = max(new[0].price, items[0].price), min(new[0].price, items[0].price)
        fact = _number(high - low)
        check = Call(CALCULATE, {"expression": f"{_number(high)} - {_number(low)}"})
        goal = replace(goal, checks=(check,), facts=(fact,), report=(f"The price difference is {fact}.",))
    return said + about, goal


def _wish(customer: Customer, item: OrderItem) -> tuple[str, Variant]:
    """What is said of the item that is wanted instead, and that item."""
    random = customer.random
    variants = customer.database.products[item.product_id].variants
    free = [v for v in variants.values() if v.available and v.item_id != item.item_id]
    if not free:
        raise Unfit
    name = item.name.lower() if random.random() < 0.6 else item.name
    by_price = sorted((v for v in variants.values() if v.available), key=lambda v: v.price)
    end, extreme = random.choice((("cheapest", by_price[0]), ("most expensive", by_price[-1])))
    if extreme.item_id != item.item_id and random.random() < 0.15:
        return f"the {name} to the {end} one available", extreme
    target = random.choice(free)
    changed = {k: v for k, v in target.options.items() if item.options.get(k) != v}
    fit = [v for v in free if all(v.options.get(k) == value for k, value in changed.items())]
    if not changed or (len(fit) > 1 and random.random() < 0.5):
        changed, fit = target.options, [target]
    kept = random.choice((" and keep the rest", " with everything else the same")) if len(fit) > 1 else ""
    form = random.random()
    if form < 0.25:
        return f"{item.name} {item.options} to {changed}{kept}", target
    if form < 0.6:
        return f"the {name} to {_listed_text([f'{k} {v}' for k, v in changed.items()])}{kept}", target
    return f"the {name} for one that is {_listed_text(list(changed.values()))}{kept}", target


def move_order(customer: Customer) -> Request:
    order, random = customer.order("pending"), customer.random
    words, new = _destination(customer, order.address)
    which = _which_order(customer, order)
    verb = random.choice(("You want to change the address of", "You want to change the shipping address of"))
    call = Call("modify_pending_order_address", {"order_id": order.order_id, **_address(new)})
    return f"{verb} {which} to {words}.", Goal((call,), orders=(order.order_id, *_orders_at(customer, new)))


def move_user(customer: Customer) -> Request:
    user = customer.user
    words, new = _destination(customer, user.address)
    forms = ("You moved and want to change your default address to", "Change your user address to")
    start = customer.random.choice(forms)
    call = Call("modify_user_address", {"user_id": user.user_id, **_address(new)})
    return f"{start} {words}.", Goal((call,), orders=_orders_at(customer, new))


def _destination(customer: Customer, now: UserAddress) -> tuple[str, UserAddress]:
    random, user = customer.random, customer.user
    known = [("your default address", user.address)] if user.address != now else []
    for order in customer.orders:
        if order.address not in (now, user.address):
            city = order.address.city
            words = (f"the address of order {order.order_id}", f"your {city} address, which is in one of your orders")
            known.append((random.choice(words), order.address))
    if known and random.random() < 0.6:
        return random.choice(known)
    if random.random() < 0.4:
        suite = f"Suite {random.randrange(100, 999)}"
        return f"{suite} instead, same building", now.model_copy(update={"address2": suite})
    new = now.model_copy(
        update={
            "address1": f"{random.randrange(100, 999)} {' '.join(now.address1.split()[1:]) or 'Main Street'}",
            "address2": f"Suite {random.randrange(100, 999)}",
            "zip": str(random.randrange(10000, 99999)),
        }
    )
    return ", ".join((new.address1, new.address2, new.city, new.state, new.zip)), new


def _orders_at(customer: Customer, address: UserAddress) -> tuple[str, ...]:
    """The first order sent to an address that only orders tell."""
    if address == customer.user.address:
        return ()
    return tuple(order.order_id for order in customer.orders if order.address == address)[:1]


def _address(address: UserAddress) -> dict[str, str]:
    names = ("address1", "address2", "city", "state", "country", "zip")
    return {name: getattr(address, name) for name in names}


def pay_otherwise(customer: Customer) -> Request:
    order = customer.order("pending")
    original = order.payment_history[0].payment_method_id
    others = [m for m in customer.user.payment_methods.values() if m.id != original]
    alike = [m.source for m in others]
    fitting = [m for m in others if alike.count(m.source) == 1 and not original.startswith(m.source)]
    if not fitting:
        raise Unfit
    method = customer.random.choice(fitting)
    call = Call("modify_pending_order_payment", {"order_id": order.order_id, "payment_method_id": method.id})
    said = f"You want to change the payment method of {_which_order(customer, order)} to your {METHODS[method.source]}."
    return said, Goal((call,), orders=(order.order_id,))


def track(customer: Customer) -> Request:
    order = customer.order("delivered", "processed")
    number = order.fulfillments[0].tracking_id[0] if order.fulfillments else None
    if number is None:
        raise Unfit
    said = f"You want to know the tracking number of {_which_order(customer, order)}."
    return said, Goal(orders=(order.order_id,), facts=(number,), report=(f"The tracking number is {number}.",))


def paid(customer: Customer) -> Request:
    order = customer.order("delivered", "pending", "processed")
    fact = _number(order.payment_history[0].amount)
    said = f"You want to know how much you paid for {_which_order(customer, order)}."
    return said, Goal(orders=(order.order_id,), facts=(fact,), report=(f"You paid {fact}.",))


def price(customer: Customer) -> Request:
    order = customer.order("delivered", "pending", "processed")
    item = customer.items(order, 1)[0]
    said = f"You want to know the price of the {item.name.lower()}{customer.place(order, [item])}."
    fact = _number(item.price)
    report = (f"The price of the {item.name} is {fact}.",)
    return said, Goal(orders=(order.order_id,), facts=(fact,), report=report)


def _listed(items: Sequence[OrderItem]) -> str:
    return _listed_text([item.name.lower() for item in items])


def _listed_text(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _number(value: float) -> str:
    return str(round(value, 2))  # as tau2's calculator writes it


# By the name of its kind, what is asked, and how often it is drawn: about as in the training tasks.
REQUESTS: dict[str, tuple[Callable[[Customer], Request], int]] = {
    "swap": (swap, 34),
    "give_back": (give_back, 22),
    "cancel": (cancel, 11),
    "cancel_all": (cancel_all, 5),
    "move_order": (move_order, 8),
    "move_user": (move_user, 3),
    "pay_otherwise": (pay_otherwise, 3),
    "track": (track, 3),
    "paid": (paid, 4),
    "price": (price, 3),
}
KINDS = tuple(REQUESTS)
