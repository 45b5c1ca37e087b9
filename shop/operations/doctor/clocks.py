"""Checks of the clocks: processes use the database's, and refuse to start if the host's differs too much."""

import time
from collections.abc import Iterator
from contextlib import suppress

from django.conf import settings
from django.db import Error, connection
from redis.exceptions import RedisError

from shop import clock
from shop.operations.doctor.findings import Finding, judge
from shop.redis import redis_client


def examine() -> Iterator[Finding]:
    """The skew of each server; one that can't be reached is reported by its own findings."""
    if connection.vendor == "mysql":
        with suppress(Error):
            # The measurement that the processes themselves use.
            yield clock_finding("database clock", -clock.measure().host_offset_seconds)
    with suppress(RedisError):
        _redis_seconds()  # connects
        started_at = time.time()
        theirs = _redis_seconds()
        # Redis read its clock half a round trip before the reply.
        yield clock_finding("Redis clock", theirs - (started_at + time.time()) / 2)


def clock_finding(check: str, ahead_seconds: float) -> Finding:
    """The finding for a server whose clock is this far ahead of the host's."""
    skew, limit = abs(ahead_seconds), settings.CLOCK_SKEW_SECONDS
    problem = "clock" if skew > limit else "clock, slightly"
    return judge(check, f"{ahead_seconds:+.3f} s from this machine's", skew > limit / 2, problem)


def _redis_seconds() -> float:
    seconds, microseconds = redis_client.client().time()
    return float(seconds) + float(microseconds) / 1_000_000
