"""`group_commit`: orders that arrive while a transaction is open share the next one. The default.

How: one batcher a process; its leader locks the products of all that wait, in the order of ids, and decides
them in order of arrival: one lock, one flush and the same few statements for any number.
Promises: exact stock; first come, first served within a process; needs no Redis.
Choose it: unless you know better. The hotter the sale, the cheaper each order.
"""

from orders.placement import decisions
from orders.placement.decisions import OrderRequest, PlacedOrder
from shop.concurrency.group_commit import Batcher
from shop.db import transactions
from shop.idempotency import claims
from shop.idempotency.recorded_answers import Replay

# Longer than batches take on a busy machine, and less than the second that duplicates wait.
STALLED_SECONDS = 0.5

BATCHER: Batcher[OrderRequest, PlacedOrder | Replay] = Batcher(
    decisions.place_batch, run=transactions.run_without_transaction, rows_of=decisions.locked_rows
)


def is_stalled() -> bool:
    """Whether the current batch takes so long that a request should take its claim alone, and at once."""
    return BATCHER.busy_seconds() > STALLED_SECONDS


def place(order_request: OrderRequest) -> PlacedOrder | Replay:
    """Join the batcher, and return with the order's outcome.

    Its batch takes its claim with all others, unless it `is_stalled`.
    """
    if is_stalled():
        claims.acquire_or_raise(order_request.keyed.claim)
    return BATCHER.submit(order_request)
