"""Claims on keys: one call's at a time, many by one way to Redis, and everybody's while it is away."""

from shop.idempotency import claims
from shop.idempotency.claims import InFlight
from shop.redis import redis_client
from shop.tests.outages import OwnRedis, own_redis

__all__ = ["own_redis"]


def evals() -> int:
    """How many scripts Redis has run."""
    stats = redis_client.client().info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))


def test_a_key_is_one_calls_until_it_lets_go_and_it_may_claim_it_again(own_redis: OwnRedis) -> None:
    first, twin, other = claims.new_claim(1, "key"), claims.new_claim(1, "key"), claims.new_claim(2, "key")
    assert claims.acquire([first, other]) == [True, True]
    assert claims.acquire([twin]) == [False]
    assert claims.acquire([first, twin]) == [True, False]
    claims.release_later(twin)
    claims.release_ended()
    assert claims.acquire([twin]) == [False], "nobody lets go of another's"
    claims.release_later(first)
    assert claims.acquire([twin]) == [True]


def test_a_batch_goes_to_redis_once_and_lets_go_of_what_has_ended(own_redis: OwnRedis) -> None:
    ended = [claims.new_claim(1, str(number)) for number in range(50)]
    assert all(claims.acquire(ended))
    for claim in ended:
        claims.release_later(claim)
    before = evals()
    assert all(claims.acquire([claims.new_claim(2, str(number)) for number in range(50)]))
    assert evals() == before + 1
    assert len(redis_client.client().keys()) == 50


def test_those_whose_twins_are_in_flight_are_refused_and_nobody_else(own_redis: OwnRedis) -> None:
    claims.acquire([claims.new_claim(1, "in flight")])
    told = claims.acquire_or_refuse(
        [
            claims.new_claim(1, "free"),
            claims.new_claim(1, "in flight"),
            None,
            claims.new_claim(2, "in flight"),
        ]
    )
    assert [type(one) for one in told] == [type(None), InFlight, type(None), type(None)]
    assert claims.acquire_or_refuse([None, None]) == [None, None]


def test_without_redis_everybody_has_a_claim(own_redis: OwnRedis) -> None:
    own_redis.stop()
    assert claims.acquire([claims.new_claim(1, "key"), claims.new_claim(1, "key")]) == [True, True]
