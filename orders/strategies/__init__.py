"""The ways to keep buyers of the same stock apart, side by side: one module each, one signature."""

from typing import Protocol

from orders.deciding import Placed, Wish
from shop.idempotency import Replay


class Strategy(Protocol):
    """Place one order, as `orders.checkout.place` promises."""

    def __call__(self, wish: Wish, /) -> Placed | Replay: ...
