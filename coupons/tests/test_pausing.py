"""Pausing a campaign: what each strategy answers meanwhile, what stays, and what the journal has."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.utils import timezone

from coupons import campaigns, issuing
from coupons.allocation.outcomes import Issued, Queued
from coupons.models import Confirmation, Coupon, QueueTicket
from coupons.partners import confirmation
from coupons.queue import stream, tickets, worker
from coupons.tests.factories import (
    TWO_STRATEGIES,
    CampaignFactory,
    accounts,
    campaign_with_strategy,
    change,
    pause,
    resume,
)
from coupons.tests.laws import owners_in_order, positions
from coupons.tests.outcomes import issue
from foundation import journal
from foundation.errors import Invalid, Rejected, Unavailable
from foundation.journal import ActorContext
from foundation.models import JournalLine
from foundation.redis import redis_client
from foundation.tests.case_tables import in_one_test
from foundation.tests.factories import set_columns
from foundation.tests.instants import ago

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("in_the_lab")]
by_two_strategies = pytest.mark.parametrize("strategy", TWO_STRATEGIES)
WHY = "The price is wrong."


def ask(campaign, user_id: int):
    return issuing.issue(campaign_id=campaign.pk, user_id=user_id)


def refused(asks: Callable[[], Any]) -> str:
    with pytest.raises(Rejected) as refusal:
        asks()
    assert refusal.value.retry_after is None or refusal.value.code != "campaign_paused"
    return refusal.value.code


def lines() -> list[JournalLine]:
    return list(JournalLine.objects.filter(what__in=["campaign.paused", "campaign.resumed"]).order_by("id"))


@by_two_strategies
def test_what_is_remembered_of_a_sold_out_campaign_hides_neither_its_pause_nor_its_end(strategy):
    campaign, [owner, late] = campaign_with_strategy(strategy, quantity=1), accounts(2)
    issue(campaign, owner)
    asks = partial(ask, campaign, late)
    # From the second refusal on the process remembers that the campaign is sold out.
    assert [refused(asks), refused(asks)] == ["sold_out", "sold_out"]

    pause(campaign)
    assert [refused(asks), refused(asks)] == ["campaign_paused", "campaign_paused"]
    resume(campaign)
    assert [refused(asks), refused(asks)] == ["sold_out", "sold_out"]
    pause(campaign)
    change(campaign, quantity=2)
    assert refused(asks) == "campaign_paused"
    resume(campaign)

    assert issue(campaign, late).coupon.account_id == late


@pytest.mark.parametrize("strategy", ["group_commit", "redis_gate", "queue"])
def test_a_pause_decides_while_redis_is_away_or_emptied(strategy, own_redis):
    """Pausing needs no Redis; without it a campaign issues no more than with it."""
    campaign, everyone = campaign_with_strategy(strategy, quantity=10), accounts(4)
    issue(campaign, everyone[0])
    own_redis.kill()
    pause(campaign)

    with pytest.raises((Rejected, Unavailable)) as refusal:
        ask(campaign, everyone[1])
    assert refusal.value.code in {"campaign_paused", "unavailable"}
    own_redis.start()
    redis_client.reset()
    assert refused(partial(ask, campaign, everyone[2])) == "campaign_paused"
    resume(campaign)
    redis_client.client().flushall()

    assert issue(campaign, everyone[3]).coupon.account_id == everyone[3]
    assert Coupon.objects.count() == 2


@in_one_test(
    ("columns", "status", "code"),
    [
        ({}, "paused", "campaign_paused"),
        ({"scheduled": True}, "paused", "campaign_paused"),
        ({"quantity": 1, "issued": 1}, "paused", "campaign_paused"),
        ({"closed": True}, "closed", "campaign_closed"),
    ],
)
def test_a_campaign_is_paused_unless_it_is_closed(columns, status, code, unlawful):
    campaign, [user_id] = CampaignFactory(**columns), accounts(1)

    assert pause(campaign).status_at(timezone.now()) == status

    assert refused(partial(ask, campaign, user_id)) == code
    assert campaigns.running().count() == 0


def test_a_second_pause_or_resume_changes_nothing_and_is_no_second_line():
    campaign = CampaignFactory()
    with journal.acting(ActorContext("staff", 7, "ada")):
        paused = [pause(campaign) for _ in range(3)]
        resumed = [resume(campaign) for _ in range(3)]

    assert {one.paused_at for one in paused} == {paused[0].paused_at}
    assert paused[0].paused_at is not None
    assert [one.paused_at for one in resumed] == [None] * 3
    first, second = lines()
    assert (first.what, second.what) == ("campaign.paused", "campaign.resumed")
    assert {(line.subject, line.actor, line.actor_id, line.actor_name) for line in (first, second)} == {
        (f"campaign {campaign.pk}", "staff", 7, "ada")
    }
    assert (first.detail, second.detail) == (WHY, "The price is right.")
    assert first.before == {"paused_at": None}
    assert first.after
    assert (first.after["reason"], bool(first.after["paused_at"])) == (WHY, True)
    assert second.before
    assert second.before["paused_at"] == first.after["paused_at"]


def test_a_reason_is_required_and_kept_whole():
    campaign, long = CampaignFactory(), "아" * 500
    for reason, code in (("", "required"), (" \n", "required"), (f"{long}!", "too_long")):
        for is_paused in (True, False):
            with pytest.raises(Invalid) as wrong:
                campaigns.set_paused(campaign_id=campaign.pk, is_paused=is_paused, reason=reason)
            [fault] = wrong.value.extra["errors"]
            assert (fault["field"], fault["code"]) == ("reason", code)
    assert lines() == []

    campaigns.set_paused(campaign_id=campaign.pk, is_paused=True, reason=f" {long} ")

    [line] = lines()
    assert line.after
    assert (line.after["reason"], line.detail) == (long, long[:255])


def test_a_slot_taken_before_the_pause_becomes_a_coupon_and_no_other_slot_is_taken():
    campaign, [first, late] = CampaignFactory(partner="convenience_store"), accounts(2)
    slot = issuing.STRATEGIES["group_commit"](campaign_id=campaign.pk, user_id=first)

    pause(campaign)

    assert not isinstance(slot, Issued | Queued)
    assert confirmation.confirm(slot).is_new
    assert refused(partial(ask, campaign, late)) == "campaign_paused"
    assert not Confirmation.objects.exists()
    assert positions(campaign) == [1]


class TestQueue:
    """Tickets of a paused campaign."""

    def test_tickets_wait_and_are_settled_in_order_after_the_pause(self):
        campaign, everyone = CampaignFactory(strategy="queue", quantity=3), accounts(5)
        queued = [ask(campaign, one) for one in everyone]

        pause(campaign)

        assert worker.serve_once() == 0
        again = [ask(campaign, one) for one in everyone]
        assert [one.ticket.pk for one in again] == [one.ticket.pk for one in queued]
        assert {one.ticket.status for one in again} == {"waiting"}
        assert [one.ahead for one in again] == [0, 1, 2, 3, 4]
        assert refused(partial(ask, campaign, *accounts(1))) == "campaign_paused"
        assert QueueTicket.objects.count() == 5

        resume(campaign)
        assert worker.serve_once() == 5
        settled = [tickets.READER.submit(one.ticket.pk) for one in queued]
        assert [one.ticket.status for one in settled] == ["issued"] * 3 + ["sold_out"] * 2
        assert [one.ticket.coupon and one.ticket.coupon.position for one in settled] == [1, 2, 3, None, None]
        assert {one.ahead for one in settled} == {0}
        assert owners_in_order() == everyone[:3]

    def test_an_issuer_that_read_the_tickets_before_the_pause_leaves_them_in_place(self):
        campaign, everyone = CampaignFactory(strategy="queue", quantity=9), accounts(3)
        queued = [ask(campaign, one) for one in everyone]
        entries = stream.read(campaign.pk, issuer="one", most=10)
        pause(campaign)

        staying = worker.settle_tickets(campaign_id=campaign.pk, positions=entries)

        assert staying == {one.ticket.pk for one in queued}
        stream.release(campaign.pk, issuer="one")
        resume(campaign)
        assert worker.serve_once() == 3
        assert owners_in_order() == everyone

    def test_other_queues_go_on(self):
        paused, other = CampaignFactory.create_batch(2, strategy="queue")
        for campaign in (paused, other):
            for one in accounts(3):
                ask(campaign, one)
        assert paused.pk in worker._batch_sizes()
        pause(paused)

        assert paused.pk not in worker._batch_sizes(), "it is not read again and again"
        assert worker.serve_once() == 3
        assert Coupon.objects.filter(campaign=other).count() == 3
        assert not Coupon.objects.filter(campaign=paused).exists()
        assert tickets.longest_wait_seconds() == {}
        assert tickets.count_waiting() == {str(paused.pk): 3}

    def test_tickets_fail_once_the_paused_campaign_closes(self):
        campaign = CampaignFactory(strategy="queue")
        ask(campaign, *accounts(1))
        pause(campaign)
        set_columns(campaign, closes_at=ago(seconds=1))

        worker.serve_once()

        assert QueueTicket.objects.get().status == "failed"

    def test_tickets_of_a_queue_that_redis_lost_during_the_pause_keep_their_order(self, own_redis):
        campaign, everyone = CampaignFactory(strategy="queue"), accounts(4)
        for one in everyone:
            ask(campaign, one)
        pause(campaign)
        redis_client.client().flushall()
        assert worker.serve_once() == 0
        resume(campaign)

        assert worker.serve_once() == 4

        assert owners_in_order() == everyone

    def test_a_ticket_whose_account_has_its_coupon_by_now_is_settled(self):
        """Its partner has confirmed the slot, and the sweep has written the coupon."""
        campaign, [owner, late] = CampaignFactory(strategy="queue"), accounts(2)
        for one in (owner, late):
            ask(campaign, one)
        issuing.STRATEGIES["group_commit"](campaign_id=campaign.pk, user_id=owner)
        entries = stream.read(campaign.pk, issuer="one", most=10)
        pause(campaign)

        worker.settle_tickets(campaign_id=campaign.pk, positions=entries)

        statuses = dict(QueueTicket.objects.values_list("account_id", "status"))
        assert statuses == {owner: "issued", late: "waiting"}
