"""The audit of coupons finds each kind of damage, and names it."""

import pytest
from django.db import connection
from django.db.models import F, QuerySet
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from coupons import audit, issuing
from coupons.models import Campaign, Confirmation, Coupon, PoolCode
from coupons.tests.factories import CampaignFactory, accounts, coupon_of, order_ids
from coupons.tests.laws import broken
from coupons.tests.outcomes import allocated
from foundation.tests.constraints import without_constraint
from foundation.tests.factories import set_columns

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("unlawful")]
VOID = ["CODE-2", "CODE-3"]


@pytest.fixture
def campaign():
    campaign = CampaignFactory(quantity=20)
    allocated(campaign, *accounts(10))
    issuing.void(code=coupon_at(campaign, 3).code, reason="A mistake.")
    return campaign


@pytest.fixture
def with_pool():
    codes = [f"CODE-{number}" for number in range(1, 9)]
    campaign = CampaignFactory(quantity=20, code_source="pool", codes=codes)
    allocated(campaign, *accounts(5))
    issuing.void(code="CODE-3", reason="A mistake.")
    return campaign


def named(code: str) -> QuerySet[PoolCode]:
    return PoolCode.objects.filter(code=code)


def coupon_at(campaign, position: int) -> Coupon:
    return Coupon.objects.get(campaign=campaign, position=position)


def test_a_sound_shop_breaks_no_law(campaign, with_pool):
    reports = audit.audit()

    assert [one.law for one in reports] == ["L1", "L2", "L3", "L6"]
    assert [one.checked for one in reports] == [2, 15, 8, 15]
    assert broken() == {}


@pytest.mark.parametrize("taken_by", ["coupon", "pool code"])
def test_l3_names_a_campaign_whose_shared_code_is_another_code(campaign, with_pool, taken_by):
    code = coupon_at(campaign, 1).code if taken_by == "coupon" else "CODE-8"
    shared = CampaignFactory(code_source="shared", shared_code=code)

    assert broken() == {"L3": [str(shared.pk)]}
    assert audit.codes_are_counted([shared.pk]).offenders == [str(shared.pk)]


def test_l1_names_campaigns_whose_counters_are_wrong(campaign):
    set_columns(campaign, issued=F("issued") - 1)
    empty = CampaignFactory(issued=1)

    assert broken()["L1"] == [str(campaign.pk), str(empty.pk)]


def test_l2_names_a_campaign_with_a_coupon_and_a_confirmation_of_one_account(campaign):
    owner, now = coupon_at(campaign, 1).account_id, timezone.now()
    taken = {"account_id": owner, "code": "ANOTHER", "taken_at": now, "next_attempt_at": now}
    Confirmation.objects.create(campaign=campaign, **taken)
    set_columns(campaign, confirming=1)

    assert broken() == {"L2": [str(campaign.pk)]}


def test_l1_names_a_campaign_that_issued_too_many(campaign):
    name, mend = "coupons_campaign_issued_within_quantity", lambda: Campaign.objects.update(issued=0)
    with without_constraint(Campaign, name, mend):
        set_columns(campaign, quantity=9)

        assert broken() == {"L1": [str(campaign.pk)]}


@pytest.mark.parametrize(("position", "moved_to"), [(10, 11), (1, 0), (5, None)])
def test_l2_names_a_campaign_with_a_gap(campaign, position, moved_to):
    Coupon.objects.filter(campaign=campaign, position=position).update(position=moved_to)

    assert broken() == {"L2": [str(campaign.pk)]}


def test_l3_names_a_campaign_that_lost_a_code(with_pool):
    named("CODE-8").delete()

    assert broken() == {"L3": [str(with_pool.pk)]}


@pytest.mark.parametrize(
    ("damage", "offenders"),
    [
        (lambda: named("CODE-1").update(status="available", coupon=None), ["CODE-1"]),
        (lambda: Coupon.objects.filter(code="CODE-1").update(code="ANOTHER"), ["CODE-1", "ANOTHER"]),
        (lambda: (named("CODE-2").update(status="void"), named("CODE-3").update(status="issued")), VOID),
        (lambda: named("CODE-1").update(code="CODE-9"), ["CODE-9", "CODE-1"]),
    ],
    ids=["back in the pool", "of the wrong coupon", "void and not", "not from the pool"],
)
def test_l3_names_codes_that_are_not_those_of_coupons(with_pool, damage, offenders):
    damage()

    assert broken() == {"L3": offenders}


def test_l3_names_a_code_that_another_campaign_issued(with_pool, campaign):
    PoolCode.objects.filter(code="CODE-1").update(campaign=campaign)
    set_columns(campaign, codes_added=1)
    set_columns(with_pool, codes_added=7)

    assert broken() == {"L3": ["CODE-1", "CODE-1"]}


def test_l6_names_coupons_whose_order_does_not_fit(campaign):
    with without_constraint(Coupon, "coupons_coupon_order_says_who_holds_it"):
        held, issued = coupon_at(campaign, 1), coupon_at(campaign, 2)
        set_columns(held, status="held")
        set_columns(issued, order_id=order_ids(1)[0])

        assert broken() == {"L6": [held.code, issued.code]}


def test_an_audit_takes_as_many_statements_however_many_coupons(campaign):
    with CaptureQueriesContext(connection) as few:
        audit.audit()
    for _ in range(30):
        coupon_of(CampaignFactory(opens_at=timezone.now()))
    with CaptureQueriesContext(connection) as many:
        audit.audit()

    assert len(many) == len(few) <= 20
