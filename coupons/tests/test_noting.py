"""The journal of coupons: each issued coupon once, with the actor of its request."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from accounts.tests.clients import client_of
from coupons import holding, issuing, rows
from coupons.models import Coupon
from coupons.strategies import group_commit
from coupons.tests.factories import CampaignFactory, accounts, coupon_of, lock_by_code, order_ids
from coupons.tests.outcomes import issue, issue_calls
from events.models import FeedEvent
from foundation import journal
from foundation.db import transactions
from foundation.journal import Actor, ActorContext
from foundation.models import JournalLine
from foundation.tests.factories import AccountFactory, SuperuserFactory
from foundation.tests.journal_lines import journal_lines
from foundation.tests.racing import race, race_each, wait_until
from foundation.tests.second_connection import holding_row

pytestmark = pytest.mark.django_db(transaction=True)


def lines(what="coupon.issued") -> list[JournalLine]:
    return journal_lines(what)


def in_one_batch(campaign, calls: Sequence[Any]) -> list[Any]:
    """The outcomes of calls that wait behind a first one, and are decided as one batch after it."""
    batcher = group_commit.batcher(campaign.pk)
    with ThreadPoolExecutor(2) as pool:
        with holding_row(campaign):
            first = pool.submit(race, calls[:1])
            wait_until(lambda: batcher._lead is not None and not batcher._queue)
            others = pool.submit(race, calls[1:])
            wait_until(lambda: len(batcher._queue) == len(calls) - 1)
        return [*first.result(), *others.result()]


def test_a_coupon_is_recorded_and_delivered_as_an_event():
    campaign, [account_id] = CampaignFactory(), accounts(1)
    coupon = issue(campaign, account_id).coupon
    issue(campaign, account_id)

    [line] = lines()
    assert (line.subject, line.at) == (f"coupon {coupon.code}", coupon.issued_at)
    assert FeedEvent.objects.get(event_id=line.event_id).type == "coupon.issued"
    told = {"coupon": coupon.code, "campaign": campaign.pk, "account": account_id}
    assert line.after == told | {"position": 1, "status": "issued"}


@pytest.mark.parametrize("strategy", ["group_commit", "pessimistic", "unsafe"])
def test_with_every_strategy_each_coupon_has_a_line_with_its_actor(strategy, settings, unlawful):
    settings.LAB = True
    campaign = CampaignFactory(strategy=strategy, quantity=20)

    def ask(account_id):
        with journal.acting(ActorContext(Actor.ACCOUNT, account_id, request_id=f"r-{account_id}")):
            return issue(campaign, account_id)

    race_each(ask, accounts(30))

    coupons = Coupon.objects.values_list("code", "account_id")
    assert {(line.after["coupon"], line.actor_id) for line in lines() if line.after} == set(coupons)
    assert len(lines()) == len(coupons)
    assert all(line.request_id == f"r-{line.actor_id}" for line in lines())


def test_each_request_of_a_batch_is_recorded_with_its_own_actor_and_id():
    campaign = CampaignFactory(quantity=100)
    buyers, operator = AccountFactory.create_batch(20), SuperuserFactory()
    [gifted] = accounts(1)

    def ask(request, **body):
        name = {"X-Request-ID": f"request-of-{request.pk}"}
        return client_of(request).post("/coupons", {"campaign": campaign.pk, **body}, **name)

    calls = [*(partial(ask, buyer) for buyer in buyers), partial(ask, operator, user=gifted)]
    outcomes = in_one_batch(campaign, calls)

    assert [outcome.status_code for outcome in outcomes] == [201] * 21
    assert len({line.at for line in lines()}) == 2, "the first alone, all others by one leader"
    for line in lines():
        assert line.after
        asked_by = operator.pk if line.after["account"] == gifted else line.after["account"]
        assert (line.actor_id, line.request_id) == (asked_by, f"request-of-{asked_by}")
        assert line.actor == ("staff" if asked_by == operator.pk else "account")


def test_a_batch_that_falls_back_to_singles_records_each_coupon_once():
    """A missing account makes the batch fail, which is then decided one request at a time."""
    campaign = CampaignFactory(quantity=100)

    outcomes = in_one_batch(campaign, issue_calls(campaign.pk, [*accounts(6), 10**9, *accounts(6)]))

    assert sum(isinstance(outcome, issuing.Issued) for outcome in outcomes) == 12
    said = sorted(line.after["coupon"] for line in lines() if line.after)
    assert said == sorted(Coupon.objects.values_list("code", flat=True))
    assert sorted(line.after["position"] for line in lines() if line.after) == list(range(1, 13))


def test_a_coupons_changes_by_orders_are_recorded_with_its_status_before():
    first, second = order_ids(2)
    coupon = coupon_of(CampaignFactory())
    buyer = ActorContext(Actor.ACCOUNT, coupon.account_id, request_id="r-1")

    def hold(order_id):
        held = lock_by_code([coupon.code])[coupon.code]
        holding.mark_held(held, order_id=order_id, by=buyer)
        rows.hold({held: order_id})

    transactions.run(partial(hold, first), transactions.KEYED)
    transactions.run(lambda: holding.release([first]), transactions.KEYED)
    transactions.run(lambda: holding.release([first]), transactions.KEYED)
    transactions.run(partial(hold, second), transactions.KEYED)
    transactions.run(lambda: holding.redeem([second]), transactions.KEYED)
    transactions.run(lambda: holding.reinstate([second], now=coupon.issued_at), transactions.KEYED)

    noted = JournalLine.objects.exclude(what="coupon.issued").order_by("id")
    assert [(line.what, line.order_id, line.before, line.after) for line in noted] == [
        ("coupon.held", first, {"status": "issued"}, {"status": "held"}),
        ("coupon.given_back", first, {"status": "held"}, {"status": "issued"}),
        ("coupon.held", second, {"status": "issued"}, {"status": "held"}),
        ("coupon.redeemed", second, {"status": "held"}, {"status": "redeemed"}),
        ("coupon.given_back", second, {"status": "redeemed"}, {"status": "issued"}),
    ]
    assert {line.request_id for line in lines("coupon.held")} == {"r-1"}
    assert all(line.is_internal for line in noted)
