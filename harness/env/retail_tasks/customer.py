"""A world's only customer: what requests on their behalf are drawn from, and how they introduce themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tau2.domains.retail.data_model import Order, OrderItem, RetailDB, User

METHODS = {"gift_card": "gift card", "paypal": "PayPal account", "credit_card": "credit card"}


class Unfit(Exception):
    """This customer cannot make this request: draw again."""


@dataclass(frozen=True)
class Customer:
    """A world's only user, and what requests on their behalf are drawn from."""

    database: RetailDB
    user: User
    random: Random

    @property
    def orders(self) -> list[Order]:
        return [self.database.orders[order_id] for order_id in self.user.orders]

    def order(self, *statuses: str) -> Order:
        fitting = [order for order in self.orders if order.status in statuses]
        if not fitting:
            raise Unfit
        return self.random.choice(fitting)

    def items(self, order: Order, most: int) -> list[OrderItem]:
        """Up to `most` of an order's items, each of a product that the order holds once."""
        names = [item.name for item in order.items]
        single = [item for item in order.items if names.count(item.name) == 1]
        if not single:
            raise Unfit
        return self.random.sample(single, min(len(single), self.random.choice((1, 1, most))))

    def place(self, order: Order, items: Sequence[OrderItem]) -> str:
        """' in order #W…', or nothing where the items' names say enough."""
        others = {item.name for other in self.orders if other is not order for item in other.items}
        clear = not others & {item.name for item in items}
        if clear and self.random.random() < 0.65:
            return ""
        return self.random.choice((f" in order {order.order_id}", f" from order {order.order_id}"))

    def payment(self, order: Order) -> tuple[str, str]:
        """What is said about the payment, and the method's id: mostly the original one."""
        original = order.payment_history[0].payment_method_id
        if self.random.random() < 0.3:
            other = self.random.choice(list(self.user.payment_methods.values()))
            alike = [m for m in self.user.payment_methods.values() if m.source == other.source]
            if len(alike) == 1:
                name = METHODS[other.source]
                another = (f"Use your {name}.", f"You want to use your {name} for it.", f"You prefer the {name}.")
                return f" {self.random.choice(another)}", other.id
        same = ("", "", " You prefer the original payment method.", " Original payment is preferred.")
        return self.random.choice(same), original


def introduction(customer: Customer) -> str:
    user = customer.user
    name, code = f"{user.name.first_name} {user.name.last_name}", user.address.zip
    by_code = (
        f"You are {name} in zip code {code}.",
        f"You are {name}, and you live in {user.address.city}, {code}.",
        f"You are {name}, and you live in {user.address.city}, {user.address.state}, {code}.",
        f"Your name is {name} and your zip code is {code}.",
        f"You name is {name} and your zip code is {code}.",
        f"You are {user.user_id} in zipcode {code}.",
    )
    by_mail = (
        f"You are {name} with email {user.email}.",
        f"You name is {name} and your email is {user.email}.",
        f"You are {user.user_id} ({user.email}).",
    )
    return customer.random.choice(by_code if customer.random.random() < 0.7 else by_mail)


_TRAITS = (
    *("shy", "rigid", "polite", "brief", "patient", "direct", "insecure"),
    *("cautious", "organized", "messy", "optimistic", "busy", "logical", "sad"),
)
_MANNERS = (
    ".",
    "You are a private person that does not want to reveal much about yourself.",
    "You are detail-oriented and want to make sure everything is addressed in one go.",
    "You are a bit anxious and want to get things done quickly.",
    "You like to do one thing at a time.",
)


def manner(random: Random) -> str:
    if random.random() < 0.5:
        return f"You are {', '.join(random.sample(_TRAITS, random.randint(1, 4)))}."
    return random.choice(_MANNERS)
