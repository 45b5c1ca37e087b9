"""The gate of a campaign: who is let through, what becomes of those who die, and a Redis that forgets.

The races that all strategies run are in `test_issuing_races.py`.
"""

import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import timedelta
from subprocess import Popen
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from redis.crc import key_slot

from coupons import campaigns, maintenance, pool, reopening
from coupons.allocation.writes import Issued, PendingConfirmation
from coupons.gate import filling, gate, healing
from coupons.issuing import issuing
from coupons.issuing.strategies import group_commit, redis_gate
from coupons.models import Campaign, Confirmation, Coupon
from coupons.tests.factories import CampaignFactory, accounts
from coupons.tests.laws import broken, positions
from coupons.tests.outcomes import asking, told
from shop.errors import FirstcomeError, NotFound, Unavailable
from shop.observability import gauges
from shop.redis import redis_client
from shop.tests.clients import client_of
from shop.tests.factories import AccountFactory
from shop.tests.outages import OwnRedis, own_redis
from shop.tests.racing import race, wait_until
from shop.tests.second_connection import holding
from shop.tests.second_process import another_process
from shop.tests.statements import captured_statements
from shop.tests.waiting import in_background, waiting_at

__all__ = ["own_redis"]
pytestmark = pytest.mark.django_db(transaction=True)

KEEP = "SELECT id FROM coupons_campaign WHERE id = %s FOR UPDATE"
ASKER = """
from coupons.issuing import issuing
print("ready", flush=True)
issuing.issue(campaign_id=int(sys.argv[1]), user_id=int(sys.argv[2]))
"""


def gated(**columns: Any) -> Campaign:
    return CampaignFactory.create(strategy="redis_gate", **columns)


def issue(campaign: Campaign, user_id: int) -> Issued:
    return issuing.issue(campaign_id=campaign.pk, user_id=user_id)


def issue_all(campaign: Campaign, user_ids: Iterable[int]) -> None:
    for user_id in user_ids:
        issue(campaign, user_id)


def refusal(campaign: Campaign, user_id: int) -> str:
    """The code that the gate, or the database behind it, refuses the account with."""
    with pytest.raises(FirstcomeError) as refused:
        redis_gate.issue(campaign_id=campaign.pk, user_id=user_id)
    return refused.value.code


def counted(campaign: Campaign) -> tuple[int, int]:
    """How many members the gate counts, and how many are in flight."""
    found = gate.read_counts(redis_client.client(), campaign.pk)
    assert found is not None
    return found.members, found.in_flight


def tickets(campaign: Campaign) -> dict[int, str]:
    return dict(gate.in_flight(redis_client.client(), campaign.pk))


def members(campaign: Campaign) -> set[int]:
    return {int(id) for id in redis_client.client().smembers(gate._members(campaign.pk))}


def owners(campaign: Campaign) -> set[int]:
    return set(Coupon.objects.filter(campaign=campaign).values_list("account_id", flat=True))


def asker_elsewhere(campaign: Campaign, user_id: int) -> "AbstractContextManager[Popen[str]]":
    return another_process(ASKER, str(campaign.pk), str(user_id))


def test_whoever_is_admitted_is_a_member_once_it_is_committed() -> None:
    campaign, [first, second] = gated(quantity=2), accounts(2)

    assert issue(campaign, first).is_new
    assert counted(campaign) == (1, 0)
    assert not issue(campaign, first).is_new
    assert issue(campaign, second).is_new
    assert counted(campaign) == (2, 0)


def test_a_member_is_answered_without_a_transaction() -> None:
    campaign, [owner] = gated(), accounts(1)
    code = issue(campaign, owner).coupon.code

    with CaptureQueriesContext(connection) as captured:
        again = redis_gate.issue(campaign_id=campaign.pk, user_id=owner)

    assert isinstance(again, Issued)
    assert (again.coupon.code, again.is_new) == (code, False)
    assert [query["sql"].split()[0] for query in captured] == ["SELECT", "SELECT"]


def test_refusals_of_a_full_campaign_only_look_whether_the_account_has_its_coupon() -> None:
    campaign, [owner, late] = gated(quantity=1), accounts(2)
    issue(campaign, owner)

    with captured_statements() as at_the_gate:
        assert refusal(campaign, late) == "sold_out"
    with pytest.raises(FirstcomeError):
        issue(campaign, late)
    with captured_statements() as once_known, pytest.raises(FirstcomeError):
        issue(campaign, late)

    assert [statement.split()[0] for statement in at_the_gate] == ["SELECT", "SELECT"]
    assert not any("FOR UPDATE" in statement for statement in at_the_gate)
    assert len(once_known) == 1
    assert "coupons_coupon" in once_known[0]


def test_a_campaign_that_is_not_open_refuses_at_the_gate_and_takes_no_place() -> None:
    campaign, closed, [asker] = gated(scheduled=True), gated(closed=True), accounts(1)

    assert refusal(campaign, asker) == "campaign_not_open"
    assert refusal(closed, asker) == "campaign_closed"
    with CaptureQueriesContext(connection) as captured:
        assert refusal(campaign, asker) == "campaign_not_open"

    assert counted(campaign) == counted(closed) == (0, 0)
    assert len(captured) == 2


def test_times_that_change_reach_the_gate_at_once() -> None:
    campaign, [first, second] = gated(scheduled=True), accounts(2)
    assert refusal(campaign, first) == "campaign_not_open"

    campaigns.change(campaign_id=campaign.pk, opens_at=timezone.now() - timedelta(seconds=1))
    assert issue(campaign, first).is_new

    campaigns.change(campaign_id=campaign.pk, closes_at=timezone.now() - timedelta(milliseconds=1))
    assert refusal(campaign, second) == "campaign_closed"
    assert not issue(campaign, first).is_new


def test_what_the_database_refuses_is_given_back() -> None:
    campaign, [first, second] = gated(quantity=1), accounts(2)
    issue(gated(), first)
    filling.fill(campaign_id=campaign.pk)
    Campaign.objects.filter(pk=campaign.pk).update(closes_at=timezone.now() - timedelta(seconds=1))

    assert refusal(campaign, first) == "campaign_closed"
    assert counted(campaign) == (0, 0)

    Campaign.objects.filter(pk=campaign.pk).update(closes_at=None, version=F("version") + 1)
    reopening.terms_changed(campaign_id=campaign.pk)
    assert issue(campaign, second).is_new


def test_a_write_that_fails_gives_its_place_to_the_next_asker() -> None:
    campaign, [asker] = gated(quantity=1), accounts(1)

    with pytest.raises(NotFound):
        issue(campaign, 10**9)

    assert counted(campaign) == (0, 0)
    assert issue(campaign, asker).is_new


def test_a_place_is_given_back_by_its_own_ticket_only() -> None:
    campaign, [asker] = gated(quantity=1), accounts(1)
    filling.fill(campaign_id=campaign.pk)
    old = gate.admit(campaign_id=campaign.pk, user_id=asker)
    gate.release_places(campaign_id=campaign.pk, tickets={asker: old.ticket})
    gate.admit(campaign_id=campaign.pk, user_id=asker)

    assert gate.release_places(campaign_id=campaign.pk, tickets={asker: old.ticket}) == 0
    assert counted(campaign) == (0, 1)


def test_an_account_that_asks_again_while_it_is_in_flight_takes_one_place() -> None:
    campaign, [asker] = gated(quantity=5), accounts(1)
    filling.fill(campaign_id=campaign.pk)

    says = [gate.admit(campaign_id=campaign.pk, user_id=asker).says for _ in range(3)]

    assert says == [gate.ADMITTED, gate.ALREADY_IN_FLIGHT, gate.ALREADY_IN_FLIGHT]
    assert counted(campaign) == (0, 1)


def test_positions_of_a_batch_follow_the_numbers_of_admission() -> None:
    campaign, [first, *others] = gated(), accounts(41)
    filling.fill(campaign_id=campaign.pk)
    batcher = redis_gate._batcher(campaign.pk)

    with holding(KEEP, campaign.pk):
        leader = in_background(lambda: issue(campaign, first))
        wait_until(lambda: waiting_at("%coupons_campaign%FOR UPDATE%") == 1)
        followers = in_background(lambda: race(asking(campaign.pk, others)))
        wait_until(lambda: len(batcher._queue) == len(others))
        admitted = {id: int(ticket.partition(":")[0]) for id, ticket in tickets(campaign).items()}
    leader.result()
    followers.result()

    coupons = Coupon.objects.filter(campaign=campaign).order_by("position")
    assert sorted(admitted.values()) == list(range(1, 42))
    assert list(coupons.values_list("account_id", flat=True)) == sorted(admitted, key=admitted.__getitem__)


def test_a_process_killed_in_flight_gives_its_place_back() -> None:
    campaign, [dead, late] = gated(quantity=1), accounts(2)

    with holding(KEEP, campaign.pk), asker_elsewhere(campaign, dead) as process:
        wait_until(lambda: waiting_at("%coupons_campaign%FOR UPDATE%") == 1)
        process.kill()
        process.wait()
        assert list(tickets(campaign)) == [dead]
    began = time.monotonic()
    assert refusal(campaign, late) == "sold_out"
    wait_until(lambda: maintenance.sweep() > 0)

    assert time.monotonic() - began < healing.OVERDUE_SECONDS + 5
    assert counted(campaign) == (0, 0)
    assert issue(campaign, late).is_new
    assert broken() == {}


def test_a_process_that_died_between_its_commit_and_the_news_of_it_has_left_a_member() -> None:
    campaign, [owner, late] = gated(quantity=1), accounts(2)
    filling.fill(campaign_id=campaign.pk)
    gate.admit(campaign_id=campaign.pk, user_id=owner)
    group_commit.issue(campaign_id=campaign.pk, user_id=owner)
    assert counted(campaign) == (0, 1)

    wait_until(lambda: healing.heal() == 1)

    assert counted(campaign) == (1, 0)
    assert not issue(campaign, owner).is_new
    assert refusal(campaign, late) == "sold_out"


def test_whoever_is_in_flight_and_not_late_is_left_alone() -> None:
    campaign, [asker] = gated(), accounts(1)
    filling.fill(campaign_id=campaign.pk)
    gate.admit(campaign_id=campaign.pk, user_id=asker)

    assert healing.heal() == 0
    assert list(tickets(campaign)) == [asker]


def test_a_ticket_from_the_future_is_settled_as_well() -> None:
    """Another Redis with another clock wrote it; nobody waits until that time has come."""
    campaign, [asker] = gated(quantity=1), accounts(1)
    filling.fill(campaign_id=campaign.pk)
    tomorrow = int((time.time() + 24 * 3_600) * 1_000)
    redis_client.client().hset(gate._in_flight(campaign.pk), "1000000000", f"1:{tomorrow}")
    assert refusal(campaign, asker) == "sold_out"

    assert healing.heal() == 1

    assert issue(campaign, asker).is_new


def test_one_given_back_too_soon_costs_a_refusal_and_no_law() -> None:
    """Somebody is let through in the place of one who was taken for dead, and was not."""
    campaign, [slow, quick] = gated(quantity=1), accounts(2)

    with holding(KEEP, campaign.pk):
        first = in_background(lambda: race(asking(campaign.pk, [slow])))
        wait_until(lambda: waiting_at("%coupons_campaign%FOR UPDATE%") == 1)
        gate.release_places(campaign_id=campaign.pk, tickets=tickets(campaign))
        second = in_background(lambda: race(asking(campaign.pk, [quick])))
        wait_until(lambda: list(tickets(campaign)) == [quick])

    assert told([*first.result(), *second.result()]) == {"new": 1, "sold_out": 1}
    assert counted(campaign) == (1, 0)
    assert broken() == {}


def test_without_redis_who_has_a_coupon_gets_it_and_others_are_told_503(own_redis: OwnRedis) -> None:
    campaign, first, second = gated(quantity=2), AccountFactory.create(), AccountFactory.create()
    assert issue(campaign, first.pk).is_new
    own_redis.stop()

    answer = client_of(second).post("/coupons", {"campaign": campaign.pk})
    assert client_of(first).post("/coupons", {"campaign": campaign.pk}).status_code == 200

    assert (answer.status_code, answer.json()["code"], answer["Retry-After"]) == (503, "unavailable", "1")
    assert positions(campaign) == [1]
    own_redis.start()
    wait_until(lambda: client_of(second).post("/coupons", {"campaign": campaign.pk}).status_code == 201)
    assert counted(campaign) == (2, 0)


def test_redis_that_goes_while_a_write_is_under_way_costs_nobody_their_coupon(own_redis: OwnRedis) -> None:
    campaign, [asker, late] = gated(quantity=1), accounts(2)

    with holding(KEEP, campaign.pk):
        asked = in_background(lambda: issue(campaign, asker))
        wait_until(lambda: waiting_at("%coupons_campaign%FOR UPDATE%") == 1)
        own_redis.stop()
    assert asked.result().is_new
    own_redis.start()
    redis_client.reset()

    assert not issue(campaign, asker).is_new
    assert refusal(campaign, late) == "sold_out"
    assert broken() == {}


def test_flushed_in_the_middle_of_a_race_it_still_gives_exactly_what_there_is(redis_server: Any) -> None:
    campaign, everyone = gated(quantity=50), accounts(120)
    calls: list[Any] = asking(campaign.pk, everyone)
    calls[20::20] = [redis_server.flushdb] * len(calls[20::20])

    race(calls)
    told_again = told(race(asking(campaign.pk, everyone)))

    assert told_again["sold_out"] == 70
    assert positions(campaign) == list(range(1, 51))
    assert broken() == {}


def test_a_gate_that_decides_alone_gives_twice_after_it_was_flushed(redis_server: Any) -> None:
    """The naive twin: whoever is admitted has it, and what Redis forgets is given again."""
    campaign = gated(quantity=3)

    def give(user_ids: Iterable[int]) -> int:
        gate.open(campaign, members=0)
        asked = [gate.admit(campaign_id=campaign.pk, user_id=id) for id in user_ids]
        return sum(one.says == gate.ADMITTED for one in asked)

    assert give(range(5)) == 3
    redis_server.flushdb()
    assert give(range(5, 10)) == 3


def test_a_raised_quantity_is_there_at_once_and_a_lowered_one_too() -> None:
    campaign, everyone = gated(quantity=2), accounts(6)
    issue_all(campaign, everyone[:2])
    assert refusal(campaign, everyone[2]) == "sold_out"

    campaigns.change(campaign_id=campaign.pk, quantity=4)
    issue_all(campaign, everyone[2:4])
    campaigns.change(campaign_id=campaign.pk, quantity=6)
    campaigns.change(campaign_id=campaign.pk, quantity=5)
    issue(campaign, everyone[4])

    assert gate.admit(campaign_id=campaign.pk, user_id=everyone[5]).says == gate.FULL
    assert positions(campaign) == [1, 2, 3, 4, 5]


def test_a_change_that_nobody_told_the_gate_reaches_it_by_the_sweep() -> None:
    campaign, everyone = gated(quantity=1), accounts(2)
    issue(campaign, everyone[0])
    Campaign.objects.filter(pk=campaign.pk).update(quantity=2, version=F("version") + 1)
    assert refusal(campaign, everyone[1]) == "sold_out"

    assert healing.heal() == 1

    assert redis_gate.issue(campaign_id=campaign.pk, user_id=everyone[1])
    assert healing.heal() == 0


def test_news_that_come_too_late_change_nothing() -> None:
    campaign, [asker] = gated(quantity=2), accounts(1)
    filling.fill(campaign_id=campaign.pk)
    old = Campaign.objects.get(pk=campaign.pk)
    campaigns.change(campaign_id=campaign.pk, quantity=1)

    assert not gate.publish_terms(old)

    issue(campaign, asker)
    assert gate.admit(campaign_id=campaign.pk, user_id=10**9).says == gate.FULL


def test_a_pool_that_ran_out_is_full_until_codes_are_added() -> None:
    campaign, everyone = gated(quantity=10, code_source="pool"), accounts(4)
    pool.generate(campaign_id=campaign.pk, count=2)
    issue_all(campaign, everyone[:2])
    assert gate.admit(campaign_id=campaign.pk, user_id=everyone[2]).says == gate.FULL

    pool.generate(campaign_id=campaign.pk, count=1)

    assert issue(campaign, everyone[2]).is_new
    assert refusal(campaign, everyone[3]) == "sold_out"
    assert broken() == {}


def test_a_slot_that_is_being_confirmed_counts_until_the_partner_refuses() -> None:
    campaign, [first, second] = gated(quantity=1, partner="convenience_store"), accounts(2)
    confirming = redis_gate.issue(campaign_id=campaign.pk, user_id=first)
    assert isinstance(confirming, PendingConfirmation)
    assert refusal(campaign, second) == "sold_out"
    again = redis_gate.issue(campaign_id=campaign.pk, user_id=first)
    assert isinstance(again, PendingConfirmation)
    assert again.key == confirming.key
    refused_by_partner(campaign, confirming)

    reopening.slot_released(campaign_id=campaign.pk, user_id=first, code=confirming.code)

    assert isinstance(redis_gate.issue(campaign_id=campaign.pk, user_id=second), PendingConfirmation)


def test_a_slot_that_came_back_unheard_reaches_the_gate_by_the_sweep() -> None:
    campaign, [first, second] = gated(quantity=1, partner="convenience_store"), accounts(2)
    confirming = redis_gate.issue(campaign_id=campaign.pk, user_id=first)
    assert isinstance(confirming, PendingConfirmation)
    refused_by_partner(campaign, confirming)
    assert refusal(campaign, second) == "sold_out"

    assert healing.heal() == 1

    assert isinstance(redis_gate.issue(campaign_id=campaign.pk, user_id=second), PendingConfirmation)


def test_an_account_that_is_no_member_any_more_is_let_through_to_ask_again() -> None:
    campaign, [asker] = gated(quantity=1, partner="convenience_store"), accounts(1)
    confirming = redis_gate.issue(campaign_id=campaign.pk, user_id=asker)
    assert isinstance(confirming, PendingConfirmation)
    refused_by_partner(campaign, confirming)

    again = redis_gate.issue(campaign_id=campaign.pk, user_id=asker)

    assert isinstance(again, PendingConfirmation)
    assert again.key != confirming.key
    assert members(campaign) == {asker}


def test_a_flushed_gate_is_filled_with_all_members_while_others_are_issued(redis_server: Any) -> None:
    campaign, everyone = gated(quantity=3_000), accounts(2_600)
    race(asking(campaign.pk, everyone[:40]))
    issued_before(campaign, everyone[40:2_500])
    redis_server.flushdb()

    race(asking(campaign.pk, everyone[2_500:]))
    issue(campaign, everyone[0])

    assert members(campaign) == owners(campaign) == set(everyone)
    assert counted(campaign) == (2_600, 0)
    assert broken() == {}


def test_a_gate_that_lost_members_while_it_was_filled_stays_shut() -> None:
    campaign, everyone = gated(), accounts(3)
    issue_all(campaign, everyone)
    gate.drop(campaign_id=campaign.pk)
    gate.add_members(campaign, everyone[:2])

    assert not gate.open(campaign, members=3)
    assert gate.admit(campaign_id=campaign.pk, user_id=10**9).says == gate.UNKNOWN


def test_a_redis_that_came_back_with_old_data_is_noticed_by_the_sweep(redis_server: Any) -> None:
    campaign, everyone = gated(quantity=3), accounts(5)
    filling.fill(campaign_id=campaign.pk)
    gate.admit(campaign_id=campaign.pk, user_id=everyone[4])
    old = {name: redis_server.dump(name) for name in redis_server.keys("firstcome:{campaign:*")}
    issue_all(campaign, everyone[:2])
    redis_server.flushdb()
    for name, value in old.items():
        redis_server.restore(name, 0, value)

    assert healing.heal() == 1
    assert list(tickets(campaign)) == [everyone[4]]
    wait_until(lambda: healing.heal() == 1)

    assert not issue(campaign, everyone[0]).is_new
    assert issue(campaign, everyone[2]).is_new
    assert counted(campaign) == (3, 0)
    assert broken() == {}


def test_whoever_has_a_coupon_gets_it_from_a_gate_that_does_not_know_them() -> None:
    campaign, [owner, other] = gated(quantity=2), accounts(2)
    issue_all(campaign, [owner, other])
    redis_client.client().srem(gate._members(campaign.pk), owner)
    redis_client.client().sadd(gate._members(campaign.pk), 10**9)
    assert gate.admit(campaign_id=campaign.pk, user_id=owner).says == gate.FULL

    assert not issue(campaign, owner).is_new


def test_a_campaign_that_goes_another_way_meanwhile_finds_its_gate_filled_anew() -> None:
    campaign, everyone = gated(quantity=3), accounts(4)
    issue(campaign, everyone[0])
    campaigns.change(campaign_id=campaign.pk, strategy="group_commit")
    assert gate.read_counts(redis_client.client(), campaign.pk) is None
    group_commit.issue(campaign_id=campaign.pk, user_id=everyone[1])

    campaigns.change(campaign_id=campaign.pk, strategy="redis_gate")

    assert redis_gate.issue(campaign_id=campaign.pk, user_id=everyone[2])
    assert counted(campaign) == (3, 0)
    assert refusal(campaign, everyone[3]) == "sold_out"


def test_keys_share_a_slot_and_go_after_the_campaign_has_closed(redis_server: Any) -> None:
    campaign, [first, second] = gated(closes_at=timezone.now() + timedelta(minutes=1)), accounts(2)
    issue(campaign, first)
    gate.admit(campaign_id=campaign.pk, user_id=second)

    names = [name for name in redis_server.keys("firstcome:{campaign:*") if b"gate" in name]

    assert len(names) == 4
    assert len({key_slot(name) for name in names}) == 1
    assert all(3_600 < redis_server.ttl(name) <= 3_720 for name in names)


def test_metrics_tell_how_many_are_in_flight(own_redis: OwnRedis) -> None:
    campaign, [asker] = gated(), accounts(1)
    filling.fill(campaign_id=campaign.pk)
    gate.admit(campaign_id=campaign.pk, user_id=asker)
    line = f'firstcome_gate_in_flight{{campaign="{campaign.pk}"}} 1.0'

    assert line in gauges.exposition().decode()
    own_redis.stop()
    assert "firstcome_gate_in_flight{" not in gauges.exposition().decode()


def test_without_redis_there_is_nothing_to_heal(own_redis: OwnRedis) -> None:
    campaign, [asker] = gated(), accounts(1)
    own_redis.stop()

    with pytest.raises(Unavailable):
        gate.admit(campaign_id=campaign.pk, user_id=asker)
    assert healing.heal() == 0


def refused_by_partner(campaign: Campaign, confirming: PendingConfirmation) -> None:
    """What the database says once the partner has refused; nobody has told Redis."""
    Confirmation.objects.filter(key=confirming.key).delete()
    Campaign.objects.filter(pk=campaign.pk).update(confirming=F("confirming") - 1, version=F("version") + 1)


def issued_before(campaign: Campaign, user_ids: list[int]) -> None:
    """Coupons that these accounts got by batches, of which Redis has heard nothing."""
    for start in range(0, len(user_ids), 250):
        race(
            [
                lambda id=id: group_commit.issue(campaign_id=campaign.pk, user_id=id)
                for id in user_ids[start : start + 250]
            ]
        )
