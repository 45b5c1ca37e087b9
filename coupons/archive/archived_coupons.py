"""Archived coupons: finding them by account, campaign, code and status; nothing here writes.

Reads of coupons come here after they have found nothing in the coupons themselves, or for a campaign that has
closed, so that coupons cost the same while there is an archive. While a coupon is moved, reading one table
and then the other may find it twice, or not at all: what reads both does it by one statement (`in_one`).
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from django.db.models import QuerySet, Value, prefetch_related_objects

from coupons.models import ArchivedCoupon, Campaign, Coupon
from shop import clock

Table = type[Coupon] | type[ArchivedCoupon]
BOTH: tuple[Table, ...] = (Coupon, ArchivedCoupon)
COLUMNS = [field.attname for field in Coupon._meta.concrete_fields]


def tables_of(campaign: Campaign) -> tuple[Table, ...]:
    """The tables that may have coupons of the campaign: both once it has closed.

    Whether it is archived may have changed since it was read; only campaigns that closed long ago are.
    """
    has_closed = campaign.closes_at is not None and campaign.closes_at <= clock.now()
    return BOTH if has_closed else (Coupon,)


def in_one(
    rows: "Callable[[QuerySet[Any]], QuerySet[Any, Any]]", tables: Sequence[Table] = BOTH
) -> "QuerySet[Any, Any]":
    """The rows that `rows` selects of each table, by one statement, so as they were at one instant.

    `rows` ends with the same values for each table, without an order. Rows that are grouped come once for
    each table.
    """
    first, *others = (rows(table._default_manager.order_by()) for table in tables)
    return first.union(*others, all=True) if others else first


def of_accounts(campaign: Campaign, account_ids: Collection[int]) -> dict[int, Coupon]:
    """The campaign's coupons by account, archived or not, for these accounts."""
    found = _read(tables_of(campaign), campaign_id=campaign.pk, account_id__in=account_ids)
    coupons = [_as_coupon(row) for row in found]
    for coupon in coupons:
        coupon.campaign = campaign
    return {coupon.account_id: coupon for coupon in coupons}


def by_code(codes: Iterable[str]) -> dict[str, Coupon]:
    """The coupons of these codes that are in the archive or were a moment ago, with their campaigns.

    Callers have not found them among the coupons, where they may be by now. All have expired, so that no
    order can hold one.
    """
    wanted = set(codes)
    if not wanted:
        return {}
    coupons = [_as_coupon(row) for row in _read(BOTH, code__in=wanted, expires_at__lte=clock.now())]
    prefetch_related_objects(coupons, "campaign")
    return {coupon.code: coupon for coupon in coupons}


def places_by_code(codes: Collection[str]) -> "list[Coupon | ArchivedCoupon]":
    """The coupons of these codes, each as a row of the table that it is in."""
    return _read(BOTH, code__in=codes)


def order_ids_by_code(codes: Collection[str]) -> list[Any]:
    """The orders that hold or have redeemed the coupons of these codes, archived or not."""
    found = in_one(
        lambda coupons: coupons.filter(code__in=codes, order__isnull=False).values_list("order_id", flat=True)
    )
    return list(found)


def find(
    *, owner_id: int | None, campaign_id: int | None = None, status: str | None = None
) -> "QuerySet[ArchivedCoupon]":
    """The owner's archived coupons, or all of them without an owner; `status` is as the customer sees it."""
    # As in `issued_coupons.find`: joined to the campaigns, all of their coupons may be read.
    rows = ArchivedCoupon.objects.prefetch_related("campaign")
    if owner_id is not None:
        rows = rows.filter(account_id=owner_id)
    if campaign_id is not None:
        rows = rows.filter(campaign_id=campaign_id)
    if status is None:
        return rows
    # Those that are issued have expired, and none is held.
    kept = {"expired": Coupon.Status.ISSUED, "redeemed": status, "void": status}
    return rows.filter(status=kept[status]) if status in kept else rows.none()


def _read(tables: Sequence[Table], **conditions: object) -> "list[Coupon | ArchivedCoupon]":
    found = in_one(
        lambda coupons: coupons.filter(**conditions).values_list(
            Value(coupons.model is ArchivedCoupon), *COLUMNS
        ),
        tables,
    )
    return [
        (ArchivedCoupon if is_archived else Coupon)(**dict(zip(COLUMNS, values, strict=True)))
        for is_archived, *values in found
    ]


def _as_coupon(row: Coupon | ArchivedCoupon) -> Coupon:
    return row if isinstance(row, Coupon) else row.as_coupon()
