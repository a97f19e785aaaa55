"""Small retail databases: one customer of tau2's database with their orders and the products in them, under new ids.

New ids mean that a policy trained on these worlds must copy what it sees: nothing can be learned by heart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cached_property
from random import Random
from typing import Any

from tau2.domains.retail.data_model import RetailDB

from harness.env.domain import Domain

# Ids of orders and payments (7 digits), items and products (10), parcels (12), zip codes (5), users (4, after a name).
# Not what follows a point: prices may have as many digits.
# The first digit stands before what must not precede it, so that the search jumps from digit to digit.
_ID = re.compile(r"\d(?<![\d.]\d)(?:\d{11}|\d{9}|\d{6}|\d{4}|(?<=_\d)\d{3}|\d{3}(?=@))(?!\w|\.\d)")


HALVES = ("verdict", "tuning")  # of the customers of held-out tasks


class Relabelling:
    """Replaces each id by another of the same length, the same one everywhere."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._new: dict[str, str] = {}
        self._taken: set[str] = set()

    def __call__(self, text: str) -> str:
        return _ID.sub(lambda match: self._of(match.group(0)), text)

    def _of(self, old: str) -> str:
        if old not in self._new:
            new = _digits(len(old), self._random)
            while new in self._taken or new == old:
                new = _digits(len(old), self._random)
            self._new[old] = new
            self._taken.add(new)
        return self._new[old]


def _digits(count: int, random: Random) -> str:
    return str(random.randrange(1, 10)) + "".join(random.choice("0123456789") for _ in range(count - 1))


class Population:
    """The customers that generated tasks may be about: all but those of the held-out tasks, or a half of those.

    half: "tuning" or "verdict", which share no customer; None: those that may be trained on
    """

    def __init__(self, domain: Domain, half: str | None = None) -> None:
        self.database: RetailDB = domain.world(domain.task_ids[0]).database
        self.held_out = frozenset[str]().union(*(customers(domain, task_id) for task_id in domain.test_ids))
        everyone = [user_id for user_id, user in self.database.users.items() if user.orders]
        if half is None:
            self.user_ids = tuple(user_id for user_id in everyone if user_id not in self.held_out)
        else:
            theirs = sorted(self.held_out & set(everyone))
            Random("retail held-out customers").shuffle(theirs)  # the same halves for every seed
            self.user_ids = tuple(sorted(theirs[HALVES.index(half) :: len(HALVES)]))

    @cached_property
    def first_names(self) -> list[str]:
        return sorted({user.name.first_name for user in self.database.users.values()})

    @cached_property
    def last_names(self) -> list[str]:
        return sorted({user.name.last_name for user in self.database.users.values()})

    def world(self, user_id: str, random: Random) -> RetailDB:
        """The customer's world under new ids and a new name. Raises ValueError for a customer who is not one of these,
        e.g. of a held-out task."""
        if user_id not in self.user_ids:
            raise ValueError(f"{user_id} is held-out from this population.")
        data = small(self.database, [user_id])
        user = data["users"][user_id]
        first, last = random.choice(self.first_names), random.choice(self.last_names)
        number = _digits(4, random)
        renamed = {
            user_id: f"{first}_{last}_{number}".lower(),
            user["email"]: f"{first}.{last}{_digits(4, random)}@example.com".lower(),
        }
        user["name"] = {"first_name": first, "last_name": last}
        text = json.dumps(data)
        for old, new in renamed.items():
            text = text.replace(json.dumps(old), json.dumps(new))
        return RetailDB.model_validate_json(Relabelling(random)(text))


def small(database: RetailDB, user_ids: Iterable[str], product_ids: Iterable[str] = ()) -> dict[str, Any]:
    """The part of the database that holds these customers, their orders, the products in them and these products."""
    users = {user_id: database.users[user_id] for user_id in user_ids}
    orders = {order_id: database.orders[order_id] for user in users.values() for order_id in user.orders}
    wanted = {item.product_id for order in orders.values() for item in order.items} | set(product_ids)
    products = {product_id: product for product_id, product in database.products.items() if product_id in wanted}
    parts = {"products": products, "users": users, "orders": orders}
    return {name: {key: entity.model_dump(mode="json") for key, entity in part.items()} for name, part in parts.items()}


def customers(domain: Domain, task_id: str) -> frozenset[str]:
    """User ids that a task's gold actions name, directly or through an order, an e-mail address or a name."""
    world = domain.world(task_id)
    database: RetailDB = world.database
    criteria = world.task.evaluation_criteria
    found: set[str] = set()
    for action in (criteria.actions or []) if criteria else []:
        told = action.arguments
        if told.get("order_id") in database.orders:
            found.add(database.orders[told["order_id"]].user_id)
        for user in database.users.values():
            name = (user.name.first_name, user.name.last_name)
            by_name = name == (told.get("first_name"), told.get("last_name")) and user.address.zip == told.get("zip")
            if by_name or user.user_id == told.get("user_id") or user.email == told.get("email"):
                found.add(user.user_id)
    opening = world.script.opening
    found |= {user_id for user_id, user in database.users.items() if user_id in opening or user.email in opening}
    named = [u for u in database.users.values() if f"{u.name.first_name} {u.name.last_name}" in opening]
    return frozenset(found | {user.user_id for user in named if user.address.zip in opening})
