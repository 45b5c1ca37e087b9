"""Counters and gauges of coupons: each request counts once, and the campaigns stay bounded."""

from contextlib import suppress
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from accounts.tests.clients import client_of
from coupons import campaigns, issuing
from coupons.allocation.outcomes import PendingConfirmation
from coupons.metrics import state
from coupons.models import Campaign, Confirmation, Coupon
from coupons.partners import confirmation
from coupons.queue import worker
from coupons.tests import factories
from coupons.tests.factories import CampaignFactory, accounts, campaign_with_strategy, coupon_of
from coupons.tests.outcomes import issue
from coupons.tests.own_partner import NAME
from foundation.tests.constraints import without_constraint
from foundation.tests.factories import AccountFactory, set_columns
from foundation.tests.instants import ago
from foundation.tests.lost_replies import losing_reply_to_commit
from foundation.tests.racing import race_each
from foundation.tests.samples import Increases, exposed

pytestmark = pytest.mark.django_db(transaction=True)


def increases() -> Increases:
    return Increases("firstcome_coupon_requests_total", "firstcome_campaign_requests_total")


def ask(campaign_id: int, account: User, **body) -> int:
    return int(client_of(account).post("/coupons", {"campaign": campaign_id} | body).status_code)


def outcomes(grown: dict[str, float], campaign: Campaign | None = None) -> dict[str, float]:
    of_one = f'firstcome_campaign_requests_total{{campaign="{campaign.pk}",' if campaign else ""
    start = of_one or "firstcome_coupon_requests_total{"
    return {name.split('outcome="')[1][:-2]: times for name, times in grown.items() if name.startswith(start)}


@pytest.mark.parametrize("strategy", factories.TWO_STRATEGIES)
def test_each_strategy_counts_alike(strategy):
    campaign = campaign_with_strategy(strategy, quantity=2)
    first, second, third = AccountFactory.create_batch(3)
    counted = increases()

    assert [ask(campaign.pk, one) for one in (first, first, second)] == [201, 200, 201]
    assert [ask(campaign.pk, third) for _ in range(2)] == [409, 409]

    expected = {"issued": 2, "repeated": 1, "sold_out": 2}
    assert outcomes(counted(), campaign) == outcomes(counted()) == expected
    assert Coupon.objects.count() == 2


def test_a_ticket_is_pending_and_its_settlement_counts_again():
    campaign = CampaignFactory(strategy="queue", quantity=2)
    counted, users = increases(), AccountFactory.create_batch(3)

    assert [ask(campaign.pk, one) for one in [*users, users[0]]] == [202] * 4
    assert outcomes(counted(), campaign) == {"pending": 4}
    worker.serve_once()

    assert outcomes(counted(), campaign) == {"pending": 4, "issued": 2, "sold_out": 1}
    assert outcomes(counted()) == outcomes(counted(), campaign)
    assert [ask(campaign.pk, one) for one in users] == [200, 200, 409]
    assert outcomes(counted(), campaign) == {"pending": 4, "issued": 2, "sold_out": 2, "repeated": 2}


def test_a_coupon_that_recovery_confirms_counts_without_a_request(own_partner, settings):
    campaign, account, counted = CampaignFactory(partner=NAME), AccountFactory(), increases()
    reachable, settings.PARTNER_URL = settings.PARTNER_URL, "http://127.0.0.1:1"
    slot = issuing.STRATEGIES["group_commit"](campaign_id=campaign.pk, user_id=account.pk)
    assert isinstance(slot, PendingConfirmation)
    assert ask(campaign.pk, account) == 503
    assert outcomes(counted()) == {"unavailable": 1}

    settings.PARTNER_URL = reachable
    confirmation.reset()
    Confirmation.objects.update(next_attempt_at=ago(seconds=1))
    assert confirmation.recover_due() == 1

    assert outcomes(counted(), campaign) == {"unavailable": 1, "issued": 1}


def test_an_issue_that_is_rolled_back_is_not_counted():
    campaign, [account], counted = CampaignFactory(), accounts(1), increases()
    with suppress(ZeroDivisionError), transaction.atomic():
        issue(campaign, account)
        raise ZeroDivisionError
    assert (counted(), Coupon.objects.count()) == ({}, 0)


@pytest.mark.parametrize("strategy", ["group_commit", "pessimistic", "optimistic", "redis_gate", "code_pool"])
def test_a_coupon_whose_commit_got_no_reply_is_new_and_counts_once_at_most(strategy, tmp_path):
    campaign, account, counted = campaign_with_strategy(strategy), AccountFactory(), increases()
    issuing.forget()
    with losing_reply_to_commit(tmp_path) as is_lost:
        assert ask(campaign.pk, account) == 201
        assert is_lost.is_set()
    assert outcomes(counted(), campaign) == outcomes(counted())
    assert outcomes(counted()) in ({}, {"issued": 1})
    assert Coupon.objects.count() == 1


def test_many_threads_count_what_the_rows_say():
    campaign, counted = CampaignFactory(quantity=20), increases()
    users = AccountFactory.create_batch(30)

    statuses = race_each(lambda one: ask(campaign.pk, one), [*users, *users[:10]])

    grown = outcomes(counted(), campaign)
    assert (grown["issued"], Coupon.objects.count()) == (20, 20)
    assert (statuses.count(200), statuses.count(409)) == (grown.get("repeated", 0), grown["sold_out"])
    assert sum(grown.values()) == len(statuses)


def test_running_campaigns_have_what_they_can_issue_what_is_issued_and_codes_left():
    plain = CampaignFactory(quantity=5)
    pooled = CampaignFactory(quantity=5, code_source="pool", codes=4)
    CampaignFactory(scheduled=True)
    CampaignFactory(closed=True)
    for campaign in (plain, plain, pooled):
        coupon_of(campaign)

    shown = exposed()
    assert {name: number for name, number in shown.items() if name.startswith("firstcome_campaign_")} == {
        f'firstcome_campaign_quantity{{campaign="{plain.pk}"}}': 5,
        f'firstcome_campaign_quantity{{campaign="{pooled.pk}"}}': 4,
        f'firstcome_campaign_issued{{campaign="{plain.pk}"}}': 2,
        f'firstcome_campaign_issued{{campaign="{pooled.pk}"}}': 1,
    }
    assert shown[f'firstcome_pool_codes_left{{campaign="{pooled.pk}"}}'] == 3
    assert f'firstcome_pool_codes_left{{campaign="{plain.pk}"}}' not in shown
    assert (shown["firstcome_campaigns_running"], shown["firstcome_coupons_duplicate"]) == (2, 0)
    for _ in range(3):
        coupon_of(plain)
    assert campaigns.running().count() == 1, "a sold out one is shown, and does not count as running"
    assert state.read_running()[state.ISSUED] == {str(plain.pk): 5, str(pooled.pk): 1}


def test_the_50_campaigns_that_opened_last_are_shown():
    now = timezone.now()
    made = [CampaignFactory(opens_at=now - timedelta(hours=number)) for number in range(1, 61)]

    newest = [campaign.pk for campaign in made[: state.MOST_RUNNING]]
    assert [campaign.pk for campaign in state.running()] == newest
    assert list(state.read_running()[state.QUANTITY]) == [str(pk) for pk in newest]


def test_a_campaign_that_issued_more_than_its_quantity_is_counted():
    campaign = CampaignFactory(quantity=2)
    CampaignFactory()
    name, mend = "coupons_campaign_issued_within_quantity", lambda: Campaign.objects.update(issued=0)

    with without_constraint(Campaign, name, mend):
        set_columns(campaign, issued=3)
        assert state.duplicates() == 1


def test_a_position_past_the_quantity_is_counted_although_the_count_is_right(unlawful):
    campaign = CampaignFactory(quantity=2)
    coupon = coupon_of(campaign)
    assert state.duplicates() == 0
    set_columns(coupon, position=3)
    assert state.duplicates() == 1


def test_a_campaign_with_two_coupons_for_an_account_is_counted_once(unlawful):
    campaign, other = CampaignFactory(), CampaignFactory()
    first, second = coupon_of(campaign), coupon_of(campaign)
    # The same account may have a coupon of another campaign.
    issue(other, first.account_id)

    with without_constraint(Coupon, "coupons_coupon_one_per_account_and_campaign"):
        assert state.duplicates() == 0
        set_columns(second, account=first.account_id)
        assert state.duplicates() == 1
