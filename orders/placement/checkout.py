"""Placing orders: the ways to keep buyers of the same stock apart, and the one that is in force here.

`INVENTORY_STRATEGY` names it; each is a function of the same signature, a module of its own below
`orders/placement/strategies/`. What a buyer is owed is decided in one place, `orders.placement.decisions`.
"""

from django.conf import settings

from orders.placement.decisions import OrderRequest, PlacedOrder
from orders.placement.strategies import Strategy, group_commit, optimistic, pessimistic, redis_gate
from shop.concurrency.group_commit import Batcher
from shop.idempotency.recorded_answers import Replay

STRATEGIES: dict[str, Strategy] = {
    "group_commit": group_commit.place,
    "pessimistic": pessimistic.place,
    "optimistic": optimistic.place,
    "redis_gate": redis_gate.place,
}


def place(order_request: OrderRequest) -> PlacedOrder | Replay:
    """Place an order: its stock is reserved, its coupon held, its answer recorded under its key.

    Durable when it returns; repeating the key gives a `Replay`. The call's claim, if it has one, is taken.
    Raises `InFlight` while a duplicate has it elsewhere, `NotFound` `product_not_found`, `Rejected`
    `insufficient_stock`, `coupon_not_usable`, `insufficient_points` or `conflict`, `Invalid` when the points
    exceed the total or a card is missing, `KeyReused`, `Overloaded`, `Unavailable`.
    """
    return STRATEGIES[settings.INVENTORY_STRATEGY](order_request)


def batcher() -> Batcher[OrderRequest, PlacedOrder | Replay] | None:
    """The batcher that a request may enter without a thread of its own; None where `place` does more."""
    return group_commit.BATCHER if settings.INVENTORY_STRATEGY == "group_commit" else None
