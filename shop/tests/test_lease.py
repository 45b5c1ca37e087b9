"""A lease on work that is wasteful to do twice: one holder at a time, and any number without Redis."""

from contextlib import ExitStack

from django.conf import LazySettings
from redis import Redis

from shop.redis import lease, redis_client
from shop.tests.outages import OwnRedis, own_redis
from shop.tests.racing import race, wait_until
from shop.tests.slow_redis import answering_late

__all__ = ["own_redis"]
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
