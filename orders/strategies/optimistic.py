"""`optimistic`: read without a lock, and write only if nobody else has written since.

How: products carry a version that every change of their stock counts up; the order's UPDATE asks for the
versions it read, and who comes second begins again, after a pause with full jitter.
Promises: exact stock; no order of arrival at all, and after `OPTIMISTIC_RETRIES` 409 `conflict`.
Choose it: where orders seldom meet. At a hot product most of the work is done in vain, as its counter tells.
"""

import random
import time

from django.conf import settings
from prometheus_client import Counter

from orders import deciding
from orders.deciding import Placed, Wish
from shop.admission import Admission
from shop.errors import Rejected
from shop.idempotency import Replay
from shop.transactions import ChangedMeanwhile

RETRIES = Counter(
    "firstcome_stock_conflicts", "Orders that found their stock changed since they read it, and began again."
)
# A pause is drawn from nothing up to a bound that doubles from the first to the second of these.
SHORTEST_SECONDS, LONGEST_SECONDS = 0.005, 0.25

# Whoever writes second waits for the first one's row lock, and then has waited in vain: few try at once.
_admission = Admission(name="the stock", at_the_row=4)


def place(wish: Wish) -> Placed | Replay:
    """Try until the stock stays as it was read, from the look to the write."""
    for attempt in range(settings.OPTIMISTIC_RETRIES + 1):
        if attempt:
            RETRIES.inc()
            time.sleep(random.uniform(0, min(LONGEST_SECONDS, SHORTEST_SECONDS * 2**attempt)))
        try:
            with _admission.place():
                return deciding.alone(wish, is_locking=False)
        except ChangedMeanwhile:
            continue
    raise Rejected("Too many others want the same stock; nothing was done.", code="conflict", retry_after=1)
