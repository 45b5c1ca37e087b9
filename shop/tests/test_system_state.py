"""State gauges of the database server, Redis and the broker, and what is left out."""

import threading

import pytest
from django.db import OperationalError

from shop.db import server_state
from shop.operations import heartbeats
from shop.tests import tally
from shop.tests.outages import OwnRedis
from shop.tests.racing import race
from shop.tests.samples import exposed
from shop.tests.second_connection import ask, holding


def test_lock_waits_and_deadlocks_are_counted(counting: None) -> None:
    assert server_state.read_locks()["row_lock_waits_total"] >= 0
    before = server_state.read_locks()["deadlocks_total"]
    assert isinstance(before, float)
    both_locked = threading.Barrier(2)

    def lock(first: int, second: int) -> None:
        with holding(tally.LOCK, first) as session:
            both_locked.wait(10)
            ask(session, tally.LOCK, second)

    outcomes = race([lambda: lock(tally.HOT, tally.OTHER), lambda: lock(tally.OTHER, tally.HOT)])
    assert [type(outcome) for outcome in outcomes].count(OperationalError) == 1
    assert server_state.read_locks()["deadlocks_total"] == before + 1


@pytest.mark.django_db(transaction=True)
def test_redis_is_up_until_it_is_not(own_redis: OwnRedis) -> None:
    found = exposed()
    assert found["firstcome_redis_up"] == 1
    assert 0 < found["firstcome_redis_ping_seconds"] < 1

    own_redis.stop()
    gone = exposed()
    assert gone["firstcome_redis_up"] == 0
    assert "firstcome_redis_ping_seconds" not in gone
    assert gone["firstcome_database_up"] == 1


def test_a_process_knows_its_own_heartbeat_without_redis(own_redis: OwnRedis) -> None:
    own_redis.stop()
    heartbeats.record(heartbeats.ISSUER)

    age = heartbeats.age_seconds(heartbeats.ISSUER)
    assert age is not None
    assert 0 <= age < 10
