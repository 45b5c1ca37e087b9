"""`group_commit`: orders that arrive while a transaction is open share the next one. The default.

How: one batcher per process; its leader locks the products of all waiting orders, in the order of ids, and
decides the orders in order of arrival: one lock, one flush and the same few statements for any number.
Promises: exact stock; first come, first served within a process; needs no Redis.
Choose it: by default. The more orders compete, the cheaper each becomes.
"""

from collections import Counter
from collections.abc import Sequence
from copy import copy
from functools import partial
from itertools import chain

from django.conf import settings
from django.db import IntegrityError

from orders.placement import decisions, first_orders
from orders.placement.decisions import LOCKED, OrderRequest, PlacedOrder, PlacementResult, ReadLocks
from shop.concurrency.group_commit import Batcher, run_without_transaction
from shop.db import transactions
from shop.errors import Unavailable
from shop.idempotency import claims
from shop.idempotency.recorded_answers import Replay
from shop.redis.handover.handover import Handover, decide_here

# Longer than a batch takes on a busy machine, shorter than the second that duplicate requests wait.
STALLED_SECONDS = 0.5
# Many requests compete for the same stock, hardly ever two for the same coupon.
STOCK_LOCKED = ReadLocks(stock=True, coupons=False)


def place_batch(order_requests: Sequence[OrderRequest]) -> list[PlacementResult]:
    """Decide a batch in its own transaction; duplicates of requests in flight elsewhere are refused."""
    refusals = claims.acquire_or_refuse([order_request.keyed.claim for order_request in order_requests])
    firsts = [
        order_request for order_request, refusal in zip(order_requests, refusals, strict=True) if not refusal
    ]
    outcomes = iter(_decide_in_transaction(firsts) if firsts else [])
    return [refusal or next(outcomes) for refusal in refusals]


def _decide_in_transaction(order_requests: Sequence[OrderRequest]) -> list[PlacementResult]:
    try:
        return transactions.run_batch(partial(decisions.decide, order_requests, locks=STOCK_LOCKED))
    except transactions.ChangedMeanwhile:
        # Another transaction changed one of the coupons.
        pass
    except IntegrityError as error:
        # What else two transactions have written, such as a key, is decided one by one.
        if not first_orders.is_conflict(error):
            raise
    return transactions.run_batch(partial(decisions.decide, order_requests, locks=LOCKED))


BATCHER: Batcher[OrderRequest, PlacedOrder | Replay] = Batcher(
    lambda order_requests: decide_batch(order_requests),
    name="orders",
    run=run_without_transaction,
    rows_of=decisions.locked_rows,
)
# Beside the other one, which may wait for the leader of another product, as that may wait for this process.
BATCHER_FOR_OTHERS: Batcher[OrderRequest, PlacedOrder | Replay] = Batcher(
    lambda order_requests: decide_here(order_requests, locally=place_batch),
    name="orders_handed_over",
    run=run_without_transaction,
    rows_of=decisions.locked_rows,
)
HANDOVER = Handover("orders", lambda product_id: BATCHER_FOR_OTHERS, is_joined=True)


def decide_batch(order_requests: Sequence[OrderRequest]) -> Sequence[PlacedOrder | Replay | Exception]:
    """Decide a batch; if most of its orders want one product, the process that leads it decides these."""
    if not settings.HAND_OVER_BATCHES:
        return place_batch(order_requests)
    product_id, wanting = _hottest(order_requests)
    hot = [order_request for order_request, wants in zip(order_requests, wanting, strict=True) if wants]
    if len(hot) == len(order_requests):
        return HANDOVER.decide(product_id, order_requests, locally=place_batch)
    if len(hot) * 2 < len(order_requests) or not HANDOVER.leader_of(product_id, hot):
        return place_batch(order_requests)
    others = [
        order_request for order_request, wants in zip(order_requests, wanting, strict=True) if not wants
    ]
    of_others = iter(place_batch(others))
    # `decide` looks for the leader again, and asks Redis only if the others took so long that what was known
    # is too old. If the leader has died meanwhile, refusals would be uncertain.
    of_hot = iter(_decide_hot(product_id, hot))
    return [next(of_hot) if wants else next(of_others) for wants in wanting]


def _decide_hot(
    product_id: int, order_requests: Sequence[OrderRequest]
) -> Sequence[PlacedOrder | Replay | Exception]:
    """The outcomes of these orders; other orders of their batch are placed already, and keep theirs."""
    try:
        return HANDOVER.decide(product_id, order_requests, locally=place_batch)
    except Unavailable as error:
        return [copy(error) for _ in order_requests]


def _hottest(order_requests: Sequence[OrderRequest]) -> tuple[int, list[bool]]:
    """The product that most of these orders want, and which of them do."""
    wanted = [{line.product_id for line in order_request.lines} for order_request in order_requests]
    [(product_id, _)] = Counter(chain.from_iterable(wanted)).most_common(1)
    return product_id, [product_id in products for products in wanted]


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
