"""`group_commit`: orders that arrive while a transaction is open share the next one. The default.

How: one batcher per process; its leader locks the products of all waiting orders, in the order of ids, and
decides the orders in order of arrival: one lock, one flush and the same few statements for any number.
Promises: exact stock; first come, first served within a process; needs no Redis.
Choose it: by default. The more orders compete, the cheaper each becomes.
"""

from collections.abc import Sequence
from functools import partial

from django.conf import settings
from django.db import IntegrityError

from foundation.concurrency.batching import Batcher, run_without_transaction
from foundation.db import transactions
from foundation.idempotency import claims
from foundation.idempotency.recorded_answers import Replay
from orders.placement import decisions, rows as placement_rows
from orders.placement.decisions import OrderRequest, PlacedOrder, PlacementResult

# Longer than a batch takes on a busy machine, shorter than the second that duplicate requests wait.
STALLED_SECONDS = 0.5


def place_batch(order_requests: Sequence[OrderRequest]) -> list[PlacementResult]:
    """Decide a batch in its own transaction; duplicates of requests in flight elsewhere are refused."""
    refusals = claims.acquire_or_refuse([order_request.keyed.claim for order_request in order_requests])
    firsts = [
        order_request for order_request, refusal in zip(order_requests, refusals, strict=True) if not refusal
    ]
    outcomes = iter(decisions.decide_without_lapsed(_decide_in_transaction, firsts) if firsts else [])
    return [refusal or next(outcomes) for refusal in refusals]


def _decide_in_transaction(order_requests: Sequence[OrderRequest]) -> list[PlacementResult]:
    decide = partial(decisions.decide, order_requests)
    try:
        # Many requests compete for the same stock, hardly ever two for the same coupon.
        return transactions.run_batch(partial(decide, lock_coupons=False))
    except (transactions.ChangedMeanwhile, IntegrityError) as error:
        # Another transaction changed a coupon, or an account's first order was faster. What else two
        # transactions have written, such as a key, is decided one by one.
        if isinstance(error, IntegrityError) and not placement_rows.is_conflict(error):
            raise
        return transactions.run_batch(decide)


BATCHER: Batcher[OrderRequest, PlacedOrder | Replay] = Batcher(
    lambda order_requests: place_batch(order_requests),
    name="orders",
    # Those whose payments one batch has settled order again together, and then share one.
    linger_seconds=0.005,
    run=run_without_transaction,
    rows_of=decisions.locked_rows,
)


def batcher() -> Batcher[OrderRequest, PlacedOrder | Replay] | None:
    """The batcher, which requests may join without a thread; None where another strategy is configured."""
    return BATCHER if settings.INVENTORY_STRATEGY == "group_commit" else None


def is_stalled() -> bool:
    """Whether the current batch takes so long that a request should take its claim itself, at once."""
    return BATCHER.busy_seconds() > STALLED_SECONDS


def place(order_request: OrderRequest) -> PlacedOrder | Replay:
    """Join the batcher, and return the order's outcome.

    The batch takes the claims of all its requests, unless the batcher `is_stalled`.
    """
    if is_stalled():
        claims.acquire_or_raise(order_request.keyed.claim)
    return BATCHER.submit(order_request)
