"""`optimistic`: read without a lock, and write only if no other transaction has written since.

How: every change of a product's stock increments its version; the order's UPDATE requires the versions it
read, and an order that finds another version retries after a pause with full jitter.
Promises: exact stock; no order of arrival, and after 50 retries 409 `conflict`.
Choose it: where orders seldom compete. For a hot product most attempts are wasted, as its counter shows.
"""

from prometheus_client import Counter

from foundation.concurrency import hot_rows
from foundation.concurrency.hot_rows import ConcurrencyLimit
from foundation.idempotency import claims
from foundation.idempotency.recorded_answers import Replay
from foundation.lazy_texts import mark
from orders.placement import decisions
from orders.placement.decisions import OrderRequest, PlacedOrder

RETRIES = Counter(
    "firstcome_stock_conflicts", "Orders that found their stock changed since they read it, and were retried."
)
_concurrency_limit = ConcurrencyLimit(name=mark("the stock"), max_concurrent=hot_rows.MAX_OPTIMISTIC)


def place(order_request: OrderRequest) -> PlacedOrder | Replay:
    """Retry until the stock doesn't change between the read and the write."""
    claims.acquire_or_raise(order_request.keyed.claim)
    return hot_rows.retry_until_unchanged(
        lambda: decisions.place_one(order_request, is_locked=False),
        concurrency_limit=_concurrency_limit,
        retries=RETRIES,
        wanted=mark("the same stock"),
    )
