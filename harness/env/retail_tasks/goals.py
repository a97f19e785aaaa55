"""What a retail task is to reach: calls, and what must be said."""

from __future__ import annotations

from dataclasses import dataclass

from harness.env.environment import Call

SWAPS = {"delivered": "exchange_delivered_order_items", "pending": "modify_pending_order_items"}
RETURN = "return_delivered_order_items"
TRANSFER = "transfer_to_human_agents"
PRODUCT = "get_product_details"
READS = ("find_user_id_by_email", "find_user_id_by_name_zip", "get_user_details", "get_order_details", PRODUCT)
CALCULATE = "calculate"


@dataclass(frozen=True)
class Goal:
    """One request. writes: calls that change something, in order; checks: other calls, before them.

    orders: ids that must be seen; all_orders: whether all must, to know that none is missed
    facts: what must be said; report: the sentences that say it
    """

    writes: tuple[Call, ...] = ()
    checks: tuple[Call, ...] = ()
    orders: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    report: tuple[str, ...] = ()
    all_orders: bool = False
