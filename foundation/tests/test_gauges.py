"""Gauges: read at each scrape, one for all processes, and metrics don't fail because of them."""

import time

import pytest
from django.db import OperationalError, connection
from django.test import Client
from prometheus_client import REGISTRY

from foundation.observability import gauges
from foundation.observability.gauges import Source
from foundation.tests.hung_server import relayed
from foundation.tests.samples import exposed
from foundation.tests.second_connection import ask
from foundation.tests.waiting import within

pytestmark = pytest.mark.django_db
ALL_GAUGES = dict(gauges._groups)


@pytest.fixture(autouse=True)
def _no_other_gauges(monkeypatch):
    monkeypatch.setattr(gauges, "_groups", {})


def failures(gauge: str) -> float:
    return REGISTRY.get_sample_value("firstcome_gauge_failures_total", {"gauge": gauge}) or 0


def test_after_a_database_error_other_database_gauges_are_skipped():
    reads = []

    def fail():
        reads.append("first")
        raise OperationalError(2002, "Can't connect")

    def succeed():
        reads.append("second")
        return 1

    gauges.register("firstcome_first", help="First.", read=fail)
    gauges.register("firstcome_second", help="Second.", read=succeed)

    assert exposed() == {}
    assert reads == ["first"]


SLOW = (
    "WITH RECURSIVE one (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM one WHERE n < 900) "
    "SELECT COUNT(*) FROM one, one AS two, one AS three, one AS four"
)
"""Of some hours."""


def run(statement: str) -> float:
    return float(ask(connection, statement)[0][0])


def test_a_slow_reading_is_left_out_and_the_gauges_behind_it_are_read(transactional_db):
    gauges.register("firstcome_slow", help="Slow.", read=lambda: run(SLOW))
    gauges.register("firstcome_quick", help="Quick.", read=lambda: run("SELECT 1"))
    gauges.register("firstcome_up", help="Up.", read=lambda: run(SLOW), otherwise=0)
    failed = failures("firstcome_slow")

    own, began_at = run("SELECT CONNECTION_ID()"), time.monotonic()
    assert exposed() == {"firstcome_quick": 1.0, "firstcome_up": 0.0}
    assert time.monotonic() - began_at < 4
    assert failures("firstcome_slow") == failed + 1
    assert run("SELECT CONNECTION_ID()") == own, "this thread's connection has no limit, and is as before"
    assert "firstcome_quick" in exposed()


def test_a_database_that_is_slow_for_long_is_given_up(transactional_db):
    for number in range(9):
        gauges.register(f"firstcome_slow_{number}", help="Slow.", read=lambda: run(SLOW))
    gauges.register("firstcome_redis", help="Redis.", read=lambda: 1, source=Source.REDIS)

    with within(5):
        assert exposed() == {"firstcome_redis": 1.0}


def test_a_reading_that_fails_is_counted_and_its_substitute_exposed():
    def fail():
        raise ValueError("not a number")

    gauges.register("firstcome_wrong", help="Wrong.", read=fail, source=Source.REDIS, otherwise=0)
    gauges.register("firstcome_right", help="Right.", read=lambda: 1, source=Source.REDIS)
    failed = failures("firstcome_wrong")

    assert exposed() == {"firstcome_wrong": 0.0, "firstcome_right": 1.0}
    assert failures("firstcome_wrong") == failed + 1


def test_scrapes_within_five_seconds_share_a_reading():
    readings = iter([1.0, 2.0])
    gauges.register("firstcome_things", help="Things.", read=lambda: next(readings))

    texts = {gauges.cached_exposition(gauges.EVERYTHING) for _ in range(3)}
    assert len(texts) == 1
    gauges._cached.clear()
    assert b"firstcome_things 2.0" in gauges.cached_exposition(gauges.EVERYTHING)


def test_a_database_that_hangs_does_not_hold_the_scrape(transactional_db, tmp_path):
    gauges._groups.update(ALL_GAUGES)
    client = Client(REMOTE_ADDR="127.0.0.1")
    with relayed(tmp_path) as relay:
        assert "\nfirstcome_database_up 1.0\n" in client.get("/metrics").text
        gauges._cached.clear()
        relay.freeze()
        began_at = time.monotonic()
        text = client.get("/metrics").text
        seconds = time.monotonic() - began_at

    assert seconds < 5
    assert "\nfirstcome_database_up 0.0\n" in text
    assert "\nfirstcome_redis_up 1.0\n" in text
    assert "\nfirstcome_broker_up 1.0\n" in text
    # The counter of failed readings names gauges, too.
    assert "\nfirstcome_events_queued " not in text
    assert "django_http_responses_total_by_status_view_method_total" in text
