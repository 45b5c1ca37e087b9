"""Products' days as orders and refunds say them: what a refund adds to them, and how the table differs.

The units of a refund that fails count as sold again, until a refund by amount, which has no units of its own,
refunds them once more. Amounts are in the currency's minor unit.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Max, Min

from inventory import product_days, ranking
from inventory.models import ProductDay
from inventory.product_days import Change
from orders import pricing
from orders.models import Order, Refund
from shop import clock
from shop.db import transactions
from shop.db.bulk_sql import SqlLiterals

# A row for each settled refund of these orders and each line of its order.
REFUNDS = """
SELECT 'refund', line.product_id, refund.order_id, refund.id, line.id,
    refund.amount, refund.points_amount, line.line_amount - line.discount_amount,
    part.quantity, part.amount, refund.settled_at, refund.failed_at, {settled_inside}, {failed_inside}
FROM ({orders}) AS chosen
JOIN orders_refund AS refund ON refund.order_id = chosen.order_id
JOIN orders_orderline AS line ON line.order_id = refund.order_id
LEFT JOIN orders_refundline AS part ON part.refund_id = refund.id AND part.line_id = line.id
WHERE refund.settled_at IS NOT NULL AND refund.source <> 'late_charge'
"""
INSIDE = "CASE WHEN refund.{column} >= {since} AND refund.{column} < {until} THEN 1 ELSE 0 END"
REFUNDED = "SELECT order_id FROM orders_refund WHERE {column} >= {since} AND {column} < {until}"
# One statement sees the table and all that it is compared with at one moment.
DAY = """
SELECT 'stored', product_id, NULL, NULL, NULL, units_sold, sold_amount, units_refunded,
    refunded_amount, NULL, NULL, NULL, NULL, NULL
FROM inventory_productday WHERE day = {day}
UNION ALL
SELECT 'sold', line.product_id, NULL, NULL, NULL,
    SUM(line.quantity), SUM(line.line_amount - line.discount_amount), 0, 0, NULL, NULL, NULL, NULL, NULL
FROM orders_order AS placed JOIN orders_orderline AS line ON line.order_id = placed.id
WHERE placed.paid_at >= {since} AND placed.paid_at < {until} GROUP BY line.product_id
UNION ALL
"""


class RefundPart(NamedTuple):
    """A line of an order in one of its refunds; without own units and amount where it is by amount."""

    product_id: int
    order_id: Any
    refund_id: Any
    line_id: int
    refund_amount: int
    points_amount: int
    paid_amount: int
    own_units: int | None
    own_amount: int | None
    settled_at: Any
    failed_at: Any
    is_settled_inside: int
    is_failed_inside: int


class Returned(NamedTuple):
    """What a refund gives back of a product, or takes back as it fails; `is_inside` the period asked for."""

    refund_id: UUID
    has_failed: bool
    is_inside: bool
    product_id: int
    units: int
    amount: int


def count_refunds(refunds: Collection[Refund], *, at: datetime, have_failed: bool = False) -> None:
    """Count these refunds, just settled or just failed, on the day. Must be called inside a transaction."""
    cells = SqlLiterals()
    orders = cells.listed({refund.order_id for refund in refunds})
    chosen = f"SELECT id AS order_id FROM orders_order WHERE id IN ({orders})"  # noqa: S608 - ids
    rows = _fetch(REFUNDS.format(orders=chosen, settled_inside=1, failed_inside=1))
    counted, day = {refund.id for refund in refunds}, clock.day_of(at)
    product_days.add(
        Change(day, one.product_id, units_refunded=one.units, refunded_amount=one.amount)
        for one in _returned(RefundPart(*row[1:]) for row in rows)
        if one.refund_id in counted and one.has_failed == have_failed
    )


def differences(day: date) -> list[Change]:
    """What is missing in the table of that day, or negative where it has too much; by product."""
    cells = SqlLiterals()
    since, until = (cells[instant] for instant in clock.day_bounds(day))
    period = {"since": since, "until": until}
    columns = ("settled_at", "failed_at")
    settled, failed = (INSIDE.format(column=column, **period) for column in columns)
    touched = " UNION ".join([REFUNDED.format(column=column, **period) for column in columns])
    statement = DAY.format(day=cells[day.isoformat()], **period)
    statement += REFUNDS.format(orders=touched, settled_inside=settled, failed_inside=failed)
    missing: dict[int, Counter[str]] = defaultdict(Counter)
    parts = []
    for kind, product_id, *values in _fetch(statement):
        if kind == "refund":
            parts.append(RefundPart(product_id, *values))
        else:
            numbers = dict(zip(product_days.SUMS, map(int, values[3:7]), strict=True))
            missing[product_id].update(numbers) if kind == "sold" else missing[product_id].subtract(numbers)
    for one in _returned(parts):
        if one.is_inside:
            missing[one.product_id].update(units_refunded=one.units, refunded_amount=one.amount)
    return [Change(day, id, **numbers) for id, numbers in sorted(missing.items()) if any(numbers.values())]


def rebuild(day: date) -> int:
    """Correct the table's rows of that day. Returns how many were wrong. Durable; the shop may go on."""

    def correct() -> int:
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
    last = max(filter(None, [kept["last"], clock.today()]))
    firsts = [day for day in (first and clock.day_of(first), kept["first"]) if day]
    length = (last - min(firsts)).days + 1 if firsts else 0
    return [last - timedelta(days=number) for number in range(length)]


def _fetch(statement: str) -> Sequence[Sequence[Any]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def _returned(parts: Iterable[RefundPart]) -> Iterator[Returned]:
    """What the refunds of these orders gave and took back, in the order in which that happened."""
    by_order: dict[Any, dict[Any, list[RefundPart]]] = defaultdict(lambda: defaultdict(list))
    for part in sorted(parts, key=attrgetter("line_id")):
        by_order[part.order_id][part.refund_id].append(part)
    for refunds in by_order.values():
        events = [(of_refund[0].settled_at, id, False) for id, of_refund in refunds.items()]
        events += [(one[0].failed_at, id, True) for id, one in refunds.items() if one[0].failed_at]
        units: dict[Any, list[int]] = {}
        failed_units = [0] * max(map(len, refunds.values()))
        for _at, id, has_failed in sorted(events):
            of_refund = refunds[id]
            amounts = _amounts(of_refund, has_failed=has_failed)
            if has_failed:
                failed_units = [more + own for more, own in zip(failed_units, units[id], strict=True)]
            elif _is_by_amount(of_refund):
                units[id], failed_units = failed_units, [0] * len(failed_units)
            else:
                units[id] = [int(part.own_units or 0) for part in of_refund]
            sign = -1 if has_failed else 1
            for part, own, amount in zip(of_refund, units[id], amounts, strict=True):
                is_inside = bool(part.is_failed_inside if has_failed else part.is_settled_inside)
                moved = (part.product_id, sign * own, sign * amount)
                yield Returned(UUID(str(id)), has_failed, is_inside, *moved)


def _amounts(parts: Sequence[RefundPart], *, has_failed: bool) -> list[int]:
    """The refund's amount of each line; of one that has failed what came back, which is the card's part."""
    first, amounts = parts[0], [int(part.own_amount or 0) for part in parts]
    if _is_by_amount(parts):
        amounts = pricing.split_discount(int(first.refund_amount), [int(part.paid_amount) for part in parts])
    if has_failed:
        points = pricing.split_discount(int(first.points_amount), amounts)
        return [amount - less for amount, less in zip(amounts, points, strict=True)]
    return amounts


def _is_by_amount(parts: Sequence[RefundPart]) -> bool:
    return all(part.own_amount is None for part in parts)
