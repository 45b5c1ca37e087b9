"""Claims on keys and leases: one holder at a time, many in one round trip, always acquired without Redis."""

from contextlib import ExitStack

from django.conf import LazySettings
from redis import Redis

from shop.idempotency import claims
from shop.idempotency.claims import InFlight
from shop.redis import lease, redis_client
from shop.tests.outages import OwnRedis, own_redis
from shop.tests.racing import race, wait_until
from shop.tests.slow_redis import answering_late

__all__ = ["own_redis"]


def evals() -> int:
    stats = redis_client.client().info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))


def test_a_key_belongs_to_one_call_until_its_release_and_may_be_acquired_again(own_redis: OwnRedis) -> None:
    first, duplicate, other = (
        claims.new_claim(1, "key"),
        claims.new_claim(1, "key"),
        claims.new_claim(2, "key"),
    )
    assert claims.acquire([first, other]) == [True, True]
    assert claims.acquire([duplicate]) == [False]
    assert claims.acquire([first, duplicate]) == [True, False]
    claims.release_later(duplicate)
    claims.release_ended()
    assert claims.acquire([duplicate]) == [False], "a call releases only its own claim"
    claims.release_later(first)
    assert claims.acquire([duplicate]) == [True]


def test_a_batch_acquires_and_releases_claims_in_one_round_trip(own_redis: OwnRedis) -> None:
    ended = [claims.new_claim(1, str(number)) for number in range(50)]
    assert all(claims.acquire(ended))
    for claim in ended:
        claims.release_later(claim)
    before = evals()
    assert all(claims.acquire([claims.new_claim(2, str(number)) for number in range(50)]))
    assert evals() == before + 1
    assert len(redis_client.client().keys()) == 50


def test_only_duplicates_of_calls_in_flight_are_refused(own_redis: OwnRedis) -> None:
    claims.acquire([claims.new_claim(1, "in flight")])
    refusals = claims.acquire_or_refuse(
        [
            claims.new_claim(1, "free"),
            claims.new_claim(1, "in flight"),
            None,
            claims.new_claim(2, "in flight"),
        ]
    )
    assert [type(refusal) for refusal in refusals] == [type(None), InFlight, type(None), type(None)]
    assert claims.acquire_or_refuse([None, None]) == [None, None]


def test_without_redis_every_claim_counts_as_acquired(own_redis: OwnRedis) -> None:
    own_redis.stop()
    assert claims.acquire([claims.new_claim(1, "key"), claims.new_claim(1, "key")]) == [True, True]


NAME = "firstcome:{test}:lease"


def test_one_of_many_acquires_it_and_the_others_are_refused_at_once() -> None:
    def attempt() -> bool:
        with lease.acquired(NAME) as is_ours:
            if is_ours:
                wait_until(lambda: len(refused) == 9)
            else:
                refused.append(1)
            return is_ours

    refused: list[int] = []
    assert sorted(race([attempt] * 10)) == [False] * 9 + [True]
    with lease.acquired(NAME) as is_ours:
        assert is_ours, "it is released at the end"


def test_it_is_renewed_while_the_work_takes() -> None:
    with lease.acquired(NAME):
        redis_client.client().pexpire(NAME, 3_500)
        wait_until(lambda: redis_client.client().pttl(NAME) > 3_500)
    assert not redis_client.client().exists(NAME)


def test_a_holder_that_lost_it_neither_renews_nor_releases_anothers() -> None:
    with lease.acquired(NAME):
        redis_client.client().set(NAME, "another's", ex=60)
    assert redis_client.client().get(NAME) == b"another's"
    redis_client.client().delete(NAME)


def test_without_redis_every_caller_acquires_it(own_redis: OwnRedis) -> None:
    own_redis.stop()
    with lease.acquired(NAME) as first, lease.acquired(NAME) as second:
        assert first and second


def test_twenty_leases_are_renewed_in_time_by_a_slow_redis(
    own_redis: OwnRedis, settings: LazySettings
) -> None:
    """Renewed one after the other they took six seconds, which is longer than a lease lasts."""
    names = [f"{NAME}-{number}" for number in range(20)]
    directly = Redis.from_url(own_redis.url)
    with answering_late(own_redis, seconds=0.3) as address, ExitStack() as leases:
        settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": address}}
        for name in names:
            assert leases.enter_context(lease.acquired(name))
        for name in names:
            directly.pexpire(name, 3_500)
        wait_until(lambda: all(directly.pttl(name) > 3_500 for name in names), seconds=3.4)
        assert directly.exists(*names) == len(names)
