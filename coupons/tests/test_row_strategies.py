"""The strategies that the database alone keeps exact: at a row that somebody keeps, and all of them at once.

Their common races are in `test_issuing_races.py`.
"""

import time
from collections.abc import Callable
from functools import partial
from itertools import cycle
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.db import connection
from prometheus_client import REGISTRY

from coupons import campaigns, issuing, pool
from coupons.models import Campaign, Confirmation, Coupon, PoolCode
from coupons.slots import Confirming
from coupons.tests.factories import CampaignFactory, accounts
from coupons.tests.laws import broken, positions
from coupons.tests.outcomes import asking, told
from shop.errors import FirstcomeError, Rejected
from shop.tests.clients import client_of
from shop.tests.racing import race, wait_until
from shop.tests.second_connection import ask, holding
from shop.tests.second_process import another_process
from shop.tests.waiting import in_background, waiting_at

pytestmark = pytest.mark.django_db(transaction=True)
NAMES = ["group_commit", "pessimistic", "optimistic", "conditional_update"]
by_each = pytest.mark.parametrize("strategy", NAMES)
from_each_source = pytest.mark.parametrize("code_source", ["generated", "pool"])

KEEP = "SELECT id FROM coupons_campaign WHERE id = %s FOR UPDATE"
CHANGE = "UPDATE coupons_campaign SET version = version + 1 WHERE id = %s"
AT_THE_CAMPAIGN, AT_THE_COUPONS = "%coupons_campaign%", "INSERT INTO coupons_coupon%"
CONFLICTS = "firstcome_campaign_conflicts_total"
# Asks once for each argument after the first, and says what it got.
ASKER = """
from coupons import issuing
print("ready", flush=True)
for user_id in sys.argv[2:]:
    issuing.issue(campaign_id=int(sys.argv[1]), user_id=int(user_id))
"""


def campaign_of(code_source: str, **columns: Any) -> Campaign:
    """A campaign, whose pool, if it has one, holds 50 codes."""
    campaign = CampaignFactory.create(code_source=code_source, **columns)
    if code_source == "pool":
        pool.generate(campaign_id=campaign.pk, count=50)
    return campaign


def by_strategies(campaign: Campaign, user_ids: list[int]) -> list[Callable[[], Any]]:
    """A call for each account, by one strategy after the other, whatever the campaign says."""
    ways = zip(user_ids, cycle(NAMES), strict=False)
    return [partial(issuing.STRATEGIES[name], campaign_id=campaign.pk, user_id=id) for id, name in ways]


def impatiently(work: Callable[[], Any]) -> Any:
    """Do the work on a connection that waits a second for a lock, instead of five."""
    ask(connection, "SET SESSION innodb_lock_wait_timeout = 1")
    return work()


@by_each
def test_a_row_that_somebody_keeps_for_longer_than_one_wait_is_waited_for_again(strategy: str) -> None:
    campaign = CampaignFactory.create(strategy=strategy)
    [asks] = asking(campaign.pk, accounts(1))

    with holding(KEEP, campaign.pk):
        outcome = in_background(partial(impatiently, asks))
        wait_until(lambda: waiting_at(AT_THE_CAMPAIGN) == 1)
        longer = time.monotonic() + 1.5
        wait_until(lambda: time.monotonic() > longer)

    assert outcome.result(timeout=10).is_new
    assert positions(campaign) == [1]


@by_each
def test_a_row_that_somebody_keeps_for_good_is_told_clearly_and_nothing_is_done(strategy: str) -> None:
    campaign = CampaignFactory.create(strategy=strategy)
    account = User.objects.get(pk=accounts(1)[0])
    asks = partial(client_of(account).post, "/coupons", {"campaign": campaign.pk})

    with holding(KEEP, campaign.pk):
        [answer] = race([partial(impatiently, asks)])

    assert (answer.status_code, answer["Retry-After"]) == (503, "1")
    assert answer.json()["code"] == "unavailable"
    assert answer.json()["detail"] == "Too many others change the same rows; nothing was done."
    assert positions(campaign) == []
    assert asks().status_code == 201


@by_each
def test_a_deadlock_is_tried_again(strategy: str) -> None:
    """The asker has the campaign and wants the account; somebody has that one, and wants the campaign."""
    campaign, everyone = CampaignFactory.create(strategy=strategy), accounts(50)
    [asks] = asking(campaign.pk, everyone[:1])

    with holding("UPDATE auth_user SET first_name = 'other'") as other:
        outcome = in_background(asks)
        wait_until(lambda: waiting_at(AT_THE_COUPONS) == 1)
        # The server takes the row from the asker, who did less, and gives it to this one.
        assert ask(other, KEEP, campaign.pk) == [(campaign.pk,)]
        other.commit()

    assert outcome.result(timeout=10).is_new
    assert positions(campaign) == [1]
    assert broken() == {}


@by_each
def test_who_has_the_coupon_is_told_so_whoever_is_at_it(strategy: str) -> None:
    campaign = CampaignFactory.create(strategy=strategy, quantity=10)
    [user_id] = accounts(1)
    given = issuing.issue(campaign_id=campaign.pk, user_id=user_id)

    again = race(asking(campaign.pk, [user_id] * 20))

    assert {outcome.coupon.code for outcome in again} == {given.coupon.code}


@pytest.mark.parametrize("strategy", ["optimistic", "conditional_update"])
def test_who_has_the_coupon_is_told_so_without_a_lock(strategy: str) -> None:
    campaign = CampaignFactory.create(strategy=strategy, quantity=10)
    [user_id] = accounts(1)
    given = issuing.issue(campaign_id=campaign.pk, user_id=user_id)

    with holding(KEEP, campaign.pk):
        [again] = race(asking(campaign.pk, [user_id]), timeout=3)

    assert (again.coupon.code, again.is_new) == (given.coupon.code, False)


@by_each
def test_an_account_that_asks_twice_while_the_row_is_kept_gets_one_coupon(strategy: str) -> None:
    """Both have looked, and seen no coupon, before either can write one."""
    campaign = CampaignFactory.create(strategy=strategy, quantity=10)
    issue, [user_id] = issuing.STRATEGIES[strategy], accounts(1)

    with holding(KEEP, campaign.pk):
        two = [in_background(partial(issue, campaign_id=campaign.pk, user_id=user_id)) for _ in range(2)]
        wait_until(lambda: waiting_at(AT_THE_CAMPAIGN) == (1 if strategy == "group_commit" else 2))

    assert told(outcome.result(timeout=10) for outcome in two) == {"new": 1, "again": 1}
    assert positions(campaign) == [1]
    assert broken() == {}


@from_each_source
def test_all_of_them_at_once_issue_exactly_what_there_is(code_source: str) -> None:
    campaign = campaign_of(code_source, quantity=50)

    outcomes = race(by_strategies(campaign, accounts(90)))

    assert told(outcomes) == {"new": 50, "sold_out": 40}
    assert positions(campaign) == list(range(1, 51))
    assert broken() == {}


@from_each_source
def test_one_account_that_asks_by_all_of_them_at_once_gets_one_coupon(code_source: str) -> None:
    campaign = campaign_of(code_source, quantity=10)

    outcomes = race(by_strategies(campaign, accounts(1) * 40))

    assert told(outcomes) == {"new": 1, "again": 39}
    assert positions(campaign) == [1]
    assert PoolCode.objects.filter(status="issued").count() == (1 if code_source == "pool" else 0)
    assert broken() == {}


@from_each_source
def test_a_campaign_that_changes_its_strategy_under_load_stays_exact(code_source: str) -> None:
    campaign = campaign_of(code_source, quantity=50)
    everyone = accounts(160)
    used: set[str] = set()

    def ask_one_after_the_other(part: list[int]) -> list[Any]:
        return [_outcome(one) for one in asking(campaign.pk, part)]

    def change_it() -> None:
        names = cycle(NAMES)
        while Coupon.objects.count() < 50:
            used.add(campaigns.change(campaign_id=campaign.pk, strategy=next(names)).strategy)
            issuing.forget()

    parts = [everyone[start::20] for start in range(20)]
    outcomes = race([*(partial(ask_one_after_the_other, part) for part in parts), change_it])

    assert told(one for part in outcomes[:-1] for one in part) == {"new": 50, "sold_out": 110}
    assert used == set(NAMES)
    assert positions(campaign) == list(range(1, 51))
    assert broken() == {}


@by_each
@from_each_source
def test_a_process_killed_in_its_transaction_leaves_the_slot_to_the_next(
    strategy: str, code_source: str
) -> None:
    """It has the campaign's row and has counted; its coupon waits for the account, which somebody keeps."""
    campaign = campaign_of(code_source, strategy=strategy, quantity=1)
    killed, following = accounts(2)

    with holding("SELECT id FROM auth_user WHERE id = %s FOR UPDATE", killed):
        with another_process(ASKER, str(campaign.pk), str(killed)):
            wait_until(lambda: waiting_at(AT_THE_COUPONS) == 1)
        assert positions(campaign) == []
    issued = issuing.issue(campaign_id=campaign.pk, user_id=following)

    # The server may have finished the dead one's statement, but nobody committed it.
    assert issued.is_new
    assert positions(campaign) == [1]
    assert told(race(asking(campaign.pk, [killed]))) == {"sold_out": 1}
    assert broken() == {}


@by_each
def test_a_process_killed_after_its_commit_has_given_the_coupon(strategy: str) -> None:
    campaign = CampaignFactory.create(strategy=strategy, quantity=2)
    first, second = accounts(2)

    with (
        holding("SELECT id FROM auth_user WHERE id = %s FOR UPDATE", second),
        another_process(ASKER, str(campaign.pk), str(first), str(second)),
    ):
        wait_until(lambda: waiting_at(AT_THE_COUPONS) == 1)

    assert told(race(asking(campaign.pk, [first]))) == {"again": 1}
    assert told(race(asking(campaign.pk, [second]))) == {"new": 1}
    assert broken() == {}


def test_an_optimistic_asker_that_met_another_begins_again_and_is_counted() -> None:
    campaign = CampaignFactory.create(strategy="optimistic")
    before = REGISTRY.get_sample_value(CONFLICTS)

    outcome = ask_while_somebody_changes(campaign, *asking(campaign.pk, accounts(1)))

    assert outcome.is_new
    assert REGISTRY.get_sample_value(CONFLICTS) == (before or 0) + 1
    assert positions(campaign) == [1]


def test_an_optimistic_asker_gives_up_in_the_end_and_has_done_nothing(settings: LazySettings) -> None:
    settings.OPTIMISTIC_RETRIES = 0
    campaign = CampaignFactory.create(strategy="optimistic")
    api = client_of(User.objects.get(pk=accounts(1)[0]))
    asks = partial(api.post, "/coupons", {"campaign": campaign.pk})

    answer = ask_while_somebody_changes(campaign, asks)

    assert (answer.status_code, answer.json()["code"], answer["Retry-After"]) == (409, "conflict", "1")
    assert positions(campaign) == []
    assert asks().status_code == 201


def test_an_optimistic_asker_who_waits_keeps_no_code_from_who_has_the_row() -> None:
    """The one code that is left: who waits, perhaps in vain, would have it look gone."""
    campaign = CampaignFactory.create(code_source="pool")
    pool.add(campaign_id=campaign.pk, codes=["LAST"])
    [asks] = by_strategies_named("optimistic", campaign, accounts(1))

    with holding(KEEP, campaign.pk) as other:
        outcome = in_background(asks)
        wait_until(lambda: waiting_at(AT_THE_CAMPAIGN) == 1)
        free = ask(
            other, "SELECT code FROM coupons_poolcode WHERE status = 'available' FOR UPDATE SKIP LOCKED"
        )

    assert free == [("LAST",)]
    assert outcome.result(timeout=10).coupon.code == "LAST"


def test_terms_that_change_while_the_update_waits_are_what_it_goes_by() -> None:
    campaign = CampaignFactory.create(strategy="conditional_update", quantity=10)
    [asks] = asking(campaign.pk, accounts(1))

    with holding(
        "UPDATE coupons_campaign SET closes_at = NOW(6) - INTERVAL 1 HOUR WHERE id = %s", campaign.pk
    ) as other:
        outcome = in_background(asks)
        wait_until(lambda: waiting_at(AT_THE_CAMPAIGN) == 1)
        other.commit()

    with pytest.raises(Rejected) as refused:
        outcome.result(timeout=10)
    assert refused.value.code == "campaign_closed"
    assert positions(campaign) == []


@pytest.mark.parametrize("strategy", ["optimistic", "conditional_update"])
def test_a_slot_that_a_partner_agreed_to_meanwhile_is_not_taken_twice(strategy: str) -> None:
    """The look saw nothing; the account's other asking was confirmed while this one waited at the row."""
    campaign = CampaignFactory.create(partner="convenience_store", quantity=10)
    user_id = accounts(1)[0]
    [asks] = by_strategies_named(strategy, campaign, [user_id])
    given = (
        "INSERT INTO coupons_coupon (campaign_id, account_id, code, position, status, void_reason, issued_at,"
        " expires_at) VALUES (%s, %s, 'GIVEN', 1, 'issued', '', NOW(6), NOW(6))"
    )

    counted = "UPDATE coupons_campaign SET issued = 1, version = version + 1 WHERE id = %s"
    with holding(counted, campaign.pk) as other:
        outcome = in_background(asks)
        wait_until(lambda: waiting_at(AT_THE_CAMPAIGN) == 1)
        ask(other, given, campaign.pk, user_id)
        other.commit()

    assert outcome.result(timeout=10).coupon.code == "GIVEN"
    assert not Confirmation.objects.exists()
    assert broken() == {}


@by_each
@from_each_source
def test_with_a_partner_a_slot_is_taken_once_however_often_it_is_asked_for(
    strategy: str, code_source: str
) -> None:
    campaign = campaign_of(code_source, partner="convenience_store", quantity=5)
    [user_id] = accounts(1)

    outcomes = race(by_strategies_named(strategy, campaign, [user_id] * 20))

    assert {type(outcome) for outcome in outcomes} == {Confirming}
    assert len({outcome.key for outcome in outcomes}) == 1
    campaign.refresh_from_db()
    assert (campaign.issued, campaign.confirming) == (0, 1)
    assert broken() == {}


def by_strategies_named(name: str, campaign: Campaign, user_ids: list[int]) -> list[Callable[[], Any]]:
    """A call for each account by that strategy, without whoever asks the partner."""
    return [partial(issuing.STRATEGIES[name], campaign_id=campaign.pk, user_id=id) for id in user_ids]


def ask_while_somebody_changes(campaign: Campaign, asks: Callable[[], Any]) -> Any:
    """The outcome of an asker who read the campaign before a change, and writes after its commit."""
    with holding(CHANGE, campaign.pk) as other:
        outcome = in_background(asks)
        wait_until(lambda: waiting_at(AT_THE_CAMPAIGN) == 1)
        other.commit()
    return outcome.result(timeout=10)


def _outcome(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except FirstcomeError as error:
        return error
