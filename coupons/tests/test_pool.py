"""Pools of codes: added once, renamed while available, never lost."""

from typing import Any

import pytest

from coupons import codes, pool
from coupons.issuing import issuing
from coupons.models import Campaign, PoolCode
from coupons.tests.factories import CampaignFactory, coupon_of
from coupons.tests.laws import broken
from shop.errors import FirstcomeError
from shop.tests.factories import AccountFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def campaign() -> Campaign:
    return CampaignFactory.create(code_source="pool")


def refusal(work: Any) -> str:
    with pytest.raises(FirstcomeError) as refused:
        work()
    return refused.value.code


def test_codes_that_exist_anywhere_are_skipped_and_listed(campaign: Campaign) -> None:
    other = CampaignFactory.create()
    borne = coupon_of(other).code
    pool.add(campaign_id=other.pk, codes=["THEIRS"])
    pool.add(campaign_id=campaign.pk, codes=["OURS"])

    added = pool.add(campaign_id=campaign.pk, codes=["NEW", "OURS", "THEIRS", borne, "NEW", "new"])

    assert added == pool.AddedCodes(added=2, skipped=["OURS", "THEIRS", borne, "NEW"], total=3)
    assert list(campaign.pool.order_by("id").values_list("code", flat=True)) == ["OURS", "NEW", "new"]
    assert broken() == {}


def test_codes_are_added_over_several_chunks(campaign: Campaign) -> None:
    given = [f"C{number}" for number in range(2 * pool.CHUNK + 1)]

    first = pool.add(campaign_id=campaign.pk, codes=given)
    second = pool.add(campaign_id=campaign.pk, codes=given)

    assert (first.added, first.skipped, first.total) == (2_001, [], 2_001)
    assert (second.added, second.skipped, second.total) == (0, given, 2_001)
    assert broken() == {}


def test_the_requested_number_of_codes_is_made(campaign: Campaign) -> None:
    reported: list[int] = []

    added = pool.generate(campaign_id=campaign.pk, count=1_500, progress=reported.append)

    made = list(campaign.pool.values_list("code", flat=True))
    assert added == pool.AddedCodes(added=1_500, skipped=[], total=1_500)
    assert len(set(made)) == 1_500
    assert all(codes.check_character(code[:-1]) == code[-1] for code in made)
    assert reported == [1_000, 500]
    assert broken() == {}


def test_no_codes_are_made_when_none_are_missing(campaign: Campaign) -> None:
    pool.add(campaign_id=campaign.pk, codes=["ONE"])

    assert pool.generate(campaign_id=campaign.pk, count=0) == pool.AddedCodes(added=0, skipped=[], total=1)
    assert pool.generate(campaign_id=campaign.pk, count=-1) == pool.AddedCodes(added=0, skipped=[], total=1)


def test_a_campaign_that_does_not_exist_has_no_pool() -> None:
    assert refusal(lambda: pool.add(campaign_id=10**9, codes=["A"])) == "not_found"
    assert refusal(lambda: pool.generate(campaign_id=10**9, count=1)) == "not_found"
    assert refusal(lambda: pool.list_codes(campaign_id=10**9, status=None)) == "not_found"
    assert not PoolCode.objects.exists()


def test_an_available_code_is_renamed(campaign: Campaign) -> None:
    pool.add(campaign_id=campaign.pk, codes=["OLD"])

    renamed = pool.rename(campaign_id=campaign.pk, code="OLD", to="NEW")

    assert renamed.code == "NEW"
    assert list(campaign.pool.values_list("code", "status")) == [("NEW", "available")]
    assert pool.rename(campaign_id=campaign.pk, code="NEW", to="NEW").code == "NEW"


def test_a_code_is_not_renamed_to_one_that_exists(campaign: Campaign) -> None:
    pool.add(campaign_id=campaign.pk, codes=["ONE", "TWO"])
    borne = coupon_of(CampaignFactory.create()).code

    assert refusal(lambda: pool.rename(campaign_id=campaign.pk, code="ONE", to="TWO")) == "code_exists"
    assert refusal(lambda: pool.rename(campaign_id=campaign.pk, code="ONE", to=borne)) == "code_exists"


def test_an_issued_code_is_not_renamed(campaign: Campaign) -> None:
    pool.add(campaign_id=campaign.pk, codes=["ONE"])
    issuing.issue(campaign_id=campaign.pk, user_id=AccountFactory.create().pk)

    assert refusal(lambda: pool.rename(campaign_id=campaign.pk, code="ONE", to="TWO")) == "code_issued"


def test_only_codes_of_the_campaign_are_renamed(campaign: Campaign) -> None:
    other = CampaignFactory.create()
    pool.add(campaign_id=other.pk, codes=["THEIRS"])

    assert refusal(lambda: pool.rename(campaign_id=campaign.pk, code="THEIRS", to="X")) == "not_found"
    assert refusal(lambda: pool.rename(campaign_id=campaign.pk, code="NONE", to="X")) == "not_found"
