"""Raising a campaign's quantity from two boards at once: the higher one stays."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from coupons import campaigns
from coupons.models import Campaign
from coupons.tests.factories import CampaignFactory
from shop.errors import Invalid
from shop.models import JournalLine
from shop.tests.racing import wait_until
from shop.tests.second_connection import holding
from shop.tests.waiting import in_background, waiting_at

pytestmark = pytest.mark.django_db(transaction=True)
KEEP = "SELECT id FROM coupons_campaign WHERE id = %s FOR UPDATE"
SOON = 10.0
Raise = Callable[..., Campaign]


def both_raised(campaign: Campaign, raising: Raise) -> list[Any]:
    """What `raising` to 150 and then to 120 returns or raises, when both wait for the campaign's lock."""
    waiting: list[Future[Campaign]] = []
    with holding(KEEP, campaign.pk):
        for number, quantity in enumerate((150, 120), start=1):
            waiting.append(in_background(lambda quantity=quantity: raising(campaign, quantity)))
            wait_until(lambda number=number: waiting_at("%coupons_campaign%") == number)
    return [one.exception(SOON) or one.result() for one in waiting]


def quantity_of(campaign: Campaign) -> int:
    return Campaign.objects.get(pk=campaign.pk).quantity


def test_of_two_that_raise_it_at_once_the_lower_one_is_refused() -> None:
    """The second had compared before the first was written, and lowered the quantity to 120."""
    campaign = CampaignFactory.create(quantity=100)

    higher, lower = both_raised(
        campaign,
        lambda one, quantity: campaigns.raise_quantity(
            campaign_id=one.pk, quantity=quantity, reason="More came."
        ),
    )

    assert higher.quantity == quantity_of(campaign) == 150
    assert isinstance(lower, Invalid)
    assert [fault["code"] for fault in lower.extra["errors"]] == ["not_raised"]
    assert JournalLine.objects.filter(what="campaign.changed").count() == 1


def test_comparing_before_the_lock_lowers_it() -> None:
    """The control case."""
    campaign = CampaignFactory.create(quantity=100)

    def raise_naively(one: Campaign, quantity: int) -> Campaign:
        assert quantity > quantity_of(one)
        return campaigns.change(campaign_id=one.pk, quantity=quantity)

    both_raised(campaign, raise_naively)

    assert quantity_of(campaign) == 120
