"""Archived coupons alone: finding them by account, campaign and status; nothing here writes."""

from django.db.models import QuerySet

from coupons.models import ArchivedCoupon, Coupon


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
