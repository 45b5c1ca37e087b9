"""Counters of coupons: each request counts once, whatever the strategy, and the campaigns stay bounded."""

from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from coupons.allocation.writes import PendingConfirmation
from coupons.issuing import issuing
from coupons.models import Campaign, Confirmation, Coupon
from coupons.partners import call_limit, confirmation
from coupons.queue import worker
from coupons.tests.factories import TWO_STRATEGIES, CampaignFactory, accounts, campaign_with_strategy
from coupons.tests.own_partner import NAME
from scripts.tests.simulator import Simulator
from shop.tests.clients import client_of
from shop.tests.factories import AccountFactory
from shop.tests.lost_replies import losing_reply_to_commit
from shop.tests.racing import race
from shop.tests.samples import Increases

pytestmark = pytest.mark.django_db(transaction=True)
QUEUED = "queue"


def increases() -> Increases:
    return Increases("firstcome_coupon_requests_total", "firstcome_campaign_requests_total")


def ask(campaign_id: int, account: User, **body: Any) -> int:
    answer = client_of(account).post("/coupons", {"campaign": campaign_id} | body)
    return int(answer.status_code)


def outcomes(grown: dict[str, float], campaign: Campaign | None = None) -> dict[str, float]:
    start = f'firstcome_campaign_requests_total{{campaign="{campaign.pk}",' if campaign else ""
    prefix = start or "firstcome_coupon_requests_total{"
    return {
        name.split('outcome="')[1][:-2]: number for name, number in grown.items() if name.startswith(prefix)
    }


@pytest.mark.parametrize("strategy", TWO_STRATEGIES)
def test_each_strategy_counts_alike(strategy: str) -> None:
    campaign = campaign_with_strategy(strategy, quantity=2)
    first, second, third = (AccountFactory.create() for _ in range(3))
    counted = increases()

    assert [ask(campaign.pk, one) for one in (first, first, second)] == [201, 200, 201]
    assert [ask(campaign.pk, third) for _ in range(2)] == [409, 409]

    expected = {"issued": 2, "repeated": 1, "sold_out": 2}
    assert outcomes(counted(), campaign) == outcomes(counted()) == expected
    assert Coupon.objects.count() == 2


def test_a_ticket_is_pending_and_its_settlement_counts_again() -> None:
    campaign = CampaignFactory.create(strategy=QUEUED, quantity=2)
    counted, users = increases(), [AccountFactory.create() for _ in range(3)]

    assert [ask(campaign.pk, one) for one in [*users, users[0]]] == [202] * 4
    assert outcomes(counted(), campaign) == {"pending": 4}
    worker.serve_once()

    assert outcomes(counted(), campaign) == {"pending": 4, "issued": 2, "sold_out": 1}
    assert outcomes(counted()) == outcomes(counted(), campaign)
    assert [ask(campaign.pk, one) for one in users] == [200, 200, 409]
    assert outcomes(counted(), campaign) == {"pending": 4, "issued": 2, "sold_out": 2, "repeated": 2}


def test_a_coupon_that_recovery_confirms_counts_without_a_request(
    own_partner: Simulator, settings: LazySettings
) -> None:
    campaign, account, counted = CampaignFactory.create(partner=NAME), AccountFactory.create(), increases()
    reachable, settings.PARTNER_URL = settings.PARTNER_URL, "http://127.0.0.1:1"
    slot = issuing.STRATEGIES["group_commit"](campaign_id=campaign.pk, user_id=account.pk)
    assert isinstance(slot, PendingConfirmation)
    assert ask(campaign.pk, account) == 503
    assert outcomes(counted()) == {"unavailable": 1}

    settings.PARTNER_URL = reachable
    call_limit.reset()
    Confirmation.objects.update(next_attempt_at=timezone.now() - timedelta(seconds=1))
    assert confirmation.recover_due() == 1

    assert outcomes(counted(), campaign) == {"unavailable": 1, "issued": 1}


def test_an_issue_that_is_rolled_back_is_not_counted() -> None:
    campaign, [account], counted = CampaignFactory.create(), accounts(1), increases()
    with suppress(ZeroDivisionError), transaction.atomic():
        issuing.issue(campaign_id=campaign.pk, user_id=account)
        raise ZeroDivisionError
    assert (counted(), Coupon.objects.count()) == ({}, 0)


@pytest.mark.parametrize("strategy", ["group_commit", "pessimistic", "optimistic", "redis_gate", "code_pool"])
def test_a_coupon_whose_commit_got_no_reply_counts_once_and_is_new(strategy: str, tmp_path: Path) -> None:
    campaign, account, counted = campaign_with_strategy(strategy), AccountFactory.create(), increases()
    issuing.forget()
    with losing_reply_to_commit(tmp_path) as is_lost:
        assert ask(campaign.pk, account) == 201
        assert is_lost.is_set()
    assert outcomes(counted(), campaign) == outcomes(counted()) == {"issued": 1}
    assert Coupon.objects.count() == 1


def test_many_threads_count_what_the_rows_say() -> None:
    campaign, counted = CampaignFactory.create(quantity=20), increases()
    users = [AccountFactory.create() for _ in range(30)]

    statuses = race([lambda one=one: ask(campaign.pk, one) for one in [*users, *users[:10]]])

    grown = outcomes(counted(), campaign)
    assert (grown["issued"], Coupon.objects.count()) == (20, 20)
    assert (statuses.count(200), statuses.count(409)) == (grown.get("repeated", 0), grown["sold_out"])
    assert sum(grown.values()) == len(statuses)
