"""The comparison with the outside systems: the gateway's book to the last unit, the data platform's
events."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from lab.chaos.memory import Setup
from lab.chaos.shop import BOUGHT, Shop

EVENTS = ("order.paid", "order.refunded", "order.cancelled")
"""The events whose number and order is known; the others are not checked."""


def findings(setup: Setup, shop: Shop) -> Iterator[str]:
    """Each amount and each event that is not as the orders, refunds and top-ups have it."""
    orders = [order for account in setup.buyers for order in shop.orders(account).values()]
    yield from _money(setup, orders, shop)
    yield from _events(setup, orders, shop)


def _money(setup: Setup, orders: list[dict[str, Any]], shop: Shop) -> Iterator[str]:
    """What is charged and not refunded, by order, of the top-ups together, and in sum."""
    due = Counter[str | None]({order["id"]: order["card_amount"] for order in orders if _is_bought(order)})
    for refund in setup.refunds():
        due[refund["order"]] -= refund["card_amount"]
    due.subtract({order_id: made.lost_amount for order_id, made in setup.at_gateway.items()})
    top_ups = [made for account in setup.buyers for made in account.done("top_up")]
    due[None] = sum(made.call.body["amount"] for made in top_ups if made.answer.status == 201)
    held, number = Counter[str | None](), Counter[str | None]()
    for charge in shop.gateway("/charges")["results"]:
        if charge["status"] == "succeeded":
            lost = sum(one["amount"] for one in charge.get("disputes", ()) if one["status"] == "lost")
            held[charge["order"]] += charge["amount"] - charge["refunded_amount"] - lost
            number[charge["order"]] += 1
        elif charge["status"] == "pending":
            yield f"charge {charge['id']} of order {charge['order']} is pending: it may still succeed"
    for order_id in due.keys() | held.keys():
        if due[order_id] != held[order_id]:
            yield f"order {order_id}: the gateway holds {held[order_id]}, due are {due[order_id]}"
    for order in orders:
        wanted = int(_is_bought(order) and order["card_amount"] > 0)
        # A charge of an order that ended unpaid was refunded, whole.
        allowed = {wanted} if _is_bought(order) else {0, 1}
        if number[order["id"]] not in allowed:
            yield f"order {order['id']}: charged {number[order['id']]} times instead of {wanted}"
    summary = shop.gateway("/summary")
    lost_amount = sum(made.lost_amount for made in setup.at_gateway.values())
    if summary["charged_amount"] - summary["refunded_amount"] - lost_amount != due.total():
        yield f"the gateway holds {summary}, the answers come to {due.total()}"


def _events(setup: Setup, orders: list[dict[str, Any]], shop: Shop) -> Iterator[str]:
    """Each order's events once, and in their order."""
    delivered: defaultdict[str, list[str]] = defaultdict(list)
    for event in shop.events():
        if event["type"] in EVENTS:
            delivered[event["data"]["order"]].append(event["type"])
    refunds = Counter(refund["order"] for refund in setup.refunds())
    for order in orders:
        due = ["order.paid"] * _is_bought(order) + ["order.refunded"] * refunds[order["id"]]
        due += ["order.cancelled"] * (order["status"] == "cancelled")
        events = delivered.pop(order["id"], [])
        if events != due:
            yield f"order {order['id']}: the data platform got {events} instead of {due}"
    for order_id, events in delivered.items():
        yield f"order {order_id}: the data platform got {events}, and no client placed it"


def _is_bought(order: dict[str, Any]) -> bool:
    return order["status"] in BOUGHT
