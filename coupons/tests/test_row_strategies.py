"""The strategies that need no Redis: while another connection locks a row, and killed while they hold it.

Their common races are in `test_issuing_races.py`.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from coupons.allocation.writes import PendingConfirmation
from coupons.issuing import issuing
from coupons.models import Campaign
from coupons.tests.factories import CampaignFactory, accounts, campaign_with_codes
from coupons.tests.laws import broken, positions
from coupons.tests.outcomes import count_outcomes, issue_calls, issue_calls_by
from shop.db import stuck_rows
from shop.tests.clients import client_of
from shop.tests.racing import race, wait_until
from shop.tests.second_connection import ask, holding
from shop.tests.second_process import another_process
from shop.tests.waiting import in_background, waiting_at

pytestmark = pytest.mark.django_db(transaction=True)
NAMES = ["group_commit", "pessimistic", "optimistic", "conditional_update"]
by_each = pytest.mark.parametrize("strategy", NAMES)
SOURCES = ["generated", "pool"]
from_each_source = pytest.mark.parametrize("code_source", SOURCES)

KEEP = "SELECT id FROM coupons_campaign WHERE id = %s FOR UPDATE"
AT_THE_CAMPAIGN, AT_THE_COUPONS = "%coupons_campaign%", "INSERT INTO coupons_coupon%"
# Requests coupons of all campaigns at once, for one account after the other: `CAMPAIGN,... ACCOUNT...`.
ISSUE_SEVERAL = """
from functools import partial
from coupons.issuing import issuing
from shop.tests.racing import race

def issue(campaign_id):
    for user_id in sys.argv[2:]:
        issuing.issue(campaign_id=int(campaign_id), user_id=int(user_id))

print("ready", flush=True)
race([partial(issue, campaign_id) for campaign_id in sys.argv[1].split(",")])
"""


def impatiently(work: Callable[[], Any]) -> Any:
    """Do the work on a connection whose lock waits last one second instead of five."""
    ask(connection, "SET SESSION innodb_lock_wait_timeout = 1")
    return work()


@by_each
def test_a_row_locked_for_longer_than_one_lock_wait_is_waited_for_again(strategy: str) -> None:
    campaign = CampaignFactory.create(strategy=strategy)
    [asks] = issue_calls(campaign.pk, accounts(1))

    with holding(KEEP, campaign.pk):
        outcome = in_background(partial(impatiently, asks))
        wait_until(lambda: waiting_at(AT_THE_CAMPAIGN) == 1)
        longer = time.monotonic() + 1.5
        wait_until(lambda: time.monotonic() > longer)

    assert outcome.result(timeout=10).is_new
    assert positions(campaign) == [1]


@by_each
def test_a_row_that_stays_locked_is_reported_clearly_and_nothing_is_done(strategy: str) -> None:
    campaign = CampaignFactory.create(strategy=strategy)
    account = User.objects.get(pk=accounts(1)[0])
    asks = partial(client_of(account).post, "/coupons", {"campaign": campaign.pk})

    with holding(KEEP, campaign.pk):
        [answer] = race([partial(impatiently, asks)])

    assert (answer.status_code, answer["Retry-After"]) == (503, "1")
    assert answer.json()["code"] == "unavailable"
    assert answer.json()["detail"] == "Too many other requests change the same rows; nothing was done."
    assert positions(campaign) == []
    wait_until(lambda: not stuck_rows.any_known())
    assert asks().status_code == 201


@by_each
def test_a_deadlock_is_retried(strategy: str) -> None:
    """The request has locked the campaign and waits for the account; another connection does the reverse."""
    campaign, everyone = CampaignFactory.create(strategy=strategy), accounts(50)
    [asks] = issue_calls(campaign.pk, everyone[:1])

    with holding("UPDATE auth_user SET first_name = 'other'") as other:
        outcome = in_background(asks)
        wait_until(lambda: waiting_at(AT_THE_COUPONS) == 1)
        # The server rolls the request back, which has done less, and grants this one the row.
        assert ask(other, KEEP, campaign.pk) == [(campaign.pk,)]
        other.commit()

    assert outcome.result(timeout=10).is_new
    assert positions(campaign) == [1]
    assert broken() == {}


@by_each
def test_two_requests_of_an_account_while_the_row_is_locked_get_one_coupon(strategy: str) -> None:
    """Both have read that there is no coupon, before either can write one."""
    campaign = CampaignFactory.create(strategy=strategy, quantity=10)
    issue, [user_id] = issuing.STRATEGIES[strategy], accounts(1)

    with holding(KEEP, campaign.pk):
        two = [in_background(partial(issue, campaign_id=campaign.pk, user_id=user_id)) for _ in range(2)]
        wait_until(lambda: waiting_at(AT_THE_CAMPAIGN) == (1 if strategy == "group_commit" else 2))

    assert count_outcomes(outcome.result(timeout=10) for outcome in two) == {"new": 1, "again": 1}
    assert positions(campaign) == [1]
    assert broken() == {}


@pytest.mark.boots("another process of the shop")
@pytest.mark.first_circle
def test_a_process_killed_in_its_transactions_has_issued_its_coupons_or_left_the_slots_to_the_next() -> None:
    """By each strategy and from each source of codes, a transaction for each campaign.

    Each has counted its slot; its coupon waits for the account's row, which another connection locks. The
    server completes all statements of one round trip, a COMMIT too, even if the client was killed meanwhile.
    """
    cases = [(name, source) for name in NAMES for source in SOURCES]
    campaigns = [campaign_with_codes(source, strategy=name, quantity=1) for name, source in cases]
    killed, following = accounts(2)

    with holding("SELECT id FROM auth_user WHERE id = %s FOR UPDATE", killed):
        with another_process(ISSUE_SEVERAL, ids_of(campaigns), str(killed)):
            wait_until(lambda: waiting_at(AT_THE_COUPONS) == len(cases))
        assert [positions(campaign) for campaign in campaigns] == [[]] * len(cases)

    outcomes = {
        case: [outcome_of(campaign, user_id) for user_id in (following, killed)]
        for case, campaign in zip(cases, campaigns, strict=True)
    }

    right = (["new", "sold_out"], ["sold_out", "again"])
    assert {case: found for case, found in outcomes.items() if found not in right} == {}
    assert [positions(campaign) for campaign in campaigns] == [[1]] * len(cases)
    assert broken() == {}


@pytest.mark.boots("another process of the shop")
@pytest.mark.first_circle
def test_a_process_killed_after_its_commits_has_issued_the_coupons() -> None:
    """By each strategy, a transaction for each campaign, while those of the next account wait."""
    campaigns = [CampaignFactory.create(strategy=name, quantity=2) for name in NAMES]
    first, second = accounts(2)

    with (
        holding("SELECT id FROM auth_user WHERE id = %s FOR UPDATE", second),
        another_process(ISSUE_SEVERAL, ids_of(campaigns), str(first), str(second)),
    ):
        # The first one's INSERT may be seen under way as well.
        wait_until(
            lambda: (
                all(positions(campaign) == [1] for campaign in campaigns)
                and waiting_at(AT_THE_COUPONS) == len(NAMES)
            )
        )

    assert [outcome_of(campaign, first) for campaign in campaigns] == ["again"] * len(NAMES)
    # The server may have completed what the killed process had sent.
    assert {outcome_of(campaign, second) for campaign in campaigns} <= {"new", "again"}
    assert broken() == {}


def ids_of(campaigns: Sequence[Campaign]) -> str:
    return ",".join(str(campaign.pk) for campaign in campaigns)


def outcome_of(campaign: Campaign, user_id: int) -> str:
    [outcome] = count_outcomes(race(issue_calls(campaign.pk, [user_id])))
    return outcome


@by_each
@from_each_source
def test_with_a_partner_repeated_requests_take_one_slot(strategy: str, code_source: str) -> None:
    campaign = campaign_with_codes(code_source, partner="convenience_store", quantity=5)
    [user_id] = accounts(1)

    outcomes = race(issue_calls_by([strategy], campaign.pk, [user_id] * 20))

    assert {type(outcome) for outcome in outcomes} == {PendingConfirmation}
    assert len({outcome.key for outcome in outcomes}) == 1
    campaign.refresh_from_db()
    assert (campaign.issued, campaign.confirming) == (0, 1)
    assert broken() == {}
