"""`pessimistic`: the ORM's `select_for_update()` on the products, one transaction per order.

How: plain row locks, in the order of product ids; at most 64 orders of a process wait for row locks, the
others wait for one of these places, 10 s at most; deadlocks and lock waits of 5 s are retried.
Promises: exact stock; the database's order, not that of arrival; needs no Redis.
Choose it: when few orders compete for the same products, or to compare. One lock and one flush per order.
"""

from foundation.concurrency.hot_rows import ConcurrencyLimit
from foundation.idempotency import claims
from foundation.idempotency.recorded_answers import Replay
from foundation.lazy_texts import mark
from inventory import rows
from orders.placement import decisions
from orders.placement.decisions import OrderRequest, PlacedOrder

_concurrency_limit = ConcurrencyLimit(name=mark("the stock"))


def place(order_request: OrderRequest) -> PlacedOrder | Replay:
    """Wait for a place, lock the products, and decide the order in its own transaction."""
    claims.acquire_or_raise(order_request.keyed.claim)
    with _concurrency_limit.permit():
        return decisions.place_one(order_request, is_locked=True, lock=rows.select_stock_for_update)
