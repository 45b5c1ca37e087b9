"""The laws of coupons, for assertions of tests."""

from coupons import audit
from coupons.models import Coupon


def broken() -> dict[str, list[str]]:
    """The laws that don't hold, each with its offenders."""
    return {one.law: one.offenders for one in audit.audit() if not one.holds}


def positions(campaign) -> list[int | None]:
    """The positions of the campaign's coupons, lowest first."""
    return list(campaign.coupons.order_by("position").values_list("position", flat=True))


def owners_in_order() -> list[int]:
    """The accounts of all coupons, lowest position first."""
    return list(Coupon.objects.order_by("position").values_list("account_id", flat=True))
