"""What the locks in Redis have in common: wait and lease times, errors, and metrics.

A lock in Redis avoids futile attempts; Redis may lose it, so the database guards every write under it.
redis-py's `Lock` is not fair, doesn't renew its lease, and its release raises errors.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Histogram

from shop.errors import Rejected, Unavailable
from shop.lazy_texts import mark as _

WAIT_SECONDS = 10.0
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
    "firstcome_lock_leases_lost",
    "Locks in Redis whose lease had expired when they were released.",
    ["lock"],
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
        _("Too many other requests wait for the same lock; nothing was done."),
        code="lock_not_acquired",
        retry_after=1,
    )


def redis_unavailable() -> Unavailable:
    return Unavailable(_("This needs a lock in Redis, which is unavailable; nothing was done."))


def count_lost_lease(lock: str, *, was_held: bool | None) -> None:
    """Count a lock that was lost before its release. `was_held` is None when Redis was unavailable."""
    if was_held is False:
        LEASES_LOST.labels(lock).inc()
