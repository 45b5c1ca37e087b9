"""`optimistic`: read without a lock, and write only if nobody else has written since.

How: products carry a version that every change of their stock counts up; the order's UPDATE asks for the
versions it read, and who comes second begins again, after a pause with full jitter.
Promises: exact stock; no order of arrival at all, and after `OPTIMISTIC_RETRIES` 409 `conflict`.
Choose it: where orders seldom meet. At a hot product most of the work is done in vain, as its counter tells.
"""

from prometheus_client import Counter

from orders.placement import decisions
from orders.placement.decisions import Placed, Wish
from shop.concurrency import optimistic
from shop.concurrency.concurrency_limit import Admission
from shop.idempotency import claims
from shop.idempotency.recorded_answers import Replay

RETRIES = Counter(
    "firstcome_stock_conflicts", "Orders that found their stock changed since they read it, and began again."
)
_admission = Admission(name="the stock", at_the_row=optimistic.AT_THE_ROW)


def place(wish: Wish) -> Placed | Replay:
    """Try until the stock stays as it was read, from the look to the write."""
    claims.require(wish.keyed.claim)
    return optimistic.until_unchanged(
        lambda: decisions.alone(wish, reading=decisions.UNLOCKED),
        admission=_admission,
        retries=RETRIES,
        wanted="the same stock",
    )
