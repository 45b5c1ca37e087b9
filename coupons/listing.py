"""Coupons to look at: whose, of which campaign, in which status."""

from django.db.models import Q, QuerySet

from coupons.models import Coupon
from shop import clock
from shop.errors import NotFound


def find(
    *, owner_id: int | None, campaign_id: int | None = None, status: str | None = None
) -> "QuerySet[Coupon]":
    """The owner's coupons, or everybody's without one; `status` is as the customer sees it."""
    asked = {"account_id": owner_id, "campaign_id": campaign_id}
    by_column = {column: value for column, value in asked.items() if value is not None}
    coupons = Coupon.objects.select_related("campaign").filter(**by_column)
    return coupons.filter(_in_status(status)) if status else coupons


def get(*, code: str, owner_id: int | None) -> Coupon:
    """One coupon of the owner's, or of anybody's without one. Raises `NotFound`."""
    coupon = find(owner_id=owner_id).filter(code=code).first()
    if coupon is None:
        raise NotFound(f"There is no coupon {code}.")
    return coupon


def _in_status(status: str) -> Q:
    """As `Coupon.status_at` tells it: an issued coupon past its time is expired."""
    now = clock.now()
    if status == "expired":
        return Q(status=Coupon.Status.ISSUED, expires_at__lte=now)
    if status == Coupon.Status.ISSUED:
        return Q(status=status, expires_at__gt=now)
    return Q(status=status)
