"""The curve of issue: the coupons of each interval, whatever their number."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from backoffice.campaign_page import read_curve
from coupons.models import Campaign, Coupon
from coupons.tests.factories import CampaignFactory, accounts

pytestmark = pytest.mark.django_db
OPENING = timezone.now().replace(microsecond=0) - timedelta(hours=5)


def issued(*seconds: int, **columns: Any) -> Campaign:
    """A campaign that issued a coupon at each of these seconds after its opening."""
    campaign: Campaign = CampaignFactory.create(
        opens_at=OPENING, quantity=max(1, len(seconds)), issued=len(seconds), **columns
    )
    instants = [OPENING + timedelta(seconds=second) for second in seconds]
    owners = accounts(len(seconds))
    Coupon.objects.bulk_create(
        Coupon(
            campaign=campaign,
            account_id=owner,
            code=f"C-{campaign.pk}-{position}",
            position=position,
            issued_at=at,
            expires_at=at + timedelta(days=30),
        )
        for position, (owner, at) in enumerate(zip(owners, instants, strict=True), start=1)
    )
    return campaign


def counts_of(campaign: Campaign) -> tuple[timedelta, list[int]]:
    curve = read_curve(campaign)
    assert curve
    return curve.length, curve.counts


def test_coupons_are_counted_by_the_minute_since_the_opening():
    campaign = issued(61, 119, 120, 120, 179, 3_599)
    length, counts = counts_of(campaign)
    assert (length, len(counts)) == (timedelta(minutes=1), 60)
    assert {minute: count for minute, count in enumerate(counts) if count} == {1: 2, 2: 3, 59: 1}


def test_a_short_drop_is_drawn_by_seconds_and_a_long_campaign_by_days():
    assert counts_of(issued(0, 0, 1, 3)) == (timedelta(seconds=1), [2, 1, 0, 1])
    length, counts = counts_of(issued(0, 100 * 86_400))
    assert (length, sum(counts), len(counts)) == (timedelta(days=1), 2, 101)
    ten_years = counts_of(issued(0, 10 * 365 * 86_400))
    assert (sum(ten_years[1]), len(ten_years[1])) == (2, 120)


def test_a_campaign_without_coupons_has_no_curve():
    assert read_curve(CampaignFactory.create()) is None
    unsafe = issued(1, 2)
    Coupon.objects.filter(campaign=unsafe).update(position=None)
    assert read_curve(unsafe) is None
