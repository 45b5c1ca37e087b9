"""The strategies that write without a lock: only if the row is unchanged, or only if a slot is left.

The cases that they share with the locking strategies are in `test_row_strategies.py`.
"""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User
from prometheus_client import REGISTRY

from coupons.campaigns import campaigns
from coupons.issuing import issuing
from coupons.models import Campaign, Confirmation
from coupons.tests.factories import CampaignFactory, accounts
from coupons.tests.laws import broken, positions
from coupons.tests.outcomes import count_outcomes, issue_calls, issue_calls_by, refusal
from shop.errors import Invalid
from shop.models import JournalLine
from shop.tests.clients import client_of
from shop.tests.racing import race, wait_until
from shop.tests.second_connection import ask, holding
from shop.tests.waiting import in_background, waiting_for_the_row

pytestmark = pytest.mark.django_db(transaction=True)
by_each = pytest.mark.parametrize("strategy", ["optimistic", "conditional_update"])

KEEP = "SELECT id FROM coupons_campaign WHERE id = %s FOR UPDATE"
CHANGE = "UPDATE coupons_campaign SET version = version + 1 WHERE id = %s"
CONFLICTS = "firstcome_campaign_conflicts_total"
# A request that needs the lock waits for it twice, five seconds each.
TWO_WAITS_FOR_A_LOCK = 10.0


@by_each
def test_existing_coupons_and_refusals_are_answered_without_a_lock(strategy):
    campaign = CampaignFactory.create(strategy=strategy, quantity=1)
    first, late = accounts(2)
    given = issuing.issue(campaign_id=campaign.pk, user_id=first)

    with holding(KEEP, campaign.pk):
        again, refusal = race(issue_calls(campaign.pk, [first, late]), timeout=TWO_WAITS_FOR_A_LOCK)

    assert (again.coupon.code, again.is_new) == (given.coupon.code, False)
    assert count_outcomes([refusal]) == {"sold_out": 1}


def test_an_optimistic_request_that_conflicts_is_retried_and_counted():
    campaign = CampaignFactory.create(strategy="optimistic")
    before = REGISTRY.get_sample_value(CONFLICTS)

    outcome = ask_while_somebody_changes(campaign, *issue_calls(campaign.pk, accounts(1)))

    assert outcome.is_new
    assert REGISTRY.get_sample_value(CONFLICTS) == (before or 0) + 1
    assert positions(campaign) == [1]


def test_an_optimistic_request_fails_after_its_retries_and_has_done_nothing(settings):
    settings.OPTIMISTIC_RETRIES = 0
    campaign = CampaignFactory.create(strategy="optimistic")
    api = client_of(User.objects.get(pk=accounts(1)[0]))
    asks = partial(api.post, "/coupons", {"campaign": campaign.pk})

    answer = ask_while_somebody_changes(campaign, asks)

    assert (answer.status_code, answer.json()["code"], answer["Retry-After"]) == (409, "conflict", "1")
    assert positions(campaign) == []
    assert asks().status_code == 201


def test_an_optimistic_request_that_waits_locks_no_code_that_the_holder_of_the_row_needs():
    """One code is left: if a waiting request locked it, the pool would look empty to the other."""
    campaign = CampaignFactory.create(code_source="pool", codes=["LAST"])
    [asks] = issue_calls_by(["optimistic"], campaign.pk, accounts(1))

    with holding(KEEP, campaign.pk) as other:
        outcome = in_background(asks)
        wait_until(lambda: waiting_for_the_row(Campaign) == 1)
        free = ask(
            other, "SELECT code FROM coupons_poolcode WHERE status = 'available' FOR UPDATE SKIP LOCKED"
        )

    assert free == [("LAST",)]
    assert outcome.result(timeout=10).coupon.code == "LAST"


def test_the_update_uses_terms_that_changed_while_it_waited():
    campaign = CampaignFactory.create(strategy="conditional_update", quantity=10)
    [asks] = issue_calls(campaign.pk, accounts(1))

    with holding(
        "UPDATE coupons_campaign SET closes_at = NOW(6) - INTERVAL 1 HOUR WHERE id = %s", campaign.pk
    ) as other:
        outcome = in_background(asks)
        wait_until(lambda: waiting_for_the_row(Campaign) == 1)
        other.commit()

    assert refusal(lambda: outcome.result(timeout=10)) == "campaign_closed"
    assert positions(campaign) == []


@by_each
def test_a_slot_that_a_partner_confirmed_meanwhile_is_not_taken_twice(strategy):
    """The first read finds nothing; another request is confirmed while this one waits for the row."""
    campaign = CampaignFactory.create(partner="convenience_store", quantity=10)
    user_id = accounts(1)[0]
    [asks] = issue_calls_by([strategy], campaign.pk, [user_id])
    given = (
        "INSERT INTO coupons_coupon (campaign_id, account_id, code, position, status, void_reason, issued_at,"
        " expires_at) VALUES (%s, %s, 'GIVEN', 1, 'issued', '', NOW(6), NOW(6))"
    )

    counted = "UPDATE coupons_campaign SET issued = 1, version = version + 1 WHERE id = %s"
    with holding(counted, campaign.pk) as other:
        outcome = in_background(asks)
        wait_until(lambda: waiting_for_the_row(Campaign) == 1)
        ask(other, given, campaign.pk, user_id)
        other.commit()

    assert outcome.result(timeout=10).coupon.code == "GIVEN"
    assert not Confirmation.objects.exists()
    assert broken() == {}


def ask_while_somebody_changes(campaign: Campaign, asks: Callable[[], Any]) -> Any:
    with holding(CHANGE, campaign.pk) as other:
        outcome = in_background(asks)
        wait_until(lambda: waiting_for_the_row(Campaign) == 1)
        other.commit()
    return outcome.result(timeout=10)


SOON = 10.0
Raise = Callable[..., Campaign]


def both_raised(campaign: Campaign, raising: Raise) -> list[Any]:
    """What `raising` to 150 and then to 120 returns or raises, when both wait for the campaign's lock."""
    waiting: list[Future[Campaign]] = []
    with holding(KEEP, campaign.pk):
        for number, quantity in enumerate((150, 120), start=1):
            waiting.append(in_background(lambda quantity=quantity: raising(campaign, quantity)))
            wait_until(lambda number=number: waiting_for_the_row(Campaign) == number)
    return [one.exception(SOON) or one.result() for one in waiting]


def quantity_of(campaign: Campaign) -> int:
    return Campaign.objects.get(pk=campaign.pk).quantity


def test_of_two_that_raise_it_at_once_the_lower_one_is_refused():
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


def test_comparing_before_the_lock_lowers_it():
    """The control case."""
    campaign = CampaignFactory.create(quantity=100)

    def raise_naively(one: Campaign, quantity: int) -> Campaign:
        assert quantity > quantity_of(one)
        return campaigns.change(campaign_id=one.pk, quantity=quantity)

    both_raised(campaign, raise_naively)

    assert quantity_of(campaign) == 120
