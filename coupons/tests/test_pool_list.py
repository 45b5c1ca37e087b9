"""The list of a pool's codes in a real Redis: claiming, filling, resolving and pool_list."""

from typing import Any

import pytest
from redis.crc import key_slot

from coupons import pool_list, remembered
from coupons.codes import pool
from coupons.models import Campaign, PoolCode
from coupons.redis_keys import key
from coupons.tests.factories import CampaignFactory
from shop.redis import redis_client
from shop.tests.racing import race

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def campaign() -> Campaign:
    return CampaignFactory.create(strategy="code_pool", code_source="pool", quantity=1_000)


def add(campaign: Campaign, *codes: str) -> None:
    pool.add(campaign_id=campaign.pk, codes=codes)


def take(campaign: Campaign, user_id: int) -> str | None:
    return pool_list.claim_code(campaign, user_id=user_id)


def settle(campaign: Campaign, user_id: int, code: str, *, is_spent: bool) -> bool:
    return pool_list.resolve_code(campaign.pk, user_id=user_id, code=code, is_spent=is_spent)


def shown(campaign: Campaign, name: str = "codes") -> list[str]:
    codes: Any = redis_client.client().lrange(key(campaign.pk, name), 0, -1)
    return [code.decode() for code in codes]


def make_available(campaign: Campaign, status: str, code: str) -> None:
    PoolCode.objects.filter(campaign=campaign, code=code).update(status=status)


def test_codes_are_claimed_in_the_order_of_the_pool_and_stay_in_flight_until_resolved(campaign):
    add(campaign, "A", "B", "C")

    assert [take(campaign, user_id) for user_id in (1, 2, 3, 4)] == ["A", "B", "C", None]
    assert shown(campaign, "codes-in-flight") == ["A", "B", "C"]
    assert settle(campaign, 1, "A", is_spent=True)
    assert settle(campaign, 2, "B", is_spent=False)
    assert (shown(campaign), shown(campaign, "codes-in-flight")) == (["B"], ["C"])
    assert take(campaign, 5) == "B"


def test_a_code_is_resolved_once(campaign):
    add(campaign, "A")
    take(campaign, 1)

    assert [settle(campaign, 1, "A", is_spent=False) for _ in range(3)] == [True, False, False]
    assert shown(campaign) == ["A"]
    assert take(campaign, 2) == "A"
    assert not settle(campaign, 1, "A", is_spent=True)
    assert shown(campaign, "codes-in-flight") == ["A"]


def test_50_concurrent_requests_of_an_account_claim_one_code(campaign):
    add(campaign, "A", "B", "C")

    assert set(race([lambda: take(campaign, 1)] * 50)) == {"A"}
    assert shown(campaign) == ["B", "C"]


def test_a_list_that_many_fill_at_once_has_each_code_once(campaign, monkeypatch):
    monkeypatch.setattr(pool_list, "CHUNK", 7)
    pool.generate(campaign_id=campaign.pk, count=100)
    fillers = [lambda: pool_list.fill(campaign, after_id=0)] * 20

    filled = race(fillers)
    taken = race([lambda user_id=user_id: take(campaign, user_id) for user_id in range(120)])

    assert sorted(filled) == [0] * 19 + [7]
    given = [code for code in taken if code is not None]
    assert len(set(given)) == len(given) == 100


def test_a_list_filled_without_its_marker_has_codes_twice(campaign):
    """The naive twin: a request that finds the list empty lists all available codes."""
    add(campaign, "A", "B")
    listing = key(campaign.pk, "codes")

    for _ in range(2):
        redis_client.client().rpush(listing, *campaign.pool.order_by("pk").values_list("code", flat=True))

    assert [take(campaign, user_id) for user_id in range(4)] == ["A", "B", "A", "B"]


def test_an_empty_list_is_filled_once_a_second_and_at_once_after_codes_were_added(
    campaign, django_assert_num_queries
):
    assert take(campaign, 1) is None
    with django_assert_num_queries(0):
        assert take(campaign, 1) is None
    add(campaign, "A")
    assert take(campaign, 1) == "A"


def test_a_returned_code_goes_first_if_there_is_a_list(campaign):
    add(campaign, "A", "B")
    remembered.slot_released(campaign_id=campaign.pk, user_id=1, code="A")
    assert shown(campaign) == []

    take(campaign, 1)
    remembered.slot_released(campaign_id=campaign.pk, user_id=1, code="A")
    assert shown(campaign) == ["A", "B"]


def test_unissued_codes_of_crashed_processes_are_returned_and_issued_ones_are_not(campaign):
    add(campaign, "A", "B", "C")
    before = pool_list.GIVEN_BACK._value.get()
    for user_id in (1, 2):
        take(campaign, user_id)
    make_available(campaign, "in_flight", "A")

    assert pool_list.heal() == 0
    assert shown(campaign, "codes-in-flight") == ["A", "B"]
    assert pool_list.heal(after_seconds=0) == 2
    assert (shown(campaign), shown(campaign, "codes-in-flight")) == (["B", "C"], [])
    assert pool_list.GIVEN_BACK._value.get() - before == 1


def test_a_list_that_lost_a_code_is_dropped(campaign):
    add(campaign, "A")
    take(campaign, 1)
    redis_client.client().delete(key(campaign.pk, "codes-in-flight"), key(campaign.pk, "codes-takers"))
    assert take(campaign, 2) is None

    pool_list.heal()

    assert take(campaign, 2) == "A"


def test_all_keys_of_a_list_share_a_slot_of_a_cluster_and_expire(campaign):
    add(campaign, "A", "B")
    take(campaign, 1)
    pool_list.fill(campaign, after_id=10**9)

    keys: Any = redis_client.client().keys("firstcome:*codes*")

    assert len(keys) == 5
    assert len({key_slot(one) for one in keys}) == 1
    assert all(0 < redis_client.client().ttl(one) <= 24 * 3600 for one in keys)
