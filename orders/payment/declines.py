"""Limits declined payments: an account with too many is refused the next one before anything is done.

A worker counts a decline in `rate_limits.DECLINES` and sends it to Redis at once. Web processes read every
250 ms at most which accounts have half of their declines or more, and read the exact count of such an account
for each of its payments; payments of all others cost no round trip. While Redis is unavailable, a process
knows only the declines of payments that it executed itself.
"""

import threading
import time
from collections.abc import Collection, Mapping

from redis import Redis

from shop import clock
from shop.rates.rate_limits import DECLINES
from shop.redis import redis_client

# One string: a long list would take the client longer to parse than all the rest of the call.
WATCHED = "firstcome:{rates}:watched"
READ = """
return table.concat(redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', ARGV[1], 'LIMIT', 0, ARGV[2]), ' ')
"""
MOST_WATCHED = 10_000
REFRESH_SECONDS = 0.25

_mutex = threading.Lock()
_watched: frozenset[int] = frozenset()
_read_at = float("-inf")


def count(account_ids: Collection[int]) -> None:
    """Count a declined payment of each of these accounts; other processes read it soon."""
    rate = DECLINES.rate
    if rate is None or not account_ids:
        return
    for account_id in account_ids:
        DECLINES.add(account_id)
    DECLINES.synchronize()
    now = clock.now().timestamp()
    until = {str(id): now + rate.seconds for id in account_ids if DECLINES.is_half_full(id)}
    if until:
        redis_client.attempt(lambda client: _watch(client, until, now), otherwise=None)


def needs_read(account_id: int) -> bool:
    """Whether `require_below_limit` would call Redis now, for this account or for the watched ones."""
    return account_id in _watched or (time.monotonic() - _read_at >= REFRESH_SECONDS and not _mutex.locked())


def require_below_limit(account_id: int) -> None:
    """Raise `Throttled` if too many payments of the account were declined lately."""
    if time.monotonic() - _read_at >= REFRESH_SECONDS:
        _refresh_watched()
    if account_id in _watched:
        DECLINES.read(account_id)
    DECLINES.require_capacity(account_id)


def is_watched(account_id: int) -> bool:
    """Whether the account had half of its declines or more when this process last read them."""
    return account_id in _watched


def forget() -> None:
    """Clear the cache of this process (tests)."""
    global _watched, _read_at
    _watched, _read_at = frozenset(), float("-inf")


def _watch(client: Redis, until: Mapping[str, float], now: float) -> None:
    """Watch these accounts until these instants, and drop those whose instant has passed."""
    pipeline = client.pipeline(transaction=False)
    pipeline.zadd(WATCHED, until)
    pipeline.zremrangebyscore(WATCHED, "-inf", now)
    pipeline.execute()


def _refresh_watched() -> None:
    """Read the watched accounts in one thread; others use the last read meanwhile."""
    global _watched, _read_at
    if not _mutex.acquire(blocking=False):
        return
    try:
        _read_at = time.monotonic()
        if DECLINES.rate is None:
            return
        now = clock.now().timestamp()
        ids: bytes | None = redis_client.attempt(
            lambda client: client.eval(READ, 1, WATCHED, now, MOST_WATCHED), otherwise=None
        )
        if ids is not None:
            _watched = frozenset(map(int, ids.split()))
    finally:
        _mutex.release()
