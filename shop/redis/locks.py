"""What the locks in Redis have in common: how long they are waited for and kept, refusals, and metrics.

A lock in Redis keeps others from trying in vain; it keeps nothing safe. Its lease may run out while its
holder is paused, and Redis may forget it, so whatever is written under one is guarded besides. redis-py's
`Lock` isn't used: it is not fair, renews nothing, and its release raises what no caller could act on.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Histogram

from shop.errors import Rejected, Unavailable

WAIT_SECONDS = 10.0
# Long beside a write of milliseconds, short beside the wait: who waits outlives a holder that was killed.
LEASE_MILLISECONDS = 3_000
# Only for who knows the token; 0 when it is somebody else's, or nobody's.
RELEASE_SCRIPT = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""

WAITS = Histogram(
    "firstcome_lock_wait_seconds",
    "How long requests waited for a lock in Redis, whether they got it or not.",
    ["lock"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
TIMEOUTS = Counter("firstcome_lock_timeouts", "Waits for a lock in Redis that ran out.", ["lock"])
LEASES_LOST = Counter(
    "firstcome_lock_leases_lost",
    "Locks in Redis that were somebody else's, or nobody's, when released.",
    ["lock"],
)


@contextmanager
def measure_wait(lock: str) -> Iterator[None]:
    """Count the wait that the block is, and that it ran out if it did."""
    began_at = time.monotonic()
    try:
        yield
    except Rejected:
        TIMEOUTS.labels(lock).inc()
        raise
    finally:
        WAITS.labels(lock).observe(time.monotonic() - began_at)


def not_acquired() -> Rejected:
    """The whole wait was in vain."""
    return Rejected(
        "Too many others are waiting for their turn; nothing was done.",
        code="lock_not_acquired",
        retry_after=1,
    )


def redis_unavailable() -> Unavailable:
    """Redis is, and there is no lock without it."""
    return Unavailable("Turns are given through Redis here, and it is away; nothing was done.")


def count_lost_lease(lock: str, *, was_held: bool | None) -> None:
    """Count a lock that was lost before its release; None when Redis was away, and nobody knows."""
    if was_held is False:
        LEASES_LOST.labels(lock).inc()
