"""Coupons as they are read for lists and pages, by account, campaign and status."""

from collections.abc import Sequence
from typing import NamedTuple

from django.db.models import Q, QuerySet

from coupons.models import Coupon
from foundation import clock
from foundation.db.rows import present
from foundation.errors import NotFound
from foundation.lazy_texts import mark

EXPIRED = "expired"
COMPUTED = (Coupon.Status.ISSUED, EXPIRED)
"""Statuses that `expires_at` tells apart: both are `issued` in the table, and no index has them in order."""


class Found(NamedTuple):
    """Coupons, and how a page of them is read (`foundation.http.keyset_pages.read_page`)."""

    coupons: "QuerySet[Coupon]"
    parts: Sequence[Q] = ()
    among: "QuerySet[Coupon] | None" = None


def find(*, owner_id: int | None = None, campaign_id: int | None = None, status: str | None = None) -> Found:
    """The owner's coupons, or all coupons without an owner; `status` is as the customer sees it."""
    in_status = _in_status(status) if status else Q()
    rows = Coupon.objects.filter(**present(account_id=owner_id, campaign_id=campaign_id))
    if owner_id is not None:
        # An account has one coupon of a campaign: few.
        return Found(rows.filter(in_status).select_related("campaign"))
    # Joined to the campaigns, the newest of all coupons may be found by reading all of every campaign.
    coupons = rows.filter(in_status).prefetch_related("campaign")
    if status in COMPUTED:
        return Found(coupons, among=rows.filter(status=Coupon.Status.ISSUED))
    if campaign_id is not None and status is None:
        # The index of a campaign's coupons has them in order within each status.
        return Found(coupons, parts=[Q(status=each) for each in Coupon.Status])
    return Found(coupons)


def get(*, code: str, owner_id: int | None) -> Coupon:
    """One coupon of the owner, or any coupon without an owner. Raises `NotFound`."""
    coupon = Coupon.objects.select_related("campaign").filter(code=code).first()
    if coupon is None or owner_id not in (None, coupon.account_id):
        raise NotFound(mark("There is no coupon {code}.", code=code))
    return coupon


def has_coupon(account_id: int, code: str) -> bool:
    """Whether the account has a coupon of this code, or of the campaign with this shared code."""
    own = Coupon.objects.filter(account_id=account_id)
    return own.filter(code=code).exists() or own.filter(campaign__shared_code=code).exists()


def _in_status(status: str) -> Q:
    """The condition for a status as `Coupon.status_at` computes it: issued past `expires_at` is expired."""
    now = clock.now()
    if status == EXPIRED:
        return Q(status=Coupon.Status.ISSUED, expires_at__lte=now)
    return Q(status=status, expires_at__gt=now) if status == Coupon.Status.ISSUED else Q(status=status)
