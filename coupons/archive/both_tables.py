"""Reading coupons wherever they are: both tables, the coupons and the archive, by one statement.

A statement sees the tables as they were at one instant, and a coupon is in one of them at each. Two
statements, one for each table, would miss a coupon that moves between them, or find it twice.
"""

from collections.abc import Callable, Iterable
from typing import Any

from django.db import connection
from django.db.models import IntegerField, Q, QuerySet, Value, prefetch_related_objects

from coupons.models import ArchivedCoupon, Campaign, Coupon
from shop import clock

TABLES: tuple[type[Coupon], type[ArchivedCoupon]] = (Coupon, ArchivedCoupon)
COLUMNS = [field.attname for field in ArchivedCoupon._meta.concrete_fields]

# Each is counted by an index; rows of a UNION would be copied first.
COUNT = "SELECT (SELECT COUNT(*) FROM coupons_coupon) + (SELECT COUNT(*) FROM coupons_archivedcoupon)"


def union(select: "Callable[[QuerySet[Any]], QuerySet[Any, Any]]") -> "QuerySet[Any, Any]":
    """The rows that `select` makes of the coupons, and those that it makes of the archived ones.

    Rows of aggregates come once for each table. The ids of coupons come as decimals, because the types of the
    two columns differ.
    """
    first, second = (select(table._default_manager.order_by()) for table in TABLES)
    return first.union(second, all=True)


def find(condition: Q, *, related: Iterable[str] = ()) -> list[Coupon | ArchivedCoupon]:
    """The coupons that meet the condition, with these relations; an index has to find them in both tables."""

    def select(table: "QuerySet[Any]") -> "QuerySet[Any, Any]":
        place = Value(TABLES.index(table.model), output_field=IntegerField())
        return table.filter(condition).annotate(place=place).values_list(*COLUMNS, "place")

    found = [_row(TABLES[place], dict(zip(COLUMNS, values, strict=True))) for *values, place in union(select)]
    prefetch_related_objects(found, *related)
    return found


def count() -> int:
    """How many coupons there are."""
    with connection.cursor() as cursor:
        cursor.execute(COUNT)
        return int(cursor.fetchone()[0])


def by_code(codes: Iterable[str]) -> dict[str, Coupon]:
    """The coupons of these codes that are archived, or were a moment ago, with their campaigns.

    Callers have not found them among the coupons, where they may be by now. All have expired, so no order
    can hold them.
    """
    wanted = set(codes)
    if not wanted:
        return {}
    moved = find(Q(code__in=wanted, expires_at__lte=clock.now()), related=["campaign"])
    return {row.code: _as_coupon(row) for row in moved}


def of_accounts(campaign: Campaign, account_ids: Iterable[int]) -> dict[int, Coupon]:
    """The coupons of the campaign by account, for these accounts."""
    rows = find(Q(campaign_id=campaign.pk, account_id__in=set(account_ids)))
    coupons = [_as_coupon(row) for row in rows]
    for coupon in coupons:
        coupon.campaign = campaign
    return {coupon.account_id: coupon for coupon in coupons}


def order_ids(codes: Iterable[str]) -> list[Any]:
    """The ids of the orders that hold or have redeemed the coupons of these codes."""
    holders = Q(code__in=set(codes), order__isnull=False)
    return [id for (id,) in union(lambda table: table.filter(holders).values_list("order_id"))]


def _as_coupon(row: Coupon | ArchivedCoupon) -> Coupon:
    return row.as_coupon() if isinstance(row, ArchivedCoupon) else row


def _row(table: type[Coupon] | type[ArchivedCoupon], values: dict[str, Any]) -> Coupon | ArchivedCoupon:
    values["id"] = int(values["id"])
    names = [field.attname for field in table._meta.concrete_fields]
    return table.from_db(None, names, [values[name] for name in names])
