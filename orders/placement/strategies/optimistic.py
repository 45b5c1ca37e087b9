"""`optimistic`: read without a lock, and write only if nobody else has written since.

How: products carry a version that every change of their stock counts up; the order's UPDATE asks for the
versions it read, and who comes second begins again, after a pause with full jitter.
Promises: exact stock; no order of arrival at all, and after `OPTIMISTIC_RETRIES` 409 `conflict`.
Choose it: where orders seldom meet. At a hot product most of the work is done in vain, as its counter tells.
"""

from prometheus_client import Counter

from orders.placement import decisions
from orders.placement.decisions import OrderRequest, PlacedOrder
from shop.concurrency import optimistic
from shop.concurrency.concurrency_limit import ConcurrencyLimit
from shop.idempotency import claims
from shop.idempotency.recorded_answers import Replay

RETRIES = Counter(
    "firstcome_stock_conflicts", "Orders that found their stock changed since they read it, and began again."
)
_concurrency_limit = ConcurrencyLimit(name="the stock", max_concurrent=optimistic.MAX_CONCURRENT)


def place(order_request: OrderRequest) -> PlacedOrder | Replay:
    """Try until the stock stays as it was read, from the look to the write."""
    claims.acquire_or_raise(order_request.keyed.claim)
    return optimistic.retry_until_unchanged(
        lambda: decisions.place_one(order_request, locks=decisions.UNLOCKED),
        concurrency_limit=_concurrency_limit,
        retries=RETRIES,
        wanted="the same stock",
    )
