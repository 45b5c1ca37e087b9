"""A lock in Redis that is acquired by polling, and what it has in common with the fair one: wait and lease
times, errors, and metrics.

A lock in Redis avoids futile attempts; Redis may lose it, so the database guards every write under it.
redis-py's `Lock` is not fair, doesn't renew its lease, and its release raises errors.
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Histogram

from foundation.db import open_transaction
from foundation.errors import Rejected
from foundation.lazy_texts import mark
from foundation.redis import redis_client

WAIT_SECONDS = 10.0
RETRY_SECONDS = 0.1
# Long compared with a write of milliseconds, short compared with the wait, so a waiter outlasts the lease of
# a holder that was killed.
LEASE_MILLISECONDS = 3_000
# Releases the lock only under the holder's token; 0 when another process holds it, or none.
RELEASE_SCRIPT = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""

WAITS = Histogram(
    "firstcome_lock_wait_seconds",
    "How long requests waited for a lock in Redis, whether they acquired it or not.",
    ["lock"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
TIMEOUTS = Counter("firstcome_lock_timeouts", "Waits for a lock in Redis that timed out.", ["lock"])
LEASES_LOST = Counter(
    "firstcome_lock_leases_lost", "Locks in Redis whose lease had expired when they were released.", ["lock"]
)


@contextmanager
def measure_wait(lock: str) -> Iterator[None]:
    """Record how long the block waits for a lock, and count its timeout."""
    began_at = time.monotonic()
    try:
        yield
    except Rejected:
        TIMEOUTS.labels(lock).inc()
        raise
    finally:
        WAITS.labels(lock).observe(time.monotonic() - began_at)


def not_acquired() -> Rejected:
    return Rejected(
        mark("Too many other requests wait for the same lock; nothing was done."),
        code="lock_not_acquired",
        retry_after=1,
    )


def count_lost_lease(lock: str, *, was_held: int | None) -> None:
    """Count a lock that was lost before its release. `was_held` is None when Redis was unavailable."""
    if was_held == 0:
        LEASES_LOST.labels(lock).inc()


@contextmanager
def spinning(
    name: str, *, lease_milliseconds: int = LEASE_MILLISECONDS, wait_seconds: float = WAIT_SECONDS
) -> Iterator[None]:
    """Hold the lock while the block runs, or until its lease expires; writes must be guarded by the database.

    It is not fair: the first attempt after a release gets it. Raises `Rejected` `lock_not_acquired` after
    `wait_seconds`, and `Unavailable` without Redis.
    """
    open_transaction.assert_outside()
    token = secrets.token_hex(16)
    with measure_wait("spin"):
        deadline = time.monotonic() + wait_seconds
        while True:
            is_taken = redis_client.attempt(
                lambda client: bool(client.set(name, token, nx=True, px=lease_milliseconds)), otherwise=None
            )
            if is_taken:
                break
            if is_taken is None:
                raise redis_client.unavailable()
            if time.monotonic() + RETRY_SECONDS > deadline:
                raise not_acquired()
            time.sleep(RETRY_SECONDS)
    try:
        yield
    finally:
        # Without Redis, or after a crash of this process, the lock ends with its lease.
        count_lost_lease("spin", was_held=redis_client.call_script(RELEASE_SCRIPT, [name], token))
