"""`group_commit`: orders that arrive while a transaction is open share the next one. The default.

How: one batcher per process; its leader locks the products of all waiting orders, in the order of ids, and
decides the orders in order of arrival: one lock, one flush and the same few statements for any number.
Promises: exact stock; first come, first served within a process; needs no Redis.
Choose it: by default. The more orders compete, the cheaper each becomes.
"""

from orders.placement import decisions
from orders.placement.decisions import OrderRequest, PlacedOrder
from shop.concurrency.group_commit import Batcher, run_without_transaction
from shop.idempotency import claims
from shop.idempotency.recorded_answers import Replay

# Longer than a batch takes on a busy machine, shorter than the second that duplicate requests wait.
STALLED_SECONDS = 0.5

BATCHER: Batcher[OrderRequest, PlacedOrder | Replay] = Batcher(
    decisions.place_batch, run=run_without_transaction, rows_of=decisions.locked_rows
)


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
