"""Lists of coupons, archived or not: those of an account, of a campaign, or all.

A page is one statement over both tables, which sees them as they were at one instant: a coupon that moves
between them meanwhile is on the page once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from django.db import DEFAULT_DB_ALIAS, connections

from coupons.archive.both_tables import TABLES
from coupons.models import ArchivedCoupon, Campaign, Coupon
from shop import clock
from shop.db import bulk_sql

# Plain SQL, because accounts read their coupons often: for two tables the ORM would double the call's time.
PAGE = """
SELECT {coupon}, {campaign} FROM (
{parts} ORDER BY id {direction} LIMIT {limit} OFFSET {offset}
) coupon JOIN coupons_campaign campaign ON campaign.id = coupon.campaign_id ORDER BY coupon.id {direction}
"""
# A limit of its own, so that no table is read further than the page may reach. SQLite takes one in a
# subquery only.
PART = """
SELECT * FROM (
SELECT {columns} FROM `{table}` WHERE {conditions} ORDER BY {table}.id {direction} LIMIT {limit}
) {table}_part"""
COMPARISONS = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


@dataclass(frozen=True, slots=True)
class CouponRows:
    """Coupons with their campaigns, for the pages of `shop.http.pagination`.

    They are objects of `Coupon`, whichever table they are in, and must not be saved.
    """

    tables: Sequence[type[Coupon] | type[ArchivedCoupon]]
    conditions: tuple[str, ...] = ()
    direction: str = "ASC"
    db: str = DEFAULT_DB_ALIAS
    model: type[Coupon] = Coupon

    def using(self, database: str) -> Self:
        """The same rows, read from another database."""
        return replace(self, db=database)

    def order_by(self, name: str) -> Self:
        """The same rows, sorted by `id` or `-id`."""
        if name not in ("id", "-id"):
            raise ValueError(f"coupons are sorted by id, not by {name}")
        return replace(self, direction="DESC" if name.startswith("-") else "ASC")

    def filter(self, **bounds: int | str) -> Self:
        """Those of these rows whose id meets the bounds, such as `id__lt`."""
        added = [f"id {COMPARISONS[name.removeprefix('id__')]} {int(id):d}" for name, id in bounds.items()]
        return replace(self, conditions=(*self.conditions, *added))

    def __getitem__(self, page: slice) -> list[Coupon]:
        """The rows of the slice, by one statement that reads as many of each table as it ends with."""
        coupons = bulk_sql.columns_of(Coupon, alias="coupon")
        campaigns = bulk_sql.columns_of(Campaign, alias="campaign")
        statement = PAGE.format(
            coupon=coupons.selected,
            campaign=campaigns.selected,
            parts=" UNION ALL ".join(self._part(table._meta.db_table, page.stop) for table in self.tables),
            direction=self.direction,
            limit=page.stop - page.start,
            offset=page.start,
        )
        with connections[self.db].cursor() as cursor:
            cursor.execute(statement)
            found = cursor.fetchall()
        width, rows = len(coupons.names), []
        for values in found:
            coupon = coupons.to_model(values[:width])
            # In the archive ids have no sign: the type of both is a decimal.
            coupon.id = int(coupon.id)
            coupon.campaign = campaigns.to_model(values[width:])
            rows.append(coupon)
        return rows

    def _part(self, table: str, limit: int) -> str:
        return PART.format(
            columns=bulk_sql.columns_of(Coupon, alias=table).selected,
            table=table,
            conditions=" AND ".join(self.conditions) or "1 = 1",
            direction=self.direction,
            limit=limit,
        )


def find(
    *, owner_id: int | None = None, campaign_id: int | None = None, status: str | None = None
) -> CouponRows:
    """The owner's coupons, or all coupons without an owner; `status` is as the customer sees it."""
    conditions = []
    if owner_id is not None:
        conditions.append(f"account_id = {owner_id:d}")
    if campaign_id is not None:
        conditions.append(f"campaign_id = {campaign_id:d}")
    if status is not None:
        conditions.append(_in_status(status))
    # What is archived has expired, and is held by no order.
    is_never_archived = status in (Coupon.Status.ISSUED, Coupon.Status.HELD)
    return CouponRows((Coupon,) if is_never_archived else TABLES, tuple(conditions))


def _in_status(status: str) -> str:
    """The condition for a status as `Coupon.status_at` computes it: issued past `expires_at` is expired."""
    literals = bulk_sql.SqlLiterals()
    if status == "expired":
        return f"status = 'issued' AND expires_at <= {literals[clock.now()]}"
    if status == Coupon.Status.ISSUED:
        return f"status = 'issued' AND expires_at > {literals[clock.now()]}"
    return f"status = {literals[status]}"
