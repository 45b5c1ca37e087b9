"""Limits the cards that an account tries: with too many declined payments the next one is refused at once.

A worker counts a decline in `rate_limits.DECLINES` and sends it to Redis at once. Web processes read every
250 ms at most which accounts have half of their declines or more, and read the exact count of such an account
for each of its payments; payments of all others cost no round trip. While Redis is unavailable, a process
knows only the declines of payments that it executed itself.

A payment is declined only once the gateway answers, so many that start together would all find no declines:
payments that may still be declined count as declined. An account that starts few card payments is not
checked. Once it has started more than a share of the rate, or has half of its declines, its unsettled
payments are read from the database and its declines from Redis, where a slot stands for each payment that is
being started and is in no table yet.
"""

import threading
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID, uuid4

from django.conf import settings
from redis import Redis

from payments.models import Payment
from shop import clock
from shop.concurrency.event_loop import LOOKUP_POOL, run_in_background, run_in_thread
from shop.configuration import Rate
from shop.rates.rate_limits import DECLINES
from shop.redis import redis_client

UNSETTLED = (Payment.Status.PENDING, Payment.Status.IN_DOUBT)
# An account is checked once it has started more than this part (a quarter) of the rate in a process.
UNCHECKED_SHARE = 4
MOST_ACCOUNTS = 50_000
# A crashed process leaves its slots behind for so long: longer than any call takes to start a payment.
SLOT_SECONDS = 30
# Ids contain the time of the hosts' clocks; they only narrow down the rows to read.
MAX_CLOCK_SKEW = timedelta(hours=1)
SLOTS_PREFIX = "firstcome:{rates}:cards:"
TAKE_SLOT = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
local others = redis.call('ZCARD', KEYS[1])
if others < tonumber(ARGV[2]) then
  redis.call('ZADD', KEYS[1], ARGV[1] + ARGV[3], ARGV[4])
  redis.call('EXPIRE', KEYS[1], ARGV[3])
end
return others
"""

# One string: a long list would take the client longer to parse than all the rest of the call.
WATCHED = "firstcome:{rates}:watched"
READ_WATCHED = """
return table.concat(redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', ARGV[1], 'LIMIT', 0, ARGV[2]), ' ')
"""
MOST_WATCHED = 10_000
WATCHED_REFRESH_SECONDS = 0.25

_watched_mutex = threading.Lock()
_watched: frozenset[int] = frozenset()
_watched_read_at = float("-inf")
_mutex = threading.Lock()
_in_flight: dict[int, int] = {}
# Payments that accounts started since `_window_started_at`, and in the window before it.
_started: dict[int, int] = {}
_started_before: dict[int, int] = {}
_window_started_at = float("-inf")


def count_declines(account_ids: Collection[int]) -> None:
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


def require_below_limit(account_id: int) -> None:
    """Raise `Throttled` if too many payments of the account were declined lately."""
    if time.monotonic() - _watched_read_at >= WATCHED_REFRESH_SECONDS:
        _refresh_watched()
    if account_id in _watched:
        DECLINES.read(account_id)
    DECLINES.require_capacity(account_id)


@asynccontextmanager
async def limited(account_id: int) -> AsyncIterator[None]:
    """Around a block that starts a card payment, which is durable at its end.

    Raises `Throttled`, before the block, when so many of the account's payments were declined or may still be
    declined that one more could exceed the rate.
    """
    is_old = time.monotonic() - _watched_read_at >= WATCHED_REFRESH_SECONDS
    # A thread is needed where Redis would be called now.
    if account_id in _watched or (is_old and not _watched_mutex.locked()):
        await run_in_thread(require_below_limit, account_id, owner=account_id, pool=LOOKUP_POOL)
    DECLINES.require_capacity(account_id)
    rate = DECLINES.rate
    if rate is None:
        yield
        return
    with _mutex:
        if time.monotonic() - _window_started_at >= rate.seconds or len(_started) >= MOST_ACCOUNTS:
            _rotate_window()
        started_count = _started[account_id] = _started.get(account_id, 0) + 1
        others = _in_flight.get(account_id, 0)
        if others >= rate.times:
            DECLINES.require_capacity(account_id, besides=others)
        _in_flight[account_id] = others + 1
    started_count += _started_before.get(account_id, 0)
    try:
        is_checked = started_count > rate.times // UNCHECKED_SHARE or account_id in _watched
        async with _slot(account_id, rate, others) if is_checked else nullcontext():
            yield
    finally:
        with _mutex:
            left = _in_flight.pop(account_id) - 1
            if left:
                _in_flight[account_id] = left


def count_unsettled(account_id: int, rate: Rate) -> int:
    """How many card payments of the account may still be declined.

    Long overdue ones don't count: they wait for an operator, possibly for days.
    """
    longest = settings.PAYMENT_ACTION_SECONDS + settings.PAYMENT_GIVE_UP_SECONDS
    seconds = max(rate.seconds, longest)
    since = clock.now() - timedelta(seconds=seconds)
    payments = Payment.objects.filter(account_id=account_id, id__gte=_first_id(since - MAX_CLOCK_SKEW))
    return payments.filter(status__in=UNSETTLED, card_amount__gt=0, created_at__gte=since).count()


def forget() -> None:
    """Clear the counts and the cache of this process (tests)."""
    global _watched, _watched_read_at, _window_started_at
    _watched, _watched_read_at = frozenset(), float("-inf")
    with _mutex:
        _started.clear()
        _started_before.clear()
        _window_started_at = float("-inf")


def _rotate_window() -> None:
    """Start the next window, and forget the one before the last."""
    global _started, _started_before, _window_started_at
    _started, _started_before, _window_started_at = {}, _started, time.monotonic()


@asynccontextmanager
async def _slot(account_id: int, rate: Rate, others: int) -> AsyncIterator[None]:
    """A slot for the block, if the account's declines and unsettled payments leave one; else `Throttled`."""
    key, slot = f"{SLOTS_PREFIX}{account_id}", uuid4().hex
    try:
        await run_in_thread(_take_slot, account_id, rate, others, key, slot, owner=account_id)
        yield
    finally:
        run_in_background(partial(release_slots, key, slot))


def _take_slot(account_id: int, rate: Rate, others: int, key: str, slot: str) -> None:
    """Take a slot, or raise `Throttled`.

    Counts the slots first, then the payments, then the declines: a payment that moves from one to the next
    meanwhile counts twice, and is never missed.
    """
    besides = max(others, add_slot(key, slot, rate)) + count_unsettled(account_id, rate)
    DECLINES.read(account_id)
    DECLINES.require_capacity(account_id, besides=besides)


def add_slot(key: str, slot: str, rate: Rate) -> int:
    """How many other slots there are; this one is added unless they are as many as the rate allows."""
    now = clock.now().timestamp()
    others: int = redis_client.attempt(
        lambda client: client.eval(TAKE_SLOT, 1, key, now, rate.times, SLOT_SECONDS, slot), otherwise=0
    )
    return others


def release_slots(key: str, *slots: str) -> None:
    """Remove these slots."""
    redis_client.attempt(lambda client: client.zrem(key, *slots), otherwise=0)


def _first_id(at: datetime) -> UUID:
    """The smallest id of a payment that started then: ids are UUIDv7, so an index sorts them by time."""
    milliseconds = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62))


def _watch(client: Redis, until: Mapping[str, float], now: float) -> None:
    """Watch these accounts until these instants, and drop those whose instant has passed."""
    pipeline = client.pipeline(transaction=False)
    pipeline.zadd(WATCHED, until)
    pipeline.zremrangebyscore(WATCHED, "-inf", now)
    pipeline.execute()


def _refresh_watched() -> None:
    """Read the watched accounts in one thread; others use the last read meanwhile."""
    global _watched, _watched_read_at
    if not _watched_mutex.acquire(blocking=False):
        return
    try:
        _watched_read_at = time.monotonic()
        if DECLINES.rate is None:
            return
        now = clock.now().timestamp()
        ids: bytes | None = redis_client.attempt(
            lambda client: client.eval(READ_WATCHED, 1, WATCHED, now, MOST_WATCHED), otherwise=None
        )
        if ids is not None:
            _watched = frozenset(map(int, ids.split()))
    finally:
        _watched_mutex.release()
