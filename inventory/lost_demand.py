"""Lost demand: what was asked for and not sold, counted once for each account, product and day.

Callers leave a note in this process's memory, and no more: a thread writes what has gathered, once a second
and in groups. A process that ends, or has more waiting than `MOST_WAITING`, loses counts, and nothing else.
"""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from functools import partial
from typing import NamedTuple

from django.db import IntegrityError

from foundation import clock
from foundation.db import bulk_sql, key_walks, transactions
from foundation.repeated_work import RepeatedWork
from inventory import product_days
from inventory.models import LostDemand, Product
from inventory.product_days import Change

Reason = LostDemand.Reason
MOST_WAITING = 50_000
"""Notes of a process, some 200 bytes each."""
GROUP = 500
GROUPS_PER_PASS = 4
PAUSE_SECONDS = 1.0
DAYS_KEPT = 2
"""Today and the day before, of which processes may still write."""


class Loss(NamedTuple):
    """What an account did not get; `amount`, in minor units, is by the product's price where it is None."""

    day: date
    product_id: int
    account_id: int
    reason: str
    units: int
    amount: int | None = None


_waiting: dict[tuple[date, int, int], Loss] = {}
TABLE = bulk_sql.Table(LostDemand, Loss._fields)


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
    rows = []
    changes = []
    for loss in sorted(group):
        if loss[:3] in known or loss.product_id not in prices:
            continue
        amount = prices[loss.product_id] * loss.units if loss.amount is None else loss.amount
        rows.append((loss.day.isoformat(), *loss[1:5], amount))
        numbers = {"lost_units": loss.units, "lost_amount": amount, f"lost_{loss.reason}": 1}
        changes.append(Change(loss.day, loss.product_id, numbers))
    bulk_sql.insert(TABLE, rows)
    product_days.add(changes)
    return len(rows)


def sweep() -> int:
    """Delete the rows of days that nothing is counted on any more. Returns how many."""
    return key_walks.delete(LostDemand.objects.filter(day__lte=clock.today() - timedelta(days=DAYS_KEPT)))


thread = RepeatedWork(write_waiting, name="lost demand", pause=lambda: PAUSE_SECONDS)
