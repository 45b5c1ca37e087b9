"""A lease on work that is wasteful to do twice: one at a time, and everybody while Redis is away."""

from contextlib import ExitStack

from django.conf import LazySettings
from redis import Redis

from shop.redis import lease, redis_client
from shop.tests.outages import OwnRedis, own_redis
from shop.tests.racing import race, wait_until
from shop.tests.slow_redis import answering_late

__all__ = ["own_redis"]
NAME = "firstcome:{test}:lease"


def test_one_of_many_has_it_and_the_others_are_told_at_once() -> None:
    def ask() -> bool:
        with lease.acquired(NAME) as is_ours:
            if is_ours:
                wait_until(lambda: len(told) == 9)
            else:
                told.append(1)
            return is_ours

    told: list[int] = []
    assert sorted(race([ask] * 10)) == [False] * 9 + [True]
    with lease.acquired(NAME) as is_ours:
        assert is_ours, "it is let go of at the end"


def test_it_is_kept_for_as_long_as_the_work_takes() -> None:
    with lease.acquired(NAME):
        redis_client.client().pexpire(NAME, 3_500)
        wait_until(lambda: redis_client.client().pttl(NAME) > 3_500)
    assert not redis_client.client().exists(NAME)


def test_who_lost_it_neither_keeps_nor_frees_anothers() -> None:
    with lease.acquired(NAME):
        redis_client.client().set(NAME, "another's", ex=60)
    assert redis_client.client().get(NAME) == b"another's"
    redis_client.client().delete(NAME)


def test_without_redis_everybody_has_it(own_redis: OwnRedis) -> None:
    own_redis.stop()
    with lease.acquired(NAME) as first, lease.acquired(NAME) as second:
        assert first and second


def test_twenty_leases_outlive_a_redis_that_takes_its_time_to_answer(
    own_redis: OwnRedis, settings: LazySettings
) -> None:
    """One after the other they took six seconds, more than a lease lasts."""
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
