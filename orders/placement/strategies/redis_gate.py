"""`redis_gate`: one Lua call takes all lines or none from a mirror of the stock; then the database decides.

How: the gate turns away who would find nothing, without a lock or a transaction; who it lets through is in
flight until group commit has decided, and what failed or died on the way is given back.
Promises: exact stock, for the gate may refuse and never grant; without Redis 503, and nothing done.
Choose it: when far more ask than there is, and a refusal has to be cheap. Others pay for the extra calls.
"""

from collections.abc import Sequence

from django.db import transaction

from inventory import reservations
from inventory.mirror import mirror
from inventory.mirror.mirror import GateReservation
from orders.placement import decisions
from orders.placement.decisions import OrderRequest, PlacedOrder, PlacementResult
from shop.concurrency.group_commit import Batcher
from shop.idempotency import claims, recorded_answers
from shop.idempotency.recorded_answers import Replay


def place(order_request: OrderRequest) -> PlacedOrder | Replay:
    """Pass the gate, or be told what is short; a call that came before is answered as before."""
    # Before the gate, at which duplicates count as one.
    claims.acquire_or_raise(order_request.keyed.claim)
    passage = _gate_reservation(order_request)
    short = mirror.admit(passage)
    if short:
        known = recorded_answers.find(order_request.keyed)
        if known:
            return known
        raise reservations.insufficient(short)
    try:
        return _batcher.submit(order_request)
    except BaseException:
        mirror.clear_in_flight([passage])
        raise


def _decide(order_requests: Sequence[OrderRequest]) -> list[PlacementResult]:
    """Decide the batch; once it is committed, none of it is in flight any more.

    Said first, so that it happens before the mirror shows the new levels: the other way round what was
    taken would count twice for a moment, and somebody would be refused what is there.
    """
    passages = [_gate_reservation(order_request) for order_request in order_requests]
    transaction.on_commit(lambda: mirror.clear_in_flight(passages))
    return decisions.decide(order_requests)


def _gate_reservation(order_request: OrderRequest) -> GateReservation:
    """With the fingerprint, for the same key with another body is another request in flight."""
    call = order_request.keyed
    return GateReservation(
        request=f"{call.account_id}:{call.key_hash}:{call.fingerprint}",
        quantities={line.product_id: line.quantity for line in order_request.lines},
    )


_batcher: Batcher[OrderRequest, PlacedOrder | Replay] = Batcher(_decide, rows_of=decisions.locked_rows)
