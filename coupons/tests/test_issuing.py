"""What an account gets from a campaign, the same with every strategy that answers with a coupon.

`queue` answers with a ticket instead, and its worker issues the coupon: coupons/tests/test_queue.py has these
cases for it, and coupons/tests/test_eligibility.py has the refusals of all ten side by side.
"""

import asyncio
import threading

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from coupons import issuing, remembered
from coupons.models import Campaign, Coupon, PoolCode
from coupons.tests.factories import TWO_STRATEGIES, CampaignFactory, accounts, campaign_with_strategy
from coupons.tests.laws import positions
from coupons.tests.outcomes import allocated, issue, refused
from foundation.concurrency.event_loop import run_blocking, run_in_thread
from foundation.concurrency.thread_pool import LOOKUP_POOL
from foundation.tests.factories import AccountFactory
from foundation.tests.racing import wait_until
from foundation.tests.second_connection import ask, connection_id, holding, kill, kill_others
from foundation.tests.waiting import in_background, waiting_at

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("in_the_lab")]

by_two_strategies = pytest.mark.parametrize("strategy", TWO_STRATEGIES)


@pytest.fixture
def account_id():
    return AccountFactory().pk


def statements_of_a_batch(campaign, user_ids: list[int]) -> int:
    """How many statements read or write rows; savepoints are the test's."""
    with CaptureQueriesContext(connection) as captured:
        allocated(campaign, *user_ids)
    return len([query for query in captured if "SAVEPOINT" not in query["sql"]])


@pytest.mark.parametrize("strategy", [name for name in issuing.STRATEGIES if name != "queue"])
def test_refusals_have_their_codes(strategy, account_id):
    full = campaign_with_strategy(strategy, quantity=1)
    issue(full, AccountFactory().pk)
    scheduled = campaign_with_strategy(strategy, scheduled=True)
    closed = campaign_with_strategy(strategy, closed=True)

    assert refused(full, account_id) == "sold_out"
    assert refused(scheduled, account_id) == "campaign_not_open"
    assert refused(closed, account_id) == "campaign_closed"
    assert refused(Campaign(pk=10**9), account_id) == "campaign_not_found"
    assert Coupon.objects.count() == 1


@by_two_strategies
def test_a_void_coupon_is_refused_and_its_slot_stays_taken(strategy, account_id):
    campaign = campaign_with_strategy(strategy, quantity=2)
    issued = issue(campaign, account_id)
    issuing.void(code=issued.coupon.code, reason="A mistake.")

    assert refused(campaign, account_id) == "coupon_void"
    assert issue(campaign, AccountFactory().pk).is_new
    assert refused(campaign, AccountFactory().pk) == "sold_out"


@by_two_strategies
def test_an_account_that_does_not_exist_gets_nothing(transactional_db, strategy):
    assert refused(campaign_with_strategy(strategy), 10**9) == "not_found"
    assert not Coupon.objects.exists()


@pytest.mark.parametrize(("code_source", "most"), [("generated", 5), ("pool", 7)])
@pytest.mark.parametrize("size", [1, 10, 100, 256])
def test_a_batch_takes_as_many_statements_whatever_its_size(code_source, most, size):
    campaign = CampaignFactory(code_source=code_source, quantity=1_000, codes=size)
    everyone = accounts(size)

    assert statements_of_a_batch(campaign, everyone) == most
    assert positions(campaign) == list(range(1, size + 1))
    assert statements_of_a_batch(campaign, everyone) == 1


def test_that_a_campaign_does_not_exist_is_not_remembered(account_id):
    for unknown in range(900_000, 900_020):
        assert refused(Campaign(pk=unknown), account_id) == "campaign_not_found"
        assert not remembered.is_known(unknown)
    created = CampaignFactory(pk=900_007)
    assert issue(created, account_id).is_new
    assert remembered.is_known(created.pk)
    remembered.terms_changed(campaign_id=created.pk)
    assert remembered.is_known(created.pk), "its next reading doesn't wait among those of made-up ones"


async def _ask_for_unknown(ids):
    return await asyncio.gather(*map(issuing.read_campaign, ids), return_exceptions=True)


def test_made_up_campaigns_leave_a_thread_to_those_that_exist(transactional_db):
    campaign = CampaignFactory()
    run_blocking(issuing.read_campaign(campaign.pk))
    assert LOOKUP_POOL._max_threads > 1
    may_end = threading.Event()

    async def race_for_threads():
        made_up = asyncio.create_task(_ask_for_unknown([*range(910_000, 910_040)]))
        await asyncio.to_thread(wait_until, lambda: waiting_at("%coupons_campaign%") > 0)
        waiting = await run_in_thread(waiting_at, "%coupons_campaign%", pool=LOOKUP_POOL)
        may_end.set()
        assert waiting == 1
        return await made_up

    with holding("LOCK TABLES coupons_campaign WRITE") as other:
        refusals = in_background(lambda: asyncio.run(race_for_threads()))
        assert may_end.wait(30)
        ask(other, "UNLOCK TABLES")
    assert {one.code for one in refusals.result(30)} == {"campaign_not_found"}


def test_a_code_that_is_issued_already_is_refused_as_a_conflict(account_id, unlawful):
    """A coupon bears a code of the pool, which nothing here would do: the unique key is the judge."""
    taken = issue(CampaignFactory(), account_id).coupon.code
    campaign = CampaignFactory(code_source="pool", codes_added=1)
    PoolCode.objects.create(campaign=campaign, code=taken, added_at=timezone.now())

    assert refused(campaign, account_id) == "conflict"
    assert positions(campaign) == []


def test_the_first_look_at_a_campaign_outlives_a_lost_connection(transactional_db):
    issuing.forget()  # campaigns of other tests had the same numbers
    known, campaign = CampaignFactory.create_batch(2)
    run_blocking(issuing.read_campaign(known.pk))
    kill_others()
    assert not remembered.is_known(campaign.pk)
    run_blocking(issuing.read_campaign(campaign.pk))
    assert remembered.is_known(campaign.pk)
    kill(connection_id())
    assert remembered.require(campaign.pk) == campaign
