"""The strategies that need no Redis: while another connection locks a row, and killed while they hold it.

Their common races are in `test_issuing_races.py`.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone
from prometheus_client import REGISTRY

from accounts.tests.clients import client_of
from coupons import campaigns, issuing
from coupons.allocation import allocating
from coupons.allocation.outcomes import Issued, PendingConfirmation
from coupons.models import Campaign, Confirmation, Coupon, PoolCode
from coupons.tests.factories import CampaignFactory, accounts, campaign_with_codes
from coupons.tests.laws import positions
from coupons.tests.outcomes import (
    count_outcomes,
    issue,
    issue_calls,
    issue_calls_by,
    outcome_of,
    raced,
    refusal,
)
from foundation.db import stuck_rows, transactions
from foundation.errors import Invalid
from foundation.journal import SYSTEM
from foundation.tests.factories import reloaded
from foundation.tests.instants import from_now
from foundation.tests.journal_lines import times_noted
from foundation.tests.racing import race, race_each, wait_until
from foundation.tests.second_connection import ask, holding, holding_row
from foundation.tests.second_process import another_process, starts_another_process
from foundation.tests.waiting import in_background, waiting_at, waiting_for_the_row

pytestmark = pytest.mark.django_db(transaction=True)
NAMES = ["group_commit", "pessimistic", "optimistic", "conditional_update"]
by_each = pytest.mark.parametrize("strategy", NAMES)
SOURCES = ["generated", "pool"]
from_each_source = pytest.mark.parametrize("code_source", SOURCES)

KEEP = "SELECT id FROM coupons_campaign WHERE id = %s FOR UPDATE"
AT_THE_COUPONS = "INSERT INTO coupons_coupon%"
# Requests coupons of all campaigns at once, for one account after the other: `CAMPAIGN,... ACCOUNT...`.
ISSUE_SEVERAL = """
from functools import partial
from coupons import issuing
from foundation.tests.racing import race

def issue(campaign_id):
    for user_id in sys.argv[2:]:
        issuing.issue(campaign_id=int(campaign_id), user_id=int(user_id))

print("ready", flush=True)
race([partial(issue, campaign_id) for campaign_id in sys.argv[1].split(",")])
"""


def impatiently(work: Callable[[], Any]):
    """Do the work on a connection whose lock waits last one second instead of five."""
    ask(connection, "SET SESSION innodb_lock_wait_timeout = 1")
    return work()


@by_each
def test_a_row_locked_for_longer_than_one_lock_wait_is_waited_for_again(strategy):
    campaign = CampaignFactory(strategy=strategy)
    [asks] = issue_calls(campaign.pk, accounts(1))

    with holding_row(campaign):
        outcome = in_background(partial(impatiently, asks))
        wait_until(lambda: waiting_for_the_row(Campaign) == 1)
        longer = time.monotonic() + 1.5
        wait_until(lambda: time.monotonic() > longer)

    assert outcome.result(timeout=10).is_new
    assert positions(campaign) == [1]


@by_each
def test_a_row_that_stays_locked_is_reported_clearly_and_nothing_is_done(strategy):
    campaign = CampaignFactory(strategy=strategy)
    account = User.objects.get(pk=accounts(1)[0])
    asks = partial(client_of(account).post, "/coupons", {"campaign": campaign.pk})

    with holding_row(campaign):
        [answer] = race([partial(impatiently, asks)])

    assert (answer.status_code, answer["Retry-After"]) == (503, "1")
    assert answer.json()["code"] == "unavailable"
    assert answer.json()["detail"] == "Too many other requests change the same rows; nothing was done."
    assert positions(campaign) == []
    wait_until(lambda: not stuck_rows.any_known())
    assert asks().status_code == 201


@by_each
def test_a_deadlock_is_retried(strategy):
    """The request has locked the campaign and waits for the account; another connection does the reverse."""
    campaign, everyone = CampaignFactory(strategy=strategy), accounts(50)
    [asks] = issue_calls(campaign.pk, everyone[:1])

    with holding("UPDATE auth_user SET first_name = 'other'") as other:
        outcome = in_background(asks)
        wait_until(lambda: waiting_at(AT_THE_COUPONS) == 1)
        # The server rolls the request back, which has done less, and grants this one the row.
        assert ask(other, KEEP, campaign.pk) == [(campaign.pk,)]
        other.commit()

    assert outcome.result(timeout=10).is_new
    assert positions(campaign) == [1]


@by_each
def test_two_requests_of_an_account_while_the_row_is_locked_get_one_coupon(strategy):
    """Both have read that there is no coupon, before either can write one."""
    campaign = CampaignFactory(strategy=strategy, quantity=10)
    issue, [user_id] = issuing.STRATEGIES[strategy], accounts(1)

    with holding_row(campaign):
        two = [in_background(partial(issue, campaign_id=campaign.pk, user_id=user_id)) for _ in range(2)]
        wait_until(lambda: waiting_for_the_row(Campaign) == (1 if strategy == "group_commit" else 2))

    assert count_outcomes(outcome.result(timeout=10) for outcome in two) == {"new": 1, "again": 1}
    assert positions(campaign) == [1]


@starts_another_process
def test_a_process_killed_in_its_transactions_has_issued_its_coupons_or_left_the_slots_to_the_next():
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
        case: [coupon_outcome(campaign, user_id) for user_id in (following, killed)]
        for case, campaign in zip(cases, campaigns, strict=True)
    }

    right = (["new", "sold_out"], ["sold_out", "again"])
    assert {case: found for case, found in outcomes.items() if found not in right} == {}
    assert [positions(campaign) for campaign in campaigns] == [[1]] * len(cases)


@starts_another_process
def test_a_process_killed_after_its_commits_has_issued_the_coupons():
    """By each strategy, a transaction for each campaign, while those of the next account wait."""
    campaigns = [CampaignFactory(strategy=name, quantity=2) for name in NAMES]
    first, second = accounts(2)

    with (
        holding("SELECT id FROM auth_user WHERE id = %s FOR UPDATE", second),
        another_process(ISSUE_SEVERAL, ids_of(campaigns), str(first), str(second)),
    ):
        # The first one's INSERT may be seen under way as well.
        wait_until(lambda: [positions(campaign) for campaign in campaigns] == [[1]] * len(NAMES))
        wait_until(lambda: waiting_at(AT_THE_COUPONS) == len(NAMES))

    assert [coupon_outcome(campaign, first) for campaign in campaigns] == ["again"] * len(NAMES)
    # The server may have completed what the killed process had sent.
    assert {coupon_outcome(campaign, second) for campaign in campaigns} <= {"new", "again"}


def ids_of(campaigns: Sequence[Campaign]) -> str:
    return ",".join(str(campaign.pk) for campaign in campaigns)


def coupon_outcome(campaign, user_id: int) -> str:
    [outcome] = raced(campaign, [user_id])
    return outcome


@by_each
@from_each_source
def test_with_a_partner_repeated_requests_take_one_slot(strategy, code_source):
    campaign = campaign_with_codes(code_source, partner="convenience_store", quantity=5)
    [user_id] = accounts(1)

    outcomes = race(issue_calls_by([strategy], campaign.pk, [user_id] * 20))

    assert {type(outcome) for outcome in outcomes} == {PendingConfirmation}
    assert len({outcome.key for outcome in outcomes}) == 1
    campaign.refresh_from_db()
    assert (campaign.issued, campaign.confirming) == (0, 1)


KEEP_COUPON = "SELECT id FROM coupons_coupon WHERE account_id = %s FOR UPDATE"
INSERT = """
INSERT INTO coupons_coupon
    (campaign_id, account_id, code, position, status, void_reason, issued_at, expires_at)
VALUES (%s, %s, %s, %s, 'issued', '', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))
"""
SOON = 10.0


def test_the_lock_reads_what_was_committed_while_it_waited():
    campaign, both = CampaignFactory(), accounts(2)
    lock = partial(allocating.lock_campaign, campaign.pk, both)
    given = (INSERT, campaign.pk, both[0], "FRESH", 1)
    counted = ("UPDATE coupons_campaign SET issued = issued + 1 WHERE id = %s", campaign.pk)
    read = done_meanwhile(partial(transactions.run, lock, transactions.KEYED), campaign, KEEP, given, counted)
    assert read.campaign.issued == 1
    assert {user_id: one.code for user_id, one in read.existing.items()} == {both[0]: "FRESH"}


def test_a_coupon_is_not_written_outside_of_the_transaction_that_counts_its_slot():
    """It would stay where its count is rolled back, and the next one would get its position."""
    campaign, [account_id] = CampaignFactory(), accounts(1)
    with pytest.raises(transaction.TransactionManagementError):
        allocating.write_slots(campaign, {account_id: "FRESH"}, by={account_id: SYSTEM}, now=timezone.now())
    assert not Coupon.objects.exists()


def test_a_coupon_locked_by_an_order_delays_no_request():
    campaign = CampaignFactory()
    owner, newcomer = accounts(2)
    code = issue(campaign, owner).coupon.code

    with holding(KEEP_COUPON, owner):
        again = issue(campaign, owner)
        assert (again.coupon.code, again.is_new) == (code, False)
        assert issue(campaign, newcomer).is_new


def test_what_is_read_and_what_is_written_is_what_the_orm_reads():
    campaign = CampaignFactory(closes_at=from_now(days=1))
    owner, other = accounts(2)
    issued = issue(campaign, owner)

    with transaction.atomic():
        applicants = allocating.lock_campaign(campaign.pk, [owner, other])

    seen, had = applicants.campaign, applicants.existing
    assert columns_of(seen) == columns_of(reloaded(campaign))
    written = columns_of(Coupon.objects.get(account_id=owner))
    assert {user_id: columns_of(one) for user_id, one in had.items()} == {owner: written}
    assert had[owner].campaign is seen
    assert isinstance(issued, Issued)
    assert columns_of(issued.coupon) | {"id": written["id"]} == written


def columns_of(row: Campaign | Coupon) -> dict[str, Any]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


@from_each_source
def test_all_of_them_at_once_issue_exactly_the_quantity(code_source):
    campaign = campaign_with_codes(code_source, quantity=50)

    calls = issue_calls_by(NAMES, campaign.pk, accounts(90))
    assert count_outcomes(race(calls)) == {"new": 50, "sold_out": 40}
    assert positions(campaign) == list(range(1, 51))


@from_each_source
def test_one_account_gets_one_coupon_from_all_of_them_at_once(code_source):
    campaign = campaign_with_codes(code_source, quantity=10)

    calls = issue_calls_by(NAMES, campaign.pk, accounts(1) * 40)
    assert count_outcomes(race(calls)) == {"new": 1, "again": 39}
    assert positions(campaign) == [1]
    assert PoolCode.objects.filter(status="issued").count() == (1 if code_source == "pool" else 0)


@from_each_source
def test_a_campaign_that_changes_its_strategy_under_load_stays_exact(code_source):
    """Each thread changes the strategy before each of its requests."""
    campaign = campaign_with_codes(code_source, quantity=50)
    everyone = accounts(120)

    def change_and_ask(first):
        outcomes = []
        for number, asks in enumerate(issue_calls(campaign.pk, everyone[first::20])):
            campaigns.change(campaign_id=campaign.pk, strategy=NAMES[(first + number) % len(NAMES)])
            issuing.forget()
            outcomes.append(outcome_of(asks))
        return outcomes

    outcomes = race_each(change_and_ask, range(20))

    assert count_outcomes(one for part in outcomes for one in part) == {"new": 50, "sold_out": 70}
    assert positions(campaign) == list(range(1, 51))


by_each_guarded = pytest.mark.parametrize("strategy", ["optimistic", "conditional_update"])

CHANGE = "UPDATE coupons_campaign SET version = version + 1 WHERE id = %s"
CONFLICTS = "firstcome_campaign_conflicts_total"
# A request that needs the lock waits for it twice, five seconds each.
TWO_WAITS_FOR_A_LOCK = 10.0


@by_each_guarded
def test_existing_coupons_and_refusals_are_answered_without_a_lock(strategy):
    campaign = CampaignFactory(strategy=strategy, quantity=1)
    first, late = accounts(2)
    given = issue(campaign, first)

    with holding_row(campaign):
        again, refusal = race(issue_calls(campaign.pk, [first, late]), timeout=TWO_WAITS_FOR_A_LOCK)

    assert (again.coupon.code, again.is_new) == (given.coupon.code, False)
    assert count_outcomes([refusal]) == {"sold_out": 1}


def test_an_optimistic_request_that_conflicts_is_retried_and_counted():
    campaign = CampaignFactory(strategy="optimistic")
    before = REGISTRY.get_sample_value(CONFLICTS)

    assert done_meanwhile(*issue_calls(campaign.pk, accounts(1)), campaign, CHANGE).is_new
    assert REGISTRY.get_sample_value(CONFLICTS) == (before or 0) + 1
    assert positions(campaign) == [1]


def test_an_optimistic_request_fails_after_its_retries_and_has_done_nothing(settings):
    settings.OPTIMISTIC_RETRIES = 0
    campaign = CampaignFactory(strategy="optimistic")
    api = client_of(User.objects.get(pk=accounts(1)[0]))
    asks = partial(api.post, "/coupons", {"campaign": campaign.pk})

    answer = done_meanwhile(asks, campaign, CHANGE)

    assert (answer.status_code, answer.json()["code"], answer["Retry-After"]) == (409, "conflict", "1")
    assert positions(campaign) == []
    assert asks().status_code == 201


def test_an_optimistic_request_that_waits_locks_no_code_that_the_holder_of_the_row_needs():
    """One code is left: if a waiting request locked it, the pool would look empty to the other."""
    campaign = CampaignFactory(code_source="pool", codes=["LAST"])
    [asks] = issue_calls_by(["optimistic"], campaign.pk, accounts(1))

    with holding_row(campaign) as other:
        outcome = in_background(asks)
        wait_until(lambda: waiting_for_the_row(Campaign) == 1)
        free = ask(
            other, "SELECT code FROM coupons_poolcode WHERE status = 'available' FOR UPDATE SKIP LOCKED"
        )

    assert free == [("LAST",)]
    assert outcome.result(timeout=10).coupon.code == "LAST"


def test_the_update_uses_terms_that_changed_while_it_waited():
    campaign = CampaignFactory(strategy="conditional_update", quantity=10)
    [asks] = issue_calls(campaign.pk, accounts(1))
    closed = "UPDATE coupons_campaign SET closes_at = NOW(6) - INTERVAL 1 HOUR WHERE id = %s"

    assert refusal(lambda: done_meanwhile(asks, campaign, closed)) == "campaign_closed"
    assert positions(campaign) == []


@by_each_guarded
def test_a_slot_that_a_partner_confirmed_meanwhile_is_not_taken_twice(strategy):
    """The first read finds nothing; another request is confirmed while this one waits for the row."""
    campaign, [user_id] = CampaignFactory(partner="convenience_store", quantity=10), accounts(1)
    [asks] = issue_calls_by([strategy], campaign.pk, [user_id])
    counted = "UPDATE coupons_campaign SET issued = 1, version = version + 1 WHERE id = %s"

    outcome = done_meanwhile(asks, campaign, counted, (INSERT, campaign.pk, user_id, "GIVEN", 1))

    assert outcome.coupon.code == "GIVEN"
    assert not Confirmation.objects.exists()


def done_meanwhile(work: Callable[[], Any], campaign, keep: str, *changes: tuple[Any, ...]):
    """What the work returns that waits for the campaign's row while another connection commits changes."""
    with holding(keep, campaign.pk) as other:
        outcome = in_background(work)
        wait_until(lambda: waiting_for_the_row(Campaign) == 1)
        for change in changes:
            ask(other, *change)
        other.commit()
    return outcome.result(timeout=SOON)


def both_raised(raising: Callable[..., Campaign]) -> list[Any]:
    """What `raising` to 150 and then to 120 returns or raises, when both wait for the campaign's lock."""
    [campaign] = Campaign.objects.all()
    waiting: list[Future[Campaign]] = []
    with holding_row(campaign):
        for number, quantity in enumerate((150, 120), start=1):
            waiting.append(in_background(partial(raising, campaign_id=campaign.pk, quantity=quantity)))
            wait_until(lambda number=number: waiting_for_the_row(Campaign) == number)
    return [one.exception(SOON) or one.result() for one in waiting]


def quantity_of(campaign) -> int:
    return reloaded(campaign).quantity


def test_of_two_that_raise_it_at_once_the_lower_one_is_refused():
    """The second had compared before the first was written, and lowered the quantity to 120."""
    campaign = CampaignFactory(quantity=100)

    higher, lower = both_raised(partial(campaigns.raise_quantity, reason="More came."))

    assert higher.quantity == quantity_of(campaign) == 150
    assert isinstance(lower, Invalid)
    assert [fault["code"] for fault in lower.extra["errors"]] == ["not_raised"]
    assert times_noted("campaign.changed") == 1


def test_comparing_before_the_lock_lowers_it():
    """The control case."""
    campaign = CampaignFactory(quantity=100)

    def raise_naively(*, campaign_id, quantity):
        assert quantity > quantity_of(campaign)
        return campaigns.change(campaign_id=campaign_id, quantity=quantity)

    both_raised(raise_naively)

    assert quantity_of(campaign) == 120
