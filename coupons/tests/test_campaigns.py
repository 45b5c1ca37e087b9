"""Campaigns: valid terms, changes, and which campaigns are visible."""

from datetime import timedelta
from functools import partial

import pytest
from django.db import Error as DatabaseError, transaction
from django.utils import timezone

from coupons import campaigns
from coupons.models import Campaign
from coupons.tests.factories import CampaignFactory, change, coupon_of
from coupons.tests.outcomes import refusal
from foundation.errors import Invalid
from foundation.models import JournalLine
from foundation.tests.case_tables import in_one_test
from foundation.tests.factories import reloaded, set_columns
from foundation.tests.journal_lines import times_noted

pytestmark = pytest.mark.django_db
NOW = timezone.now()
TERMS = {"name": "Drop", "quantity": 10, "discount_type": "amount", "discount_value": 1_000}


def faults(work) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as refused:
        work()
    return [(fault["field"], fault["code"]) for fault in refused.value.extra["errors"]]


def test_the_unsafe_strategy_asks_no_partner(settings):
    settings.LAB = True
    unsafe = CampaignFactory(strategy="unsafe")
    asking = CampaignFactory(partner="convenience_store")
    wrong = {**TERMS, "strategy": "unsafe", "partner": "convenience_store"}

    for work in (
        partial(campaigns.create, **wrong),
        partial(campaigns.change, campaign_id=unsafe.pk, partner="convenience_store"),
        partial(campaigns.change, campaign_id=asking.pk, strategy="unsafe"),
    ):
        assert ("partner", "never_asked") in faults(work)


@in_one_test(
    ("columns", "constraint"),
    [
        ({"issued": 101}, "coupons_campaign_issued_within_quantity"),
        ({"quantity": 0}, "coupons_campaign_quantity_positive"),
        ({"closes_at": NOW, "opens_at": NOW}, "coupons_campaign_closes_after_it_opens"),
        ({"discount_type": "percent", "discount_value": 101}, "coupons_campaign_discount_makes_sense"),
        ({"discount_value": 0}, "coupons_campaign_discount_makes_sense"),
    ],
)
def test_the_database_refuses_what_makes_no_sense(columns, constraint):
    campaign = CampaignFactory()

    with pytest.raises(DatabaseError, match=constraint), transaction.atomic():
        set_columns(campaign, **columns)


def test_the_quantity_goes_down_to_what_is_issued_and_being_confirmed_and_no_further(unlawful):
    campaign = CampaignFactory(quantity=10)
    coupon_of(campaign)
    Campaign.objects.update(confirming=2)

    assert change(campaign, quantity=3).quantity == 3
    assert refusal(lambda: change(campaign, quantity=2)) == "quantity_below_issued"
    assert reloaded(campaign).quantity == 3


FIXED = {"code_source": "pool", "discount_value": 2_000, "min_order_amount": 1, "max_discount_amount": 1}
PERCENT = {"discount_type": "percent", "discount_value": 5}


@in_one_test("terms", [PERCENT, {"strategy": "unsafe"}, *({name: FIXED[name]} for name in FIXED)])
def test_terms_that_coupons_depend_on_are_fixed_once_there_is_one(terms, settings):
    settings.LAB = True
    campaign = CampaignFactory()
    before = Campaign.objects.filter(pk=campaign.pk).values(*terms).get()
    change(campaign, **terms)
    change(campaign, **before)
    coupon_of(campaign)

    assert refusal(lambda: change(campaign, **terms)) == "campaign_has_coupons"
    assert Campaign.objects.filter(pk=campaign.pk).values(*terms).get() == before


def test_a_campaign_of_the_lab_can_be_changed_elsewhere_too(settings):
    settings.LAB = False
    campaign = CampaignFactory(strategy="unsafe")

    assert change(campaign, strategy="unsafe", name="Old").name == "Old"


LATER, LATER_STILL = NOW + timedelta(days=1), NOW + timedelta(days=2)


def test_a_duplicate_has_the_same_terms_a_new_name_and_neither_codes_nor_coupons():
    terms = {"code_source": "pool", "quantity": 50, "min_order_amount": 7, "closes_at": LATER}
    original = CampaignFactory(**terms, codes=5)
    coupon_of(original)

    copy = campaigns.duplicate(campaign_id=original.pk, name="Again", opens_at=LATER, closes_at=LATER_STILL)

    copy.refresh_from_db()
    original.refresh_from_db()
    own = {"name": "Again", "opens_at": LATER, "closes_at": LATER_STILL}
    assert campaigns.terms_of(copy) == campaigns.terms_of(original) | own
    assert (copy.issued, copy.codes_added, copy.status_at(timezone.now())) == (0, 0, "scheduled")
    assert (copy.coupons.count(), copy.pool.count()) == (0, 0)
    assert JournalLine.objects.filter(what="campaign.created", subject=f"campaign {copy.pk}").count() == 1


def test_a_duplicate_is_scheduled_in_the_future():
    wrong = partial(campaigns.duplicate, campaign_id=CampaignFactory().pk, name="Again")
    assert faults(lambda: wrong(opens_at=NOW)) == [("opens_at", "not_in_future")]
    assert faults(lambda: wrong(opens_at=LATER, closes_at=NOW)) == [("closes_at", "not_in_future")]
    too_early = partial(wrong, opens_at=LATER_STILL, closes_at=LATER)
    assert faults(too_early) == [("closes_at", "not_after_opening")]
    missing = partial(campaigns.duplicate, campaign_id=10**9, name="Again", opens_at=LATER)
    assert refusal(missing) == "not_found"
    assert Campaign.objects.count() == 1


def test_a_campaign_is_scheduled_until_it_opens_and_its_closing_afterwards():
    scheduled = CampaignFactory(scheduled=True)
    campaigns.schedule(campaign_id=scheduled.pk, opens_at=LATER, closes_at=LATER_STILL)
    scheduled.refresh_from_db()
    assert (scheduled.opens_at, scheduled.closes_at) == (LATER, LATER_STILL)
    assert times_noted("campaign.changed") == 1

    opened = CampaignFactory()
    set_times = partial(campaigns.schedule, campaign_id=opened.pk)
    assert refusal(lambda: set_times(opens_at=LATER, closes_at=None)) == "campaign_has_opened"
    past = [("closes_at", "not_in_future")]
    assert faults(lambda: set_times(opens_at=opened.opens_at, closes_at=NOW)) == past
    set_times(opens_at=opened.opens_at, closes_at=LATER)
    opened.refresh_from_db()
    assert opened.closes_at == LATER
