"""Pools of codes: added once, renamed while available, never lost."""

import pytest

from coupons.codes import pool
from coupons.models import Campaign
from coupons.tests.factories import CampaignFactory, coupon_of
from coupons.tests.laws import broken
from coupons.tests.outcomes import refusal

pytestmark = pytest.mark.django_db


@pytest.fixture
def campaign() -> Campaign:
    return CampaignFactory.create(code_source="pool")


def test_codes_that_exist_anywhere_are_skipped_and_listed(campaign: Campaign) -> None:
    other = CampaignFactory.create()
    borne = coupon_of(other).code
    pool.add(campaign_id=other.pk, codes=["THEIRS"])
    pool.add(campaign_id=campaign.pk, codes=["OURS"])

    added = pool.add(campaign_id=campaign.pk, codes=["NEW", "OURS", "THEIRS", borne, "NEW", "new"])

    assert added == pool.Added(added=2, skipped=["OURS", "THEIRS", borne, "NEW"], total=3)
    assert list(campaign.pool.order_by("id").values_list("code", flat=True)) == ["OURS", "NEW", "new"]
    assert broken() == {}


def test_codes_are_added_over_several_chunks(campaign: Campaign) -> None:
    given = [f"C{number}" for number in range(2 * pool.CHUNK + 1)]

    first = pool.add(campaign_id=campaign.pk, codes=given)
    second = pool.add(campaign_id=campaign.pk, codes=given)

    assert (first.added, first.skipped, first.total) == (2_001, [], 2_001)
    assert (second.added, second.skipped, second.total) == (0, given, 2_001)
    assert broken() == {}


def test_only_codes_of_the_campaign_are_renamed_and_to_none_that_a_coupon_bears(campaign: Campaign) -> None:
    other = CampaignFactory.create()
    pool.add(campaign_id=campaign.pk, codes=["ONE"])
    pool.add(campaign_id=other.pk, codes=["THEIRS"])
    borne = coupon_of(other).code

    assert pool.rename(campaign_id=campaign.pk, code="ONE", to="ONE").code == "ONE"
    assert refusal(lambda: pool.rename(campaign_id=campaign.pk, code="ONE", to=borne)) == "code_exists"
    assert refusal(lambda: pool.rename(campaign_id=campaign.pk, code="THEIRS", to="X")) == "not_found"
