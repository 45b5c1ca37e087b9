"""`redis_gate`: one Lua call takes all lines or none from a mirror of the stock; then the database decides.

How: the gate refuses orders for which nothing is left, without a lock or a transaction; an order that passes
is in flight until group commit has decided it, and its units return to the mirror if it fails or crashes.
Promises: exact stock, since the gate may refuse but never reserves; 503 without Redis, and nothing is done.
The gate doesn't look for lapsed orders: the stock that they hold is free once the sweep has ended them.
Choose it: when demand far exceeds stock and refusals have to be cheap. Other orders pay for the extra calls.
"""

from collections.abc import Sequence

from django.db import transaction

from foundation.concurrency.batching import Batcher
from foundation.errors import Held
from foundation.idempotency import claims, recorded_answers
from foundation.idempotency.recorded_answers import Replay
from inventory import mirror
from inventory.availability import insufficient_stock
from inventory.mirror import GateReservation
from orders.placement import decisions
from orders.placement.decisions import OrderRequest, PlacedOrder, PlacementResult


def place(order_request: OrderRequest) -> PlacedOrder | Replay:
    """Pass the gate, or raise what is short; a repeated call gets its recorded answer."""
    # Before the gate, where duplicate requests count as one.
    claims.acquire_or_raise(order_request.keyed.claim)
    return decisions.outcome_of(order_request, _pass_gate)


def _pass_gate(order_requests: Sequence[OrderRequest]) -> list[PlacementResult]:
    [order_request] = order_requests
    gate_reservation = _gate_reservation(order_request)
    short = mirror.admit(gate_reservation)
    if short:
        return [recorded_answers.find(order_request.keyed) or insufficient_stock(short)]
    try:
        return [_batcher.submit(order_request)]
    except BaseException as error:
        mirror.clear_in_flight([gate_reservation])
        if isinstance(error, Held):
            return [error]
        raise


def _decide(order_requests: Sequence[OrderRequest]) -> list[PlacementResult]:
    """Decide the batch; after the commit none of its orders is in flight any more.

    That hook is registered first, so that it runs before the mirror is updated: in the other order the units
    would count twice for a moment, and an order could be refused units that are available.
    """
    gate_reservations = [_gate_reservation(order_request) for order_request in order_requests]
    transaction.on_commit(lambda: mirror.clear_in_flight(gate_reservations))
    return decisions.decide(order_requests)


def _gate_reservation(order_request: OrderRequest) -> GateReservation:
    """The order at the gate; with its fingerprint, as the same key with another body is another request."""
    call = order_request.keyed
    return GateReservation(
        request=f"{call.account_id}:{call.key_hash}:{call.fingerprint}",
        quantities={line.product_id: line.quantity for line in order_request.lines},
    )


_batcher: Batcher[OrderRequest, PlacedOrder | Replay] = Batcher(
    _decide, name="orders_redis_gate", rows_of=decisions.locked_rows
)
