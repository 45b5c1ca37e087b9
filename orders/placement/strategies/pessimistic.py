"""`pessimistic`: `SELECT ... FOR UPDATE` on the products, one transaction for each order.

How: the textbook's row locks, in the order of product ids; at most 64 orders of a process stand at the
rows, the others wait before them for 10 s at most; deadlocks and lock waits of 5 s are tried again.
Promises: exact stock; the database's order, not that of arrival; needs no Redis.
Choose it: when few orders meet at the same products, or to compare. One lock and one flush an order.
"""

from orders.placement import decisions
from orders.placement.decisions import Placed, Wish
from shop.concurrency.concurrency_limit import Admission
from shop.idempotency import claims
from shop.idempotency.recorded_answers import Replay

_admission = Admission(name="the stock")


def place(wish: Wish) -> Placed | Replay:
    """Wait for a place at the rows, lock them, and be decided alone."""
    claims.require(wish.keyed.claim)
    with _admission.place():
        return decisions.alone(wish, reading=decisions.LOCKED)
