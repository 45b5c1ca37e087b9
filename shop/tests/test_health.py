"""Liveness, readiness and the state of the database server, Redis and the broker."""

import socket
import threading
import time

import pytest
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from redis import Redis

from foundation import repeated_work
from foundation.db import server_state
from foundation.operations import health, heartbeats, system_state
from foundation.tests import tally
from foundation.tests.outages import connecting_to, database_away, nowhere
from foundation.tests.racing import race
from foundation.tests.samples import exposed
from foundation.tests.second_connection import ask, holding
from scripts.stack import ports
from shop.celery import app

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_cached_readiness(monkeypatch):
    monkeypatch.setattr(repeated_work, "_runs", {})
    monkeypatch.setattr(health, "_are_migrated", False)


def readiness() -> tuple[int, list[str]]:
    answer = Client().get("/readyz")
    assert answer.json()["status"] == ("not_ready" if answer.json()["down"] else "ready")
    assert answer.headers.get("Retry-After") == ("1" if answer.json()["down"] else None)
    return answer.status_code, answer.json()["down"]


def test_without_the_database_it_is_alive_and_not_ready_and_once_seen_migrations_are_not_reported():
    with database_away():
        assert Client().get("/healthz").json() == {"status": "alive"}
        assert readiness() == (503, ["database", "migrations"])
    assert readiness() == (200, [])
    with database_away():
        assert readiness() == (503, ["database"])


def test_an_unavailable_redis_is_reported_and_recovers_and_own_heartbeats_are_known(own_redis):
    assert readiness() == (200, [])
    found = exposed()
    assert found["firstcome_redis_up"] == 1
    assert 0 < found["firstcome_redis_ping_seconds"] < 1

    own_redis.stop()
    assert readiness() == (503, ["redis"])
    gone = exposed()
    assert gone["firstcome_redis_up"] == 0
    assert "firstcome_redis_ping_seconds" not in gone
    assert gone["firstcome_database_up"] == 1
    heartbeats.record(heartbeats.ISSUER)
    assert 0 <= heartbeats.age_seconds(heartbeats.ISSUER) < 10
    own_redis.start()
    assert readiness() == (200, [])


@pytest.mark.parametrize(
    ("refusing", "taking"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("REPLICAOF", ports.HOST, "1"), ("REPLICAOF", "NO", "ONE")),
        (("CONFIG", "SET", "min-replicas-to-write", "2"), ("CONFIG", "SET", "min-replicas-to-write", "0")),
    ],
    ids=["full", "replica", "without its replicas"],
)
def test_a_redis_that_answers_and_refuses_writes_is_reported_and_recovers(own_redis, refusing, taking):
    server = Redis.from_url(own_redis.url)
    server.execute_command(*refusing)
    assert server.ping()
    assert readiness() == (503, ["redis"])
    assert exposed()["firstcome_redis_up"] == 0
    server.execute_command(*taking)
    assert readiness() == (200, [])
    assert exposed()["firstcome_redis_up"] == 1
    assert 0 < server.ttl(system_state.REDIS_PROBE) <= system_state.PROBE_SECONDS


def test_an_unavailable_broker_is_reported(monkeypatch):
    monkeypatch.setattr(app.conf, "broker_write_url", nowhere("redis"))

    assert readiness() == (503, ["broker"])


def test_a_missing_migration_is_reported():
    recorder = MigrationRecorder(connection)
    last = max(name for app_name, name in recorder.applied_migrations() if app_name == "shop")
    recorder.record_unapplied("shop", last)
    try:
        assert readiness() == (503, ["migrations"])
    finally:
        recorder.record_applied("shop", last)


def test_readiness_responds_within_two_seconds_when_everything_hangs(monkeypatch):
    # It accepts connections and never responds, like a machine that hangs.
    with socket.create_server((ports.HOST, 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setattr(app.conf, "broker_write_url", f"redis://{ports.HOST}:{port}/0")
        with connecting_to(HOST=ports.HOST, PORT=str(port)):
            seconds = []
            for _ in range(3):
                started_at = time.monotonic()
                assert readiness() == (503, ["database", "broker", "migrations"])
                seconds.append(time.monotonic() - started_at)

    # Other work of the machine can delay any single one.
    assert min(seconds) < 2


def test_lock_waits_and_deadlocks_are_counted(counting):
    assert server_state.read_locks()["row_lock_waits_total"] >= 0
    before = server_state.read_locks()["deadlocks_total"]
    assert isinstance(before, float)
    both_locked = threading.Barrier(2)

    def lock(first, second):
        with holding(tally.LOCK, first) as session:
            both_locked.wait(10)
            ask(session, tally.LOCK, second)

    outcomes = race([lambda: lock(tally.HOT, tally.OTHER), lambda: lock(tally.OTHER, tally.HOT)])
    assert [type(outcome) for outcome in outcomes].count(OperationalError) == 1
    assert server_state.read_locks()["deadlocks_total"] == before + 1
