"""Claims on keys: one holder at a time, many in one round trip, always acquired without Redis."""

from shop.idempotency import claims
from shop.idempotency.claims import InFlight
from shop.redis import redis_client
from shop.tests.outages import OwnRedis


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
