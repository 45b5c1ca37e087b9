"""Liveness ignores dependencies; readiness quickly reports the ones that are down."""

import socket
import time

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from scripts.stack import ports
from shop import repeated_work
from shop.celery import app
from shop.operations import health
from shop.tests.outages import OwnRedis, connecting_to, database_away


@pytest.fixture(autouse=True)
def _no_cached_readiness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeated_work, "_runs", {})
    monkeypatch.setattr(health, "_are_migrated", False)


def readiness() -> tuple[int, list[str]]:
    answer = Client().get("/readyz")
    assert answer.json()["status"] == ("not_ready" if answer.json()["down"] else "ready")
    assert answer.headers.get("Retry-After") == ("1" if answer.json()["down"] else None)
    return answer.status_code, answer.json()["down"]


@pytest.mark.django_db(transaction=True)
def test_alive_with_the_database_down() -> None:
    with database_away():
        assert Client().get("/healthz").json() == {"status": "alive"}
        assert readiness() == (503, ["database", "migrations"])
    assert readiness() == (200, [])


@pytest.mark.django_db(transaction=True)
def test_after_migrations_were_seen_only_the_database_is_reported_as_down() -> None:
    assert readiness() == (200, [])
    with database_away():
        assert readiness() == (503, ["database"])


@pytest.mark.django_db(transaction=True)
def test_an_unavailable_redis_is_reported_and_recovers(own_redis: OwnRedis) -> None:
    assert readiness() == (200, [])
    own_redis.stop()
    assert readiness() == (503, ["redis"])
    own_redis.start()
    assert readiness() == (200, [])


@pytest.mark.django_db(transaction=True)
def test_an_unavailable_broker_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.conf, "broker_write_url", f"redis://{ports.HOST}:{ports.free()}/0")

    assert readiness() == (503, ["broker"])


@pytest.mark.django_db(transaction=True)
def test_a_missing_migration_is_reported() -> None:
    recorder = MigrationRecorder(connection)
    last = max(name for app_name, name in recorder.applied_migrations() if app_name == "shop")
    recorder.record_unapplied("shop", last)
    try:
        assert readiness() == (503, ["migrations"])
    finally:
        recorder.record_applied("shop", last)


@pytest.mark.django_db(transaction=True)
def test_readiness_responds_within_two_seconds_when_everything_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    # It accepts connections and never responds, like a machine that hangs.
    with socket.create_server((ports.HOST, 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setattr(app.conf, "broker_write_url", f"redis://{ports.HOST}:{port}/0")
        with connecting_to(port=port):
            started_at = time.monotonic()
            answer = readiness()
            seconds = time.monotonic() - started_at

    assert answer == (503, ["database", "broker", "migrations"])
    assert seconds < 2
