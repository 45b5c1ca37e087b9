"""The strategies for concurrent orders of the same stock: one module each, all with the same signature."""

from typing import Protocol

from orders.placement.decisions import OrderRequest, PlacedOrder
from shop.idempotency.recorded_answers import Replay


class Strategy(Protocol):
    """Place one order, as `orders.placement.checkout.place` documents."""

    def __call__(self, order_request: OrderRequest, /) -> PlacedOrder | Replay: ...
