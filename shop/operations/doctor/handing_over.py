"""Checks of the hand-over of batches (`HAND_OVER_BATCHES`), which is only worth it where Redis is near."""

import time
from statistics import median

from django.conf import settings
from django.db import connection
from redis.exceptions import RedisError

from shop.operations.doctor.findings import Finding, ok, warning
from shop.redis import redis_client

CHECK = "Hand-over of batches"
PINGS = 5
SLOWEST_MS = 5.0
"""A batch takes two round trips there and back, so beyond this they cost as much as the commits they save."""


def examine() -> list[Finding]:
    """The finding about the hand-over, where it is on."""
    if not settings.HAND_OVER_BATCHES:
        return []
    if connection.vendor == "sqlite":
        advice = "Set HAND_OVER_BATCHES=0: on SQLite all writes wait for one lock in any case."
        return [warning(CHECK, "on, with SQLite", advice)]
    try:
        took_ms = _ping_ms()
    except RedisError as error:
        advice = "Each process decides its own batches until Redis is back."
        return [warning(CHECK, f"on, and Redis can't be reached: {error}", advice)]
    if took_ms > SLOWEST_MS:
        advice = "Set HAND_OVER_BATCHES=0, or bring Redis nearer: a hand-over takes longer than it saves."
        return [warning(CHECK, f"on, and Redis answers in {took_ms:.1f} ms", advice)]
    return [ok(CHECK, f"on; Redis answers in {took_ms:.1f} ms")]


def _ping_ms() -> float:
    client, took = redis_client.client(), []
    for _ in range(PINGS):
        began_at = time.perf_counter()
        client.ping()
        took.append(1000 * (time.perf_counter() - began_at))
    return median(took)
