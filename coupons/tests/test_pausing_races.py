"""Pausing under races: no coupon is committed after the pause has been answered; and the twin that fails."""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest

from coupons.allocation import eligibility
from coupons.allocation.writes import IssueRequest
from coupons.campaigns import campaigns as pausing
from coupons.codes import pool
from coupons.issuing import issuing
from coupons.models import Campaign, Coupon, QueueTicket
from coupons.queue import worker
from coupons.tests.factories import accounts, campaign_with_strategy
from coupons.tests.laws import broken, positions
from coupons.tests.outcomes import count_outcomes
from coupons.tests.under_load import Load
from shop.db import transactions
from shop.errors import Rejected
from shop.redis import redis_client
from shop.tests.racing import race, wait_until
from shop.tests.second_connection import holding
from shop.tests.waiting import in_background, waiting_for_the_row

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("in_the_lab")]
KEEP = "SELECT id FROM coupons_campaign WHERE id = %s FOR UPDATE"
# More rounds than any strategy gets through before the pause.
REQUESTS, ROUNDS = 12, 80
# Two processes start, on a busy machine.
START_SECONDS = 60.0
WITHOUT_TICKETS = [name for name in issuing.STRATEGIES if name != "queue"]
SAFE_STRATEGIES = [name for name in issuing.STRATEGIES if name != "unsafe"]
Issue = Callable[..., Any]
# How many of these requests a strategy lets wait for the row at once: batches and locks in Redis one.
AT_THE_ROW = dict.fromkeys(WITHOUT_TICKETS, 1) | dict.fromkeys(
    ["pessimistic", "conditional_update", "unsafe"], REQUESTS
)


def behind_a_pause(campaign: Campaign, works: list[Callable[[], Any]], *, waiting: int = 1) -> list[Any]:
    """What these works return or raise that are begun while a pause waits for the row, before it commits.

    So many of them wait for the row as well before the pause gets it.
    """
    with holding(KEEP, campaign.pk) as keeper:
        paused = in_background(partial(pausing.pause, campaign_id=campaign.pk, reason="stop"))
        wait_until(lambda: waiting_for_the_row(Campaign) == 1)
        begun: list[Future[Any]] = [in_background(work) for work in works]
        wait_until(lambda: waiting_for_the_row(Campaign) > waiting)
        keeper.rollback()
        assert paused.result(30).paused_at
        return [one.exception(60) or one.result() for one in begun]


def requests(issue: Issue, campaign: Campaign) -> list[Callable[[], Any]]:
    return [partial(issue, campaign_id=campaign.pk, user_id=one) for one in accounts(REQUESTS)]


def ask_then_lock(*, campaign_id: int, user_id: int) -> Any:
    """The naive version: it asks whether the campaign is paused before it takes the lock, and not again."""
    refused = eligibility.read_campaign(campaign_id, [user_id]).refusal(user_id)
    if refused:
        raise refused

    def write() -> list[Any]:
        locked = eligibility.lock_campaign(campaign_id, [user_id])
        locked.campaign.paused_at = None
        return eligibility.allocate(locked, [IssueRequest(user_id)])

    return transactions.run(write, transactions.KEYED)[0]


@pytest.mark.parametrize("strategy", WITHOUT_TICKETS)
def test_requests_that_wait_for_the_row_behind_a_pause_are_refused(strategy):
    campaign = campaign_with_strategy(strategy)

    outcomes = behind_a_pause(campaign, requests(issuing.issue, campaign), waiting=AT_THE_ROW[strategy])

    assert count_outcomes(outcomes) == {"campaign_paused": REQUESTS}
    assert not Coupon.objects.exists()
    assert broken() == {}


def test_a_check_before_the_lock_issues_after_the_pause():
    """The twin: all requests ask before the pause commits, and write after it."""
    campaign = campaign_with_strategy("pessimistic")

    outcomes = behind_a_pause(campaign, requests(ask_then_lock, campaign), waiting=REQUESTS)

    assert count_outcomes(outcomes) == {"new": REQUESTS}
    assert Coupon.objects.count() == REQUESTS


def test_an_issuer_that_waits_for_the_row_behind_a_pause_leaves_its_tickets_waiting():
    campaign, everyone = campaign_with_strategy("queue"), accounts(5)
    for one in everyone:
        issuing.issue(campaign_id=campaign.pk, user_id=one)

    assert behind_a_pause(campaign, [worker.serve_once]) == [0]

    assert not Coupon.objects.exists()
    assert set(QueueTicket.objects.values_list("status", flat=True)) == {"waiting"}
    pausing.resume(campaign_id=campaign.pk, reason="go on")
    assert worker.serve_once() == 5
    owners = Coupon.objects.order_by("position").values_list("account_id", flat=True)
    assert list(owners) == everyone


@pytest.mark.parametrize("strategy", WITHOUT_TICKETS)
def test_no_coupon_is_committed_after_the_answer_to_a_pause_under_load(strategy):
    """Threads issue one coupon after the other; what is committed when the pause returns is all there is."""
    campaign = campaign_with_strategy(strategy, quantity=10_000)
    parts = [accounts(ROUNDS) for _ in range(REQUESTS)]

    def issue_until_paused(part: list[int]) -> list[Any]:
        outcomes: list[Any] = []
        for user_id in part:
            try:
                outcomes.append(issuing.issue(campaign_id=campaign.pk, user_id=user_id))
            except Rejected as error:
                outcomes.append(error)
                if error.code == "campaign_paused":
                    break
        return outcomes

    def pause() -> int:
        wait_until(lambda: Coupon.objects.count() >= REQUESTS // 2)
        pausing.pause(campaign_id=campaign.pk, reason="stop")
        return Coupon.objects.count()

    *answers, committed = race([*(partial(issue_until_paused, part) for part in parts), pause])

    outcomes = count_outcomes(one for some in answers for one in some)
    assert Coupon.objects.count() == committed == outcomes["new"]
    assert outcomes["campaign_paused"] == REQUESTS
    # `optimistic` may have used its retries up.
    assert outcomes.keys() <= {"new", "campaign_paused", "conflict"}
    if strategy != "unsafe":
        assert positions(campaign) == list(range(1, committed + 1))
        assert broken() == {}


def test_two_processes_stop_at_a_pause_also_without_redis_and_go_on_after_it(own_redis, tmp_path):
    """By each strategy. While all are paused Redis is killed, comes back empty, and is emptied once more."""
    campaigns = [campaign_with_strategy(name, quantity=400) for name in SAFE_STRATEGIES]
    everyone, answers = accounts(440), 30 * len(campaigns)
    [with_pool] = [one for one in campaigns if one.strategy == "code_pool"]
    pool.generate(campaign_id=with_pool.pk, count=150)

    def committed(campaign: Campaign) -> int:
        return Coupon.objects.filter(campaign=campaign).count()

    def pause(campaign: Campaign) -> int:
        pausing.pause(campaign_id=campaign.pk, reason="stop")
        return committed(campaign)

    with Load(campaigns, everyone, folder=tmp_path, REDIS_URL=own_redis.url) as load:
        wait_until(lambda: all(map(committed, campaigns)), seconds=START_SECONDS)
        load.issue_more(5)
        at_the_pause = {campaign.strategy: pause(campaign) for campaign in campaigns}
        assert max(at_the_pause.values()) < 400
        load.answer_more(answers)
        own_redis.kill()
        load.answer_more(answers)
        own_redis.start()
        load.answer_more(answers)
        redis_client.client().flushall()
        load.answer_more(answers)
        assert {campaign.strategy: committed(campaign) for campaign in campaigns} == at_the_pause

        for campaign in campaigns:
            pausing.resume(campaign_id=campaign.pk, reason="go on")
        load.issue_more(5)

    foreseen = {"new", "again", "queued", "campaign_paused", "unavailable", "conflict", "lock_not_acquired"}
    assert {answer.outcome for answer in load.answers()} <= foreseen
    paused = {answer.campaign_id for answer in load.answers() if answer.outcome == "campaign_paused"}
    assert paused == {campaign.pk for campaign in campaigns}
    assert load.untrue() == []
    assert broken() == {}
