"""Checks of the clocks: processes use the database's, and refuse to start if the host's differs too much."""

import time

from django.conf import settings
from django.db import Error, connection
from redis.exceptions import RedisError

from shop import clock
from shop.operations.doctor.findings import Finding, judge
from shop.redis import redis_client

ADVICE = "Let every machine follow the same time server (chrony, or systemd-timesyncd)."


def examine() -> list[Finding]:
    """The skew of each server; one that can't be reached is reported by its own findings."""
    return [*_database_findings(), *_redis_findings()]


def clock_finding(check: str, ahead_seconds: float) -> Finding:
    """The finding for a server whose clock is this far ahead of the host's."""
    found, limit = f"{ahead_seconds:+.3f} s from this machine's", settings.CLOCK_SKEW_SECONDS
    is_wrong = abs(ahead_seconds) > limit / 2
    return judge(check, found, is_wrong, "danger" if abs(ahead_seconds) > limit else "warning", ADVICE)


def _database_findings() -> list[Finding]:
    """The finding by the measurement that the processes themselves use."""
    if connection.vendor != "mysql":
        return []
    try:
        return [clock_finding("database clock", -clock.measure().host_offset_seconds)]
    except Error:
        return []


def _redis_findings() -> list[Finding]:
    """The finding by one measurement: Redis read its clock half a round trip before the reply."""
    try:
        _redis_seconds()  # connects
        started_at = time.time()
        theirs = _redis_seconds()
        ours = (started_at + time.time()) / 2
    except RedisError:
        return []
    return [clock_finding("Redis clock", theirs - ours)]


def _redis_seconds() -> float:
    seconds, microseconds = redis_client.client().time()
    return float(seconds) + float(microseconds) / 1_000_000
