"""Lost demand: what was asked for and not sold, counted once for each account, product and day.

Callers leave a note in this process's memory, and no more: a thread writes what has gathered, once a second
and in groups. A process that ends, or has more waiting than `MOST_WAITING`, loses counts, and nothing else.
"""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from functools import partial

from django.db import IntegrityError

from foundation import clock
from foundation.db import key_walks, transactions
from foundation.repeated_work import RepeatedWork
from inventory import product_counts, rows
from inventory.models import LostDemand, Product
from inventory.product_counts import Loss

Reason = LostDemand.Reason
MOST_WAITING = 50_000
"""Notes of a process, some 200 bytes each."""
GROUP = 500
GROUPS_PER_PASS = 4
PAUSE_SECONDS = 1.0
DAYS_KEPT = 2
"""Today and the day before, of which processes may still write."""


_waiting: dict[tuple[date, int, int], Loss] = {}


def note(losses: Iterable[Loss]) -> None:
    """Leave these to be written, if there is room; makes no query, and may be called from any thread."""
    for loss in losses:
        if len(_waiting) >= MOST_WAITING:
            return
        _waiting.setdefault((loss.day, loss.product_id, loss.account_id), loss)


def write_waiting() -> int:
    """Write what waits, up to some groups. Returns how many were new. What can't be written is lost."""
    written = 0
    for _ in range(GROUPS_PER_PASS):
        group = [_waiting.popitem()[1] for _ in range(min(GROUP, len(_waiting)))]
        if not group:
            break
        try:
            written += transactions.run(partial(_write, group), transactions.REPEATABLE)
        except IntegrityError:
            # Another process counted one of them meanwhile, and it is found next time.
            note(group)
    return written


def _write(group: Sequence[Loss]) -> int:
    product_ids = {loss.product_id for loss in group}
    counted = LostDemand.objects.filter(
        day__in={loss.day for loss in group},
        product_id__in=product_ids,
        account_id__in={loss.account_id for loss in group},
    )
    known = set(counted.values_list("day", "product_id", "account_id"))
    prices = dict(Product.objects.filter(id__in=product_ids).values_list("id", "price"))
    new = product_counts.new_losses(group, known, prices)
    rows.insert_losses(new)
    rows.add_to_days(map(product_counts.change_of, new))
    return len(new)


def sweep() -> int:
    """Delete the rows of days that nothing is counted on any more. Returns how many."""
    return key_walks.delete(LostDemand.objects.filter(day__lte=clock.today() - timedelta(days=DAYS_KEPT)))


thread = RepeatedWork(write_waiting, name="lost demand", pause=lambda: PAUSE_SECONDS)
