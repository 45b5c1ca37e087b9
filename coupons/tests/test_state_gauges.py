"""The gauges of campaigns: the 50 that matter, what they have left, and what must never be."""

from datetime import timedelta

import pytest
from django.utils import timezone

from coupons import campaigns, pool
from coupons.issuing import issuing
from coupons.metrics import state
from coupons.models import Campaign, Coupon
from coupons.tests.factories import CampaignFactory, coupon_of
from coupons.tests.test_audit import without_constraint
from shop.observability import gauges

pytestmark = pytest.mark.django_db(transaction=True)


def exposed() -> dict[str, float]:
    lines = gauges.exposition().decode().splitlines()
    return {line.rsplit(maxsplit=1)[0]: float(line.rsplit(maxsplit=1)[1]) for line in lines if line[0] != "#"}


def test_running_campaigns_have_their_quantity_what_is_issued_and_codes_left() -> None:
    plain = CampaignFactory.create(quantity=5)
    pooled = CampaignFactory.create(quantity=5, code_source="pool")
    pool.generate(campaign_id=pooled.pk, count=4)
    CampaignFactory.create(scheduled=True)
    CampaignFactory.create(closed=True)
    for campaign in (plain, plain, pooled):
        coupon_of(campaign)

    shown = exposed()
    assert {name: number for name, number in shown.items() if name.startswith("firstcome_campaign_")} == {
        f'firstcome_campaign_quantity{{campaign="{plain.pk}"}}': 5,
        f'firstcome_campaign_quantity{{campaign="{pooled.pk}"}}': 5,
        f'firstcome_campaign_issued{{campaign="{plain.pk}"}}': 2,
        f'firstcome_campaign_issued{{campaign="{pooled.pk}"}}': 1,
    }
    assert shown[f'firstcome_pool_codes_left{{campaign="{pooled.pk}"}}'] == 3
    assert f'firstcome_pool_codes_left{{campaign="{plain.pk}"}}' not in shown
    assert shown["firstcome_campaigns_running"] == 2
    assert shown["firstcome_coupons_duplicate"] == 0


def test_a_sold_out_campaign_is_shown_and_does_not_count_as_running() -> None:
    campaign = CampaignFactory.create(quantity=1)
    coupon_of(campaign)

    assert campaigns.running().count() == 0
    assert state.read_running()[state.ISSUED] == {str(campaign.pk): 1}


def test_the_50_campaigns_that_opened_last_are_shown() -> None:
    now = timezone.now()
    made = [CampaignFactory.create(opens_at=now - timedelta(hours=number)) for number in range(1, 61)]

    newest = [campaign.pk for campaign in made[: state.MOST_RUNNING]]
    assert [campaign.pk for campaign in state.running()] == newest
    assert list(state.read_running()[state.QUANTITY]) == [str(pk) for pk in newest]


def test_a_campaign_that_issued_more_than_its_quantity_is_counted() -> None:
    campaign = CampaignFactory.create(quantity=2)
    CampaignFactory.create()

    with without_constraint(
        Campaign, "coupons_campaign_issued_within_quantity", lambda: Campaign.objects.update(issued=0)
    ):
        Campaign.objects.filter(pk=campaign.pk).update(issued=3)
        assert state.duplicates() == 1


def test_a_position_past_the_quantity_is_counted_although_the_count_is_right() -> None:
    campaign = CampaignFactory.create(quantity=2)
    coupon = coupon_of(campaign)
    assert state.duplicates() == 0
    Coupon.objects.filter(pk=coupon.pk).update(position=3)
    assert state.duplicates() == 1


def test_a_campaign_with_two_coupons_for_an_account_is_counted_once() -> None:
    campaign, other = CampaignFactory.create(), CampaignFactory.create()
    first, second = coupon_of(campaign), coupon_of(campaign)
    # The same account may have a coupon of another campaign.
    issuing.issue(campaign_id=other.pk, user_id=first.account_id)

    with without_constraint(Coupon, "coupons_coupon_one_per_account_and_campaign"):
        assert state.duplicates() == 0
        Coupon.objects.filter(pk=second.pk).update(account=first.account_id)
        assert state.duplicates() == 1
