"""`group_commit`: orders that arrive while a transaction is open share the next one. The default.

How: one lane a process; its leader locks the products of all that wait, in the order of ids, and decides
them in order of arrival: one lock, one flush and the same few statements for any number.
Promises: exact stock; first come, first served within a process; needs no Redis.
Choose it: unless you know better. The hotter the sale, the cheaper each order.
"""

from orders import deciding
from orders.deciding import Placed, Wish
from shop.group_commit import Lane
from shop.idempotency import Replay

_lane: Lane[Wish, Placed | Replay] = Lane(deciding.decide)


def place(wish: Wish) -> Placed | Replay:
    """Join the lane, and return with the order's outcome."""
    return _lane.submit(wish)
