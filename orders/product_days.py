"""Products' days as orders and refunds say them: what a refund adds to them, and how the table differs."""

from collections import Counter, defaultdict
from collections.abc import Collection
from datetime import date, datetime, timedelta
from itertools import chain

from django.db.models import Max, Min

from foundation import clock
from foundation.db import transactions
from foundation.models import ProcessLease
from inventory import ranking, rows as stock_rows
from inventory.models import ProductDay
from inventory.product_counts import DayChange
from orders import refund_parts, rows as order_rows
from orders.models import Order, Refund

REBUILDING = "rebuild_product_days"
"""The row that one rebuild at a time locks."""


def count_refunds(refunds: Collection[Refund], *, at: datetime, have_failed: bool = False) -> None:
    """Count these refunds, just settled or just failed, on the day. Must be called inside a transaction."""
    lines = order_rows.read_refunds([refund.id for refund in refunds], have_failed=have_failed)
    day = clock.day_of(at)
    stock_rows.add_to_days(
        DayChange(day, *change) for change in refund_parts.changes(refund_parts.split(lines))
    )


def differences(day: date) -> list[DayChange]:
    """What is missing in the table of that day, or negative where it has too much; by product."""
    sold, refunds = order_rows.read_day(day)
    refunded = refund_parts.changes(refund_parts.split(refunds))
    missing: dict[int, Counter[str]] = defaultdict(Counter)
    for product_id, numbers in chain(sold, refunded):
        missing[product_id].update(numbers)
    return [DayChange(day, id, numbers) for id, numbers in sorted(missing.items()) if any(numbers.values())]


def rebuild(day: date) -> int:
    """Correct the table's rows of that day. Returns how many were wrong. Durable; the shop may go on, and
    another rebuild waits.
    """
    ProcessLease.objects.get_or_create(name=REBUILDING, defaults={"leased_until": clock.now()})

    def correct() -> int:
        # Two at once would add the same difference.
        ProcessLease.objects.select_for_update().get(name=REBUILDING)
        # A difference is exact at its moment, and stays what is missing however much is sold meanwhile.
        stock_rows.add_to_days(wrong := differences(day))
        return len(wrong)

    corrected = transactions.run_or_savepoint(correct, transactions.REPEATABLE)
    if corrected:
        ranking.forget(day)
    return corrected


def days() -> list[date]:
    """The days that the table should have, the latest first."""
    first = Order.objects.aggregate(at=Min("paid_at"))["at"]
    kept = ProductDay.objects.aggregate(first=Min("day"), last=Max("day"))
    known = [day for day in (first and clock.day_of(first), *kept.values()) if day]
    if not known:
        return []
    last = max(*known, clock.today())
    return [last - timedelta(days=number) for number in range((last - min(known)).days + 1)]
