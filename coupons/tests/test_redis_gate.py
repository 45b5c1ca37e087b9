"""The gate of a campaign: admission, requests of crashed processes, and a Redis that loses data.

The races that all strategies share are in `test_issuing_races.py`.
"""

import time
from collections.abc import Iterable
from datetime import timedelta
from functools import partial

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from redis.crc import key_slot

from accounts.tests.clients import client_of
from coupons import gate, issuing, remembered, tasks
from coupons.allocation.outcomes import Issued, PendingConfirmation
from coupons.codes import pool
from coupons.models import Campaign, Confirmation, Coupon
from coupons.redis_keys import key
from coupons.strategies import group_commit, redis_gate
from coupons.tests import outcomes
from coupons.tests.factories import CampaignFactory, accounts, add_codes, campaign_with_strategy, change
from coupons.tests.laws import positions
from coupons.tests.outcomes import issue, issue_calls, raced
from coupons.tests.own_partner import slot_of
from foundation.errors import FirstcomeError, NotFound
from foundation.redis import redis_client
from foundation.tests.factories import AccountFactory, reloaded, set_columns
from foundation.tests.instants import ago, from_now
from foundation.tests.racing import race, race_each, wait_until
from foundation.tests.second_connection import holding_row
from foundation.tests.statements import captured_statements
from foundation.tests.waiting import in_background, waiting_at, within

pytestmark = pytest.mark.django_db(transaction=True)


def gated(**columns) -> Campaign:
    return CampaignFactory(strategy="redis_gate", **columns)


def issue_all(campaign, user_ids: Iterable[int]):
    for user_id in user_ids:
        issue(campaign, user_id)


def refusal(campaign, user_id: int) -> str:
    return outcomes.refusal(lambda: redis_gate.issue(campaign_id=campaign.pk, user_id=user_id))


def counted(campaign) -> tuple[int, int]:
    found = gate.read_counts(redis_client.client(), campaign.pk)
    assert found is not None
    return found.members, found.in_flight


def tickets(campaign) -> dict[int, str]:
    found = redis_client.client().hgetall(key(campaign.pk, gate.IN_FLIGHT))
    return {int(account): ticket.decode() for account, ticket in found.items()}


def members(campaign) -> set[int]:
    return {int(id) for id in redis_client.client().smembers(key(campaign.pk, gate.MEMBERS))}


def test_a_member_is_answered_without_a_transaction():
    campaign, [owner] = gated(), accounts(1)
    code = issue(campaign, owner).coupon.code
    assert counted(campaign) == (1, 0)

    with CaptureQueriesContext(connection) as captured:
        again = redis_gate.issue(campaign_id=campaign.pk, user_id=owner)

    assert isinstance(again, Issued)
    assert (again.coupon.code, again.is_new) == (code, False)
    assert [query["sql"].split()[0] for query in captured] == ["SELECT"]


def test_refusals_of_a_full_campaign_only_read_the_accounts_coupon():
    campaign, [owner, late] = gated(quantity=1), accounts(2)
    issue(campaign, owner)

    with captured_statements() as at_the_gate:
        assert refusal(campaign, late) == "sold_out"
    with pytest.raises(FirstcomeError):
        issue(campaign, late)
    with captured_statements() as once_known, pytest.raises(FirstcomeError):
        issue(campaign, late)

    assert [statement.split()[0] for statement in at_the_gate] == ["SELECT"]
    assert not any("FOR UPDATE" in statement for statement in at_the_gate)
    assert len(once_known) == 1
    assert "coupons_coupon" in once_known[0]


def test_a_campaign_that_is_not_open_refuses_at_the_gate_until_its_times_change():
    campaign, closed, [first, second] = gated(scheduled=True), gated(closed=True), accounts(2)
    assert refusal(campaign, first) == "campaign_not_open"
    assert refusal(closed, first) == "campaign_closed"
    with CaptureQueriesContext(connection) as captured:
        assert refusal(campaign, first) == "campaign_not_open"
    assert counted(campaign) == counted(closed) == (0, 0)
    assert len(captured) == 1

    change(campaign, opens_at=ago(seconds=1))
    assert issue(campaign, first).is_new

    change(campaign, closes_at=ago(milliseconds=1))
    assert refusal(campaign, second) == "campaign_closed"
    assert not issue(campaign, first).is_new


def test_the_place_of_a_request_that_the_database_refuses_is_released():
    campaign, [first, second] = gated(quantity=1), accounts(2)
    issue(gated(), first)
    gate.fill(campaign_id=campaign.pk)
    set_columns(campaign, closes_at=ago(seconds=1))

    assert refusal(campaign, first) == "campaign_closed"
    assert counted(campaign) == (0, 0)

    set_columns(campaign, closes_at=None, version=F("version") + 1)
    remembered.terms_changed(campaign_id=campaign.pk)
    assert issue(campaign, second).is_new


def test_a_write_that_fails_releases_its_place_to_the_next_request():
    campaign, [user_id] = gated(quantity=1), accounts(1)

    with pytest.raises(NotFound):
        issue(campaign, 10**9)

    assert counted(campaign) == (0, 0)
    assert issue(campaign, user_id).is_new


def test_an_account_in_flight_has_one_place_which_its_own_ticket_alone_releases():
    campaign, [user_id] = gated(quantity=5), accounts(1)
    gate.fill(campaign_id=campaign.pk)
    admit = partial(gate.admit, campaign_id=campaign.pk, user_id=user_id)

    old, *repeats = [admit() for _ in range(3)]

    assert [one.says for one in (old, *repeats)] == ["admitted", "passenger", "passenger"]
    assert counted(campaign) == (0, 1)
    assert gate.heal() == 0, "it is not overdue"
    assert list(tickets(campaign)) == [user_id]
    release = partial(gate.release_slots, campaign_id=campaign.pk, tickets={user_id: old.ticket})
    assert release() == 1
    assert admit().says == "admitted"
    assert release() == 0
    assert counted(campaign) == (0, 1)


def test_positions_of_a_batch_follow_the_numbers_of_admission():
    campaign, [first, *others] = gated(), accounts(41)
    gate.fill(campaign_id=campaign.pk)
    batcher = redis_gate._batcher(campaign.pk)

    with holding_row(campaign):
        leader = in_background(lambda: issue(campaign, first))
        wait_until(lambda: waiting_at("%coupons_campaign%FOR UPDATE%") == 1)
        followers = in_background(lambda: race(issue_calls(campaign.pk, others)))
        wait_until(lambda: len(batcher._queue) == len(others))
        admitted = {id: int(ticket.partition(":")[0]) for id, ticket in tickets(campaign).items()}
    leader.result()
    followers.result()

    coupons = Coupon.objects.filter(campaign=campaign).order_by("position")
    assert sorted(admitted.values()) == list(range(1, 42))
    assert list(coupons.values_list("account_id", flat=True)) == sorted(admitted, key=admitted.__getitem__)


def test_the_place_of_a_process_killed_in_flight_is_released():
    """It was admitted, and had committed nothing."""
    campaign, [dead, late] = gated(quantity=1), accounts(2)

    gate.fill(campaign_id=campaign.pk)
    gate.admit(campaign_id=campaign.pk, user_id=dead)
    assert list(tickets(campaign)) == [dead]
    with within(gate.OVERDUE_SECONDS + 5):
        assert refusal(campaign, late) == "sold_out"
        wait_until(lambda: tasks.sweep() > 0)
    assert counted(campaign) == (0, 0)
    assert issue(campaign, late).is_new


def test_the_account_of_a_process_killed_between_commit_and_recording_becomes_a_member():
    campaign, [owner, late] = gated(quantity=1), accounts(2)
    gate.fill(campaign_id=campaign.pk)
    gate.admit(campaign_id=campaign.pk, user_id=owner)
    group_commit.issue(campaign_id=campaign.pk, user_id=owner)
    assert counted(campaign) == (0, 1)

    wait_until(lambda: gate.heal() == 1)

    assert counted(campaign) == (1, 0)
    assert not issue(campaign, owner).is_new
    assert refusal(campaign, late) == "sold_out"


@pytest.mark.parametrize("columns", [{"quantity": 2}, {"quantity": 9, "code_source": "pool", "codes": 2}])
def test_campaigns_that_sold_out_long_ago_are_not_looked_at_until_they_can_issue_again(columns):
    campaign, (*everyone, late) = gated(**columns), accounts(4)
    gated()
    issue_all(campaign, everyone[:2])
    gate.admit(campaign_id=campaign.pk, user_id=everyone[2])
    redis_client.client().hset(key(campaign.pk, gate.IN_FLIGHT), everyone[2], "7:1000")
    Coupon.objects.update(issued_at=F("issued_at") - timedelta(hours=2))

    with captured_statements() as captured:
        assert gate.heal() == 0
        assert list(gate.numbers_in_flight() or ()) == [str(Campaign.objects.latest("pk").pk)]
    assert not any(f"= {campaign.pk} " in statement for statement in captured)

    if campaign.code_source == "pool":
        add_codes(campaign, "THIRD")
    else:
        change(campaign, quantity=3)
    assert gate.heal() == 1
    assert list(tickets(campaign)) == []
    assert issue(campaign, late).is_new


def test_a_ticket_from_the_future_is_resolved_as_well():
    """Another Redis with another clock wrote it; the sweep doesn't wait until that time."""
    campaign, [user_id] = gated(quantity=1), accounts(1)
    gate.fill(campaign_id=campaign.pk)
    tomorrow = int((time.time() + 24 * 3_600) * 1_000)
    redis_client.client().hset(key(campaign.pk, gate.IN_FLIGHT), "1000000000", f"1:{tomorrow}")
    assert refusal(campaign, user_id) == "sold_out"

    assert gate.heal() == 1

    assert issue(campaign, user_id).is_new


def test_a_place_released_too_soon_costs_a_refusal_and_breaks_no_law():
    """A request is admitted in the slot of one that counted as crashed but was only slow."""
    campaign, [slow, quick] = gated(quantity=1), accounts(2)

    with holding_row(campaign):
        first = in_background(lambda: raced(campaign, [slow]))
        wait_until(lambda: waiting_at("%coupons_campaign%FOR UPDATE%") == 1)
        gate.release_slots(campaign_id=campaign.pk, tickets=tickets(campaign))
        second = in_background(lambda: raced(campaign, [quick]))
        wait_until(lambda: list(tickets(campaign)) == [quick])

    assert first.result() + second.result() == {"new": 1, "sold_out": 1}
    assert counted(campaign) == (1, 0)


@pytest.mark.parametrize("strategy", ["redis_gate", "spin_lock", "fair_lock", "code_pool"])
def test_without_redis_existing_coupons_are_returned_and_others_get_503(strategy, own_redis):
    campaign, first, second = campaign_with_strategy(strategy, quantity=2), *AccountFactory.create_batch(2)
    code = issue(campaign, first.pk).coupon.code
    own_redis.stop()

    answer = client_of(second).post("/coupons", {"campaign": campaign.pk})
    again = client_of(first).post("/coupons", {"campaign": campaign.pk})

    assert (answer.status_code, answer.json()["code"], answer["Retry-After"]) == (503, "unavailable", "1")
    assert (again.status_code, again.json()["code"]) == (200, code)
    assert positions(campaign) == [1]
    own_redis.start()
    wait_until(lambda: client_of(second).post("/coupons", {"campaign": campaign.pk}).status_code == 201)
    assert strategy != "redis_gate" or counted(campaign) == (2, 0)


def test_without_redis_a_void_coupon_is_refused_as_void(own_redis):
    campaign, [owner] = gated(quantity=2), accounts(1)
    issuing.void(code=issue(campaign, owner).coupon.code, reason="A mistake.")
    own_redis.stop()

    assert refusal(campaign, owner) == "coupon_void"


def test_redis_stopped_during_a_write_costs_no_account_its_coupon(own_redis):
    campaign, [user_id, late] = gated(quantity=1), accounts(2)

    with holding_row(campaign):
        asked = in_background(lambda: issue(campaign, user_id))
        wait_until(lambda: waiting_at("%coupons_campaign%FOR UPDATE%") == 1)
        own_redis.stop()
    assert asked.result().is_new
    own_redis.start()
    redis_client.reset()

    assert not issue(campaign, user_id).is_new
    assert refusal(campaign, late) == "sold_out"


def test_a_flush_during_a_race_still_issues_exactly_the_quantity_at_the_gate(redis_server):
    campaign, everyone = gated(quantity=50), accounts(120)
    calls = issue_calls(campaign.pk, everyone)
    calls[20::20] = [redis_server.flushdb] * len(calls[20::20])

    race(calls)

    assert raced(campaign, everyone)["sold_out"] == 70
    assert positions(campaign) == list(range(1, 51))


def test_a_gate_without_the_database_admits_twice_after_a_flush(redis_server):
    """The naive twin: every admission counts as a coupon, and slots that Redis loses are issued again."""
    campaign = gated(quantity=3)

    def give(user_ids):
        gate.open(campaign, members=0)
        asked = [gate.admit(campaign_id=campaign.pk, user_id=id) for id in user_ids]
        return sum(one.says == "admitted" for one in asked)

    assert give(range(5)) == 3
    redis_server.flushdb()
    assert give(range(5, 10)) == 3


def test_a_raised_or_lowered_quantity_reaches_the_gate_at_once():
    campaign, everyone = gated(quantity=2), accounts(6)
    issue_all(campaign, everyone[:2])
    assert refusal(campaign, everyone[2]) == "sold_out"

    change(campaign, quantity=4)
    issue_all(campaign, everyone[2:4])
    change(campaign, quantity=6)
    change(campaign, quantity=5)
    issue(campaign, everyone[4])

    assert gate.admit(campaign_id=campaign.pk, user_id=everyone[5]).says == gate.FULL
    assert positions(campaign) == [1, 2, 3, 4, 5]


def test_a_change_that_was_not_published_reaches_the_gate_by_the_sweep():
    campaign, everyone = gated(quantity=1), accounts(2)
    issue(campaign, everyone[0])
    set_columns(campaign, quantity=2, version=F("version") + 1)
    assert refusal(campaign, everyone[1]) == "sold_out"

    assert gate.heal() == 1

    assert redis_gate.issue(campaign_id=campaign.pk, user_id=everyone[1])
    assert gate.heal() == 0


def test_older_terms_that_are_published_late_change_nothing():
    campaign, [user_id] = gated(quantity=2), accounts(1)
    gate.fill(campaign_id=campaign.pk)
    old = reloaded(campaign)
    change(campaign, quantity=1)

    assert not gate.publish_terms(old)

    issue(campaign, user_id)
    assert gate.admit(campaign_id=campaign.pk, user_id=10**9).says == gate.FULL


def test_a_pool_that_ran_out_is_full_until_codes_are_added():
    campaign, everyone = gated(quantity=10, code_source="pool"), accounts(4)
    pool.generate(campaign_id=campaign.pk, count=2)
    issue_all(campaign, everyone[:2])
    assert gate.admit(campaign_id=campaign.pk, user_id=everyone[2]).says == gate.FULL

    pool.generate(campaign_id=campaign.pk, count=1)

    assert issue(campaign, everyone[2]).is_new
    assert refusal(campaign, everyone[3]) == "sold_out"


def test_a_slot_that_is_being_confirmed_counts_until_the_partner_refuses():
    campaign, [first, second] = gated(quantity=1, partner="convenience_store"), accounts(2)
    confirming = slot_of(campaign, first)
    assert refusal(campaign, second) == "sold_out"
    assert slot_of(campaign, first).key == confirming.key
    refused_by_partner(campaign, confirming)
    remembered.slot_released(campaign_id=campaign.pk, user_id=first, code=confirming.code)

    published = slot_of(campaign, second)

    # One that is not published reaches the gate by the sweep.
    refused_by_partner(campaign, published)
    assert refusal(campaign, first) == "sold_out"
    assert gate.heal() == 1
    swept = slot_of(campaign, first)
    # The account itself, which is no longer a member, is admitted again.
    refused_by_partner(campaign, swept)
    assert slot_of(campaign, first).key != swept.key
    assert members(campaign) == {first}


def test_a_flushed_gate_is_filled_with_all_members_while_others_are_issued(redis_server):
    campaign, everyone = gated(quantity=3_000), accounts(2_600)
    race(issue_calls(campaign.pk, everyone[:40]))
    unrecorded = everyone[40:2_500]
    for start in range(0, len(unrecorded), 250):
        # These batches are not recorded in Redis.
        ids = unrecorded[start : start + 250]
        race_each(lambda id: group_commit.issue(campaign_id=campaign.pk, user_id=id), ids)
    redis_server.flushdb()

    race(issue_calls(campaign.pk, everyone[2_500:]))
    issue(campaign, everyone[0])

    assert members(campaign) == set(campaign.coupons.values_list("account_id", flat=True)) == set(everyone)
    assert counted(campaign) == (2_600, 0)


def test_a_gate_that_lost_members_while_it_was_filled_stays_closed():
    campaign, everyone = gated(), accounts(3)
    issue_all(campaign, everyone)
    gate.drop(campaign_id=campaign.pk)
    gate.record_results(campaign, members=everyone[:2], refused={})

    assert not gate.open(campaign, members=3)
    assert gate.admit(campaign_id=campaign.pk, user_id=10**9).says == gate.UNKNOWN


def test_a_redis_that_came_back_with_old_data_is_noticed_by_the_sweep(redis_server):
    campaign, everyone = gated(quantity=3), accounts(5)
    gate.fill(campaign_id=campaign.pk)
    gate.admit(campaign_id=campaign.pk, user_id=everyone[4])
    old = {name: redis_server.dump(name) for name in redis_server.keys("firstcome:{campaign:*")}
    issue_all(campaign, everyone[:2])
    redis_server.flushdb()
    for name, value in old.items():
        redis_server.restore(name, 0, value)

    assert gate.heal() == 1
    assert list(tickets(campaign)) == [everyone[4]]
    wait_until(lambda: gate.heal() == 1)

    assert not issue(campaign, everyone[0]).is_new
    assert issue(campaign, everyone[2]).is_new
    assert counted(campaign) == (3, 0)


def test_an_existing_coupon_is_returned_although_the_gate_lacks_the_member():
    campaign, [owner, other] = gated(quantity=2), accounts(2)
    issue_all(campaign, [owner, other])
    redis_client.client().srem(key(campaign.pk, gate.MEMBERS), owner)
    redis_client.client().sadd(key(campaign.pk, gate.MEMBERS), 10**9)
    assert gate.admit(campaign_id=campaign.pk, user_id=owner).says == gate.FULL

    assert not issue(campaign, owner).is_new


def test_a_gate_is_filled_again_after_the_campaign_had_another_strategy():
    campaign, everyone = gated(quantity=3), accounts(4)
    issue(campaign, everyone[0])
    change(campaign, strategy="group_commit")
    assert gate.read_counts(redis_client.client(), campaign.pk) is None
    group_commit.issue(campaign_id=campaign.pk, user_id=everyone[1])

    change(campaign, strategy="redis_gate")

    assert redis_gate.issue(campaign_id=campaign.pk, user_id=everyone[2])
    assert counted(campaign) == (3, 0)
    assert refusal(campaign, everyone[3]) == "sold_out"


def test_a_quantity_raised_while_the_gate_opens_is_published(monkeypatch):
    campaign, [owner, late] = gated(quantity=1), accounts(2)
    issue(campaign, owner)
    gate.drop(campaign_id=campaign.pk)
    opened = gate.open

    def raised_meanwhile(read, *, members):
        change(campaign, quantity=2)
        return opened(read, members=members)

    monkeypatch.setattr(gate, "open", raised_meanwhile)

    assert redis_gate.issue(campaign_id=campaign.pk, user_id=late).is_new


def test_members_are_kept_for_as_long_as_the_terms(redis_server):
    campaign, [owner] = gated(), accounts(1)
    issue(campaign, owner)
    redis_server.expire(key(campaign.pk, gate.MEMBERS), 30)  # as a day after the last coupon

    gate.heal()

    assert redis_server.ttl(key(campaign.pk, gate.MEMBERS)) > redis_server.ttl(key(campaign.pk, gate.TERMS))


def refused_by_partner(campaign, confirming: PendingConfirmation):
    Confirmation.objects.filter(key=confirming.key).delete()
    set_columns(campaign, confirming=F("confirming") - 1, version=F("version") + 1)


def test_keys_share_a_slot_and_expire_after_the_campaign_has_closed(redis_server):
    campaign, [first, second] = gated(closes_at=from_now(minutes=1)), accounts(2)
    issue(campaign, first)
    gate.admit(campaign_id=campaign.pk, user_id=second)

    names = [name for name in redis_server.keys("firstcome:{campaign:*") if b"gate" in name]

    assert len(names) == 4
    assert len({key_slot(name) for name in names}) == 1
    assert all(3_600 < redis_server.ttl(name) <= 3_720 for name in names)
