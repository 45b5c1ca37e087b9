"""Closed campaigns for tests of the archive, and where their coupons are."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from coupons.archive import moving
from coupons.issuing import issuing
from coupons.models import ArchivedCoupon, Campaign, Coupon
from coupons.tests.factories import CampaignFactory, accounts

LONG_AGO = timedelta(days=200)


def closed_campaign(coupons: int = 5, **columns: Any) -> Campaign:
    """A campaign that closed 200 days ago, whose coupons expired then."""
    campaign = CampaignFactory.create(quantity=max(coupons, 1) * 2, **columns)
    for account_id in accounts(coupons):
        issuing.issue(campaign_id=campaign.pk, user_id=account_id)
    closed_at = timezone.now() - LONG_AGO
    Coupon.objects.filter(campaign=campaign).update(expires_at=closed_at)
    Campaign.objects.filter(pk=campaign.pk).update(
        opens_at=closed_at - timedelta(days=1), closes_at=closed_at
    )
    issuing.forget()
    return Campaign.objects.get(pk=campaign.pk)


def month_of(campaign: Campaign) -> str:
    assert campaign.closes_at is not None
    return f"{campaign.closes_at:%Y-%m}"


def archive(campaign: Campaign, *, after: int = 0, size: int = 1_000) -> moving.Batch:
    """One batch of the campaign, of coupons that expired by now."""
    return moving.archive_batch(campaign_id=campaign.pk, after=after, until=timezone.now(), size=size)


def codes(campaign: Campaign) -> tuple[set[str], set[str]]:
    """The codes of its coupons, and of its archived ones."""
    return (
        set(Coupon.objects.filter(campaign=campaign).values_list("code", flat=True)),
        set(ArchivedCoupon.objects.filter(campaign=campaign).values_list("code", flat=True)),
    )
