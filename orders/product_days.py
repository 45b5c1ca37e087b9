"""Products' days as orders and refunds say them: what a refund adds to them, and how the table differs.

A refund that fails gives its money back and no units, which stay returned. Amounts are in the currency's
minor unit.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from operator import add, attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS
from django.db.models import Max, Min

from foundation import clock
from foundation.db import bulk_sql, transactions
from foundation.db.bulk_sql import SqlLiterals
from foundation.grouping import grouped
from foundation.models import ProcessLease
from inventory import product_days, ranking
from inventory.models import ProductDay
from inventory.product_days import Change
from orders import pricing
from orders.models import Order, Refund

REBUILDING = "rebuild_product_days"
"""The row that one rebuild at a time locks."""
# A row for each of these refunds, once it is settled, and each line of its order.
REFUNDS = """
SELECT 'refund', line.product_id, refund.id, line.id, refund.amount, refund.points_amount,
    line.line_amount - line.discount_amount, part.quantity, part.amount, {settled}, {failed}
FROM ({chosen}) AS chosen
JOIN orders_refund AS refund ON refund.id = chosen.id
JOIN orders_orderline AS line ON line.order_id = refund.order_id
LEFT JOIN orders_refundline AS part ON part.refund_id = refund.id AND part.line_id = line.id
WHERE refund.settled_at IS NOT NULL AND refund.source <> 'late_charge'
"""
INSIDE = "CASE WHEN refund.{column} >= {since} AND refund.{column} < {until} THEN 1 ELSE 0 END"
REFUNDED_AT = ("settled_at", "failed_at")
OF_PERIOD = "SELECT id FROM orders_refund WHERE {column} >= {since} AND {column} < {until}"
# One statement sees the table and all that it is compared with at one moment.
DAY = """
SELECT 'stored', product_id, NULL, NULL, units_sold, sold_amount, units_refunded, refunded_amount,
    NULL, NULL, NULL
FROM inventory_productday WHERE day = {day}
UNION ALL
SELECT 'sold', line.product_id, NULL, NULL,
    SUM(line.quantity), SUM(line.line_amount - line.discount_amount), 0, 0, NULL, NULL, NULL
FROM orders_order AS placed JOIN orders_orderline AS line ON line.order_id = placed.id
WHERE placed.paid_at >= {since} AND placed.paid_at < {until} GROUP BY line.product_id
UNION ALL
"""


class RefundLine(NamedTuple):
    """A line of an order in one of its refunds; own units and amount are None where it gives none back."""

    product_id: int
    refund_id: Any
    line_id: int
    refund_amount: int
    points_amount: int
    paid_amount: int
    own_units: int | None
    own_amount: int | None
    has_settled: int
    has_failed: int


Part = tuple[RefundLine, int, int]
"""A line in a refund, with the amount that it gave back of it, and the points of that."""


def count_refunds(refunds: Collection[Refund], *, at: datetime, have_failed: bool = False) -> None:
    """Count these refunds, just settled or just failed, on the day. Must be called inside a transaction."""
    parts = read_parts([refund.id for refund in refunds], have_failed=have_failed)
    product_days.add(_changes(clock.day_of(at), parts))


def read_parts(
    refund_ids: Collection[UUID], database: str = DEFAULT_DB_ALIAS, *, have_failed: bool = False
) -> "list[Part]":
    """What these refunds, which have settled, gave back of each line of their orders."""
    if not refund_ids:
        return []
    chosen = f"SELECT id FROM orders_refund WHERE id IN ({SqlLiterals().listed(refund_ids)})"  # noqa: S608 - ids
    statement = REFUNDS.format(chosen=chosen, settled=int(not have_failed), failed=int(have_failed))
    return [*_parts(bulk_sql.fetch(statement, database=database))]


def differences(day: date) -> list[Change]:
    """What is missing in the table of that day, or negative where it has too much; by product."""
    cells = SqlLiterals()
    since, until = (cells[instant] for instant in clock.day_bounds(day))
    period = {"since": since, "until": until}
    settled, failed = (INSIDE.format(column=column, **period) for column in REFUNDED_AT)
    chosen = " UNION ".join([OF_PERIOD.format(column=column, **period) for column in REFUNDED_AT])
    statement = DAY.format(day=cells[day.isoformat()], **period)
    statement += REFUNDS.format(chosen=chosen, settled=settled, failed=failed)
    missing: dict[int, Counter[str]] = defaultdict(Counter)
    refunds = []
    for row in bulk_sql.fetch(statement):
        kind, product_id = row[:2]
        if kind == "refund":
            refunds.append(row)
            continue
        numbers = dict(zip(product_days.SOLD, map(int, row[4:8]), strict=True))
        missing[product_id].update(numbers) if kind == "sold" else missing[product_id].subtract(numbers)
    for one in _changes(day, _parts(refunds)):
        missing[one.product_id].update(one.numbers)
    return [Change(day, id, numbers) for id, numbers in sorted(missing.items()) if any(numbers.values())]


def rebuild(day: date) -> int:
    """Correct the table's rows of that day. Returns how many were wrong. Durable; the shop may go on, and
    another rebuild waits.
    """
    ProcessLease.objects.get_or_create(name=REBUILDING, defaults={"leased_until": clock.now()})

    def correct() -> int:
        # Two at once would add the same difference.
        ProcessLease.objects.select_for_update().get(name=REBUILDING)
        # A difference is exact at its moment, and stays what is missing however much is sold meanwhile.
        product_days.add(wrong := differences(day))
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


def _parts(rows: Iterable[Sequence[Any]]) -> Iterator[Part]:
    """What refunds, by rows of `REFUNDS`, gave back of each line."""
    of_refunds = map(RefundLine._make, (row[1:] for row in rows))
    for lines in grouped((line.refund_id, line) for line in of_refunds).values():
        # The last line has the rest of what is split.
        lines.sort(key=attrgetter("line_id"))
        own_amounts = [int(line.own_amount or 0) for line in lines]
        # What is given back besides units, such as what a refund that failed owes.
        rest_amount = int(lines[0].refund_amount) - sum(own_amounts)
        rests = pricing.split_discount(rest_amount, [int(line.paid_amount) for line in lines])
        amounts = [*map(add, own_amounts, rests)]
        points = pricing.split_discount(int(lines[0].points_amount), amounts)
        yield from zip(lines, amounts, points, strict=True)


def _changes(day: date, parts: Iterable[Part]) -> Iterator[Change]:
    """What refunds gave back of each product, and took back as they failed."""
    for line, amount, points_amount in parts:
        if line.has_settled:
            numbers = {"units_refunded": int(line.own_units or 0), "refunded_amount": amount}
            yield Change(day, line.product_id, numbers)
        if line.has_failed:
            # What came back is the card's part.
            yield Change(day, line.product_id, {"refunded_amount": points_amount - amount})
