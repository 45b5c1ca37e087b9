"""The strategies that keep buyers of the same stock apart, side by side: one module each, one signature."""

from typing import Protocol

from orders.placement.decisions import OrderRequest, PlacedOrder
from shop.idempotency.recorded_answers import Replay


class Strategy(Protocol):
    """Place one order, as `orders.placement.checkout.place` promises."""

    def __call__(self, order_request: OrderRequest, /) -> PlacedOrder | Replay: ...
