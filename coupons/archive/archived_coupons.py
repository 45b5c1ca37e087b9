"""Archived coupons: finding them by account, campaign, code and status; nothing here writes.

Reads of coupons come here after they have found nothing in the coupons themselves, or for a campaign with
`archived_at`, so that coupons cost the same while there is an archive.
"""

from collections.abc import Collection, Iterable

from django.db.models import QuerySet

from coupons.models import ArchivedCoupon, Campaign, Coupon


def of_accounts(campaign: Campaign, account_ids: Collection[int]) -> dict[int, Coupon]:
    """The archived coupons of the campaign by account, for these accounts; no query for other campaigns."""
    if campaign.archived_at is None:
        return {}
    found = ArchivedCoupon.objects.filter(campaign_id=campaign.pk, account_id__in=account_ids)
    coupons = [row.as_coupon() for row in found]
    for coupon in coupons:
        coupon.campaign = campaign
    return {coupon.account_id: coupon for coupon in coupons}


def by_code(codes: Iterable[str]) -> dict[str, Coupon]:
    """The archived coupons of these codes, with their campaigns."""
    wanted = set(codes)
    if not wanted:
        return {}
    found = ArchivedCoupon.objects.select_related("campaign").filter(code__in=wanted)
    return {row.code: row.as_coupon() for row in found}


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
