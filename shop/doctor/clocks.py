"""Clocks: leases, expiries and windows compare times that different machines wrote."""

import time
from collections.abc import Callable

from django.db import Error, connection
from redis.exceptions import RedisError

from shop import redis
from shop.doctor.findings import Finding, danger, ok, warning

WORTH_A_WARNING_SECONDS, DANGEROUS_SECONDS = 1.0, 5.0


def examine() -> list[Finding]:
    """The skew of each other machine; one that can't be reached is told by its own findings."""
    found = []
    if connection.vendor == "mysql":
        found += _compared("database clock", _database_time)
    return found + _compared("Redis clock", _redis_time)


def judged(check: str, skew_seconds: float) -> Finding:
    found = f"{skew_seconds:+.3f} s from this machine's"
    advice = "Let every machine follow the same time server (chrony, or systemd-timesyncd)."
    if abs(skew_seconds) > DANGEROUS_SECONDS:
        return danger(check, found, advice)
    if abs(skew_seconds) > WORTH_A_WARNING_SECONDS:
        return warning(check, found, advice)
    return ok(check, found)


def _compared(check: str, ask: Callable[[], float]) -> list[Finding]:
    """The answer is as old as half the way there and back."""
    try:
        ask()  # connects
        started_at = time.time()
        theirs = ask()
        ours = (started_at + time.time()) / 2
    except (Error, RedisError):
        return []
    return [judged(check, theirs - ours)]


def _database_time() -> float:
    with connection.cursor() as cursor:
        cursor.execute("SELECT UNIX_TIMESTAMP(NOW(6))")
        return float(cursor.fetchone()[0])


def _redis_time() -> float:
    seconds, microseconds = redis.client().time()
    return float(seconds) + float(microseconds) / 1_000_000
