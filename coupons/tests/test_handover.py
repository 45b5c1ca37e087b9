"""Coupons of a campaign that another process leads: exactly as many as there are, whatever befalls it."""

import os
import signal
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings

from coupons.allocation.writes import Issued, IssueRequest
from coupons.issuing import issuing
from coupons.issuing.strategies import group_commit
from coupons.models import Campaign, Coupon
from coupons.tests.factories import CampaignFactory, accounts
from coupons.tests.laws import broken, positions
from coupons.tests.under_load import Load
from shop import clock
from shop.errors import FirstcomeError, Overloaded
from shop.redis import redis_client
from shop.redis.handover import handover, leadership, serving
from shop.tests.handover_leaders import handed_over, leading, result
from shop.tests.outages import OwnRedis, own_redis
from shop.tests.racing import race, wait_until
from shop.tests.second_connection import holding
from shop.tests.waiting import in_background, waiting_at

__all__ = ["own_redis"]
pytestmark = pytest.mark.django_db(transaction=True)
LOCK = "SELECT id FROM coupons_campaign WHERE id = %s FOR UPDATE"
AT_LOCK = "%coupons_campaign WHERE id = %FOR UPDATE%"


@pytest.fixture(autouse=True)
def _handed_over(settings: LazySettings) -> None:
    settings.HAND_OVER_BATCHES = True


@pytest.fixture
def campaign() -> Campaign:
    made: Campaign = CampaignFactory.create(quantity=20)
    return made


def decide(campaign: Campaign, requests: Sequence[IssueRequest]) -> Sequence[Any]:
    return group_commit.decide_batch(campaign.pk, requests)


def kinds(outcomes: Sequence[Any]) -> Counter[str]:
    """How many are new coupons, coupons that were there, and refusals by their code."""
    return Counter(
        ("new" if outcome.is_new else "existing") if isinstance(outcome, Issued) else outcome.code
        for outcome in outcomes
        if isinstance(outcome, Issued | FirstcomeError)
    )


def assert_exact(campaign: Campaign, count: int) -> None:
    assert positions(campaign) == list(range(1, count + 1))
    assert broken() == {}


@pytest.mark.boots("another process of the shop")
def test_a_leader_decides_the_batches_of_others_and_they_get_their_own_outcomes(campaign: Campaign) -> None:
    requests = [IssueRequest(account_id) for account_id in accounts(25)]
    count = handed_over()
    with leading("coupons", campaign.pk):
        outcomes = decide(campaign, requests)
        again = decide(campaign, requests)

    assert kinds(outcomes) == {"new": 20, "sold_out": 5}
    assert kinds(again) == {"existing": 20, "sold_out": 5}
    for request, outcome in zip(requests[:20], outcomes, strict=False):
        row = Coupon.objects.get(campaign=campaign, account_id=request.user_id)
        assert (outcome.coupon.code, outcome.coupon.position) == (row.code, row.position)
        assert outcome.coupon.campaign == campaign
    assert count() == {result("coupons", "decided"): 2}
    assert_exact(campaign, 20)


@pytest.mark.boots("another process of the shop")
def test_200_requests_in_two_processes_get_exactly_the_quantity(campaign: Campaign) -> None:
    ids = accounts(200)
    count = handed_over()
    with leading("coupons", campaign.pk):
        outcomes = race(
            [
                lambda user_id=user_id: issuing.issue(campaign_id=campaign.pk, user_id=user_id)
                for user_id in ids
            ]  # type: ignore[misc]
        )
    assert kinds(outcomes) == {"new": 20, "sold_out": 180}
    assert count()[result("coupons", "decided")] >= 1
    assert_exact(campaign, 20)


@pytest.mark.boots("another process of the shop")
def test_an_account_that_does_not_exist_fails_alone(campaign: Campaign) -> None:
    ids = accounts(3)
    with leading("coupons", campaign.pk):
        outcomes = decide(campaign, [IssueRequest(user_id) for user_id in (*ids, 99_999_999)])
    assert kinds(outcomes) == {"new": 3}
    assert type(outcomes[3]).__name__ == "IntegrityError"
    assert_exact(campaign, 3)


@pytest.mark.boots("another process of the shop")
def test_a_leader_that_is_killed_before_its_commit_has_done_nothing_and_the_batch_is_decided_here(
    campaign: Campaign,
) -> None:
    requests = [IssueRequest(user_id) for user_id in accounts(5)]
    count = handed_over()
    with leading("coupons", campaign.pk) as leader:
        with holding(LOCK, campaign.pk):
            deciding = in_background(lambda: decide(campaign, requests))
            wait_until(lambda: waiting_at(AT_LOCK) == 1)
            leader.kill()
        outcomes = deciding.result(20)
    assert kinds(outcomes) == {"new": 5}
    assert count() == {result("coupons", "no_reply"): 1}
    assert_exact(campaign, 5)


@pytest.mark.boots("another process of the shop")
def test_a_leader_that_is_killed_after_its_commit_has_issued_and_nothing_is_issued_twice(
    campaign: Campaign,
) -> None:
    requests = [IssueRequest(user_id) for user_id in accounts(25)]
    with leading("coupons", campaign.pk, end="after_commit"):
        outcomes = decide(campaign, requests)
    # A refusal of the second decision isn't certain.
    assert kinds(outcomes) == {"existing": 20, "unavailable": 5}
    assert_exact(campaign, 20)


@pytest.mark.boots("another process of the shop")
def test_a_leader_that_hangs_loses_its_lease_and_issues_nothing_more_when_it_goes_on(
    campaign: Campaign,
) -> None:
    ids = accounts(5)
    with leading("coupons", campaign.pk, lease_seconds=2.0) as leader:
        os.kill(leader.pid, signal.SIGSTOP)
        outcomes = decide(campaign, [IssueRequest(user_id) for user_id in ids])
        assert leadership.leader_of(serving.row_name("coupons", campaign.pk)) == leadership.own_inbox()
        os.kill(leader.pid, signal.SIGCONT)
        # It takes what was handed over to it before.
        wait_until(lambda: not redis_client.client().keys("*:inbox:*"), seconds=15)
        wait_until(lambda: waiting_at(AT_LOCK) == 0)
        assert kinds(decide(campaign, [IssueRequest(user_id) for user_id in ids])) == {"existing": 5}
    assert kinds(outcomes) == {"new": 5}
    assert_exact(campaign, 5)


@pytest.mark.boots("another process of the shop")
def test_two_processes_that_both_believe_to_lead_issue_exactly_the_quantity(campaign: Campaign) -> None:
    """The lease lapses while its holder still works: Redis is emptied, and this process leads as well."""
    first, second = accounts(15), accounts(15)
    with leading("coupons", campaign.pk):
        with holding(LOCK, campaign.pk):
            handed = in_background(lambda: decide(campaign, [IssueRequest(user_id) for user_id in first]))
            wait_until(lambda: waiting_at(AT_LOCK) == 1)
            redis_client.client().flushall()
            leadership.forget()
            own = in_background(lambda: decide(campaign, [IssueRequest(user_id) for user_id in second]))
            wait_until(lambda: waiting_at(AT_LOCK) >= 2)
        outcomes = [*handed.result(20), *own.result(20)]
    found = kinds(outcomes)
    assert found["new"] + found["existing"] == 20
    assert found["sold_out"] + found["unavailable"] == 10
    assert_exact(campaign, 20)


def test_without_redis_each_process_decides_its_own_batches(campaign: Campaign, own_redis: OwnRedis) -> None:
    requests = [IssueRequest(user_id) for user_id in accounts(25)]
    own_redis.kill()
    assert kinds(decide(campaign, requests)) == {"new": 20, "sold_out": 5}
    assert_exact(campaign, 20)


def test_redis_that_vanishes_while_a_batch_is_handed_over_costs_no_effect(
    campaign: Campaign, own_redis: OwnRedis
) -> None:
    requests = [IssueRequest(user_id) for user_id in accounts(5)]
    with leading("coupons", campaign.pk, REDIS_URL=own_redis.url):
        with holding(LOCK, campaign.pk):
            deciding = in_background(lambda: decide(campaign, requests))
            wait_until(lambda: waiting_at(AT_LOCK) == 1)
            own_redis.kill()
            wait_until(lambda: waiting_at(AT_LOCK) == 2)
        outcomes = deciding.result(20)
    found = kinds(outcomes)
    assert found["new"] + found["existing"] == 5
    assert_exact(campaign, 5)


@pytest.mark.boots("another process of the shop")
def test_a_process_with_half_of_its_leaders_waiting_for_others_decides_here(campaign: Campaign) -> None:
    """Else two processes that wait for each other's rows would have no thread to decide them."""
    count = handed_over()
    with leading("coupons", campaign.pk), ExitStack() as waits:
        while handover.WAITS.acquire(blocking=False):
            waits.callback(handover.WAITS.release)
        outcomes = decide(campaign, [IssueRequest(user_id) for user_id in accounts(25)])
    assert kinds(outcomes) == {"new": 20, "sold_out": 5}
    assert count() == {}
    assert_exact(campaign, 20)


def test_a_process_that_is_about_to_exit_gives_its_lease_up(campaign: Campaign) -> None:
    row = serving.row_name("coupons", campaign.pk)
    assert leadership.leader_of(row) == leadership.own_inbox()
    leadership.resign()
    wait_until(lambda: not redis_client.client().keys("*:leader:*"))
    assert leadership.leader_of(row) is None
    assert kinds(decide(campaign, [IssueRequest(user_id) for user_id in accounts(25)])) == {
        "new": 20,
        "sold_out": 5,
    }
    assert not redis_client.client().keys("*:leader:*")


def test_a_leader_does_nothing_for_a_request_that_no_longer_waits(campaign: Campaign) -> None:
    [user_id] = accounts(1)
    [outcome] = decide(campaign, [IssueRequest(user_id, handed_over_until=clock.now())])
    assert isinstance(outcome, Overloaded)
    assert_exact(campaign, 0)


def test_exactly_the_quantity_is_issued_when_processes_and_redis_are_killed_under_load(
    campaign: Campaign, own_redis: OwnRedis, tmp_path: Path
) -> None:
    """The clients are processes that hand over to one another, and one is killed; so is Redis."""
    ids = accounts(280)
    drop = CampaignFactory.create(quantity=240)
    with Load([drop], ids, folder=tmp_path, REDIS_URL=own_redis.url, HAND_OVER_BATCHES="1") as load:
        load.issue_more(20)
        load.replace_a_client()
        load.issue_more(20)
        own_redis.kill()
        load.answer_more(40)
        own_redis.start()
        load.issue_more(20)
        load.replace_a_client()
        load.issue_all()
    assert load.unforeseen() == load.untrue() == []
    assert load.definite(drop) == {"coupon": 240, "sold_out": 40}
    assert_exact(drop, 240)
