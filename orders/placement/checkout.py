"""Places orders with the strategy for concurrent requests that `INVENTORY_STRATEGY` names."""

from collections.abc import Callable

from django.conf import settings

from foundation.idempotency.recorded_answers import Replay
from orders.placement.decisions import OrderRequest, PlacedOrder
from orders.placement.strategies import group_commit, optimistic, pessimistic, redis_gate

STRATEGIES: dict[str, Callable[[OrderRequest], PlacedOrder | Replay]] = {
    "group_commit": group_commit.place,
    "pessimistic": pessimistic.place,
    "optimistic": optimistic.place,
    "redis_gate": redis_gate.place,
}


def place(order_request: OrderRequest) -> PlacedOrder | Replay:
    """Place an order: its stock is reserved, its coupon held, its answer recorded under its key.

    Durable when it returns; repeating the key gives a `Replay`. Takes the call's claim, if it has one.
    Raises `InFlight` while a duplicate request holds it, `NotFound` `product_not_found`, `Rejected`
    `product_paused`, `insufficient_stock`, `coupon_not_usable`, `insufficient_points` or `conflict`,
    `Invalid` when the points exceed the total or a card is missing, `KeyReused`, `Overloaded`, `Unavailable`.
    """
    return STRATEGIES[settings.INVENTORY_STRATEGY](order_request)
