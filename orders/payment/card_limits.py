"""Limits the cards that an account tries at once: payments that may still be declined count as declined.

A payment is declined only once the gateway answers, so many that start together would all find no declines.
An account that starts few card payments is not checked. Once it has started more than a share of the rate,
or has half of its declines, its unsettled payments are read from the database and its declines from Redis,
where a slot stands for each payment that is being started and is in no table yet.
"""

import threading
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar
from uuid import UUID, uuid4

from django.conf import settings

from orders.payment import declines
from payments.models import Payment
from shop import clock
from shop.concurrency.event_loop import LOOKUP_POOL, run_in_background, run_in_thread
from shop.configuration import Rate
from shop.rates.rate_limits import DECLINES
from shop.redis import redis_client

T = TypeVar("T")
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

_mutex = threading.Lock()
_in_flight: dict[int, int] = {}
# Payments that accounts started since `_window_started_at`, and in the window before it.
_started: dict[int, int] = {}
_started_before: dict[int, int] = {}
_window_started_at = float("-inf")


async def run_limited(account_id: int, work: Callable[[], Awaitable[T]]) -> T:
    """The outcome of `work`, which starts a card payment and is durable when it returns.

    Raises `Throttled`, before any work is done, when so many of the account's payments were declined or may
    still be declined that one more could exceed the rate.
    """
    if declines.needs_read(account_id):
        await run_in_thread(declines.require_below_limit, account_id, owner=account_id, pool=LOOKUP_POOL)
    DECLINES.require_capacity(account_id)
    rate = DECLINES.rate
    if rate is None:
        return await work()
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
        if started_count > rate.times // UNCHECKED_SHARE or declines.is_watched(account_id):
            return await _run_checked(account_id, rate, others, work)
        return await work()
    finally:
        with _mutex:
            left = _in_flight.pop(account_id) - 1
            if left:
                _in_flight[account_id] = left


def count_unsettled(account_id: int, rate: Rate) -> int:
    """How many card payments of the account may still be declined.

    Long overdue ones don't count: they wait for an operator, possibly for days.
    """
    seconds = max(rate.seconds, settings.PAYMENT_GIVE_UP_SECONDS)
    since = clock.now() - timedelta(seconds=seconds)
    payments = Payment.objects.filter(account_id=account_id, id__gte=_first_id(since - MAX_CLOCK_SKEW))
    return payments.filter(status__in=UNSETTLED, card_amount__gt=0, created_at__gte=since).count()


def forget() -> None:
    """Clear the counts of this process (tests)."""
    global _window_started_at
    with _mutex:
        _started.clear()
        _started_before.clear()
        _window_started_at = float("-inf")


def _rotate_window() -> None:
    """Start the next window, and forget the one before the last."""
    global _started, _started_before, _window_started_at
    _started, _started_before, _window_started_at = {}, _started, time.monotonic()


async def _run_checked(account_id: int, rate: Rate, others: int, work: Callable[[], Awaitable[T]]) -> T:
    """The outcome of `work`, if the account's declines and unsettled payments leave room for it."""
    key, slot = f"{SLOTS_PREFIX}{account_id}", uuid4().hex
    try:
        await run_in_thread(_take_slot, account_id, rate, others, key, slot, owner=account_id)
        return await work()
    finally:
        run_in_background(partial(_release_slot, key, slot))


def _take_slot(account_id: int, rate: Rate, others: int, key: str, slot: str) -> None:
    """Take a slot, or raise `Throttled`.

    Counts the slots first, then the payments, then the declines: a payment that moves from one to the next
    meanwhile counts twice, and is never missed.
    """
    now = clock.now().timestamp()
    other_slots: int = redis_client.attempt(
        lambda client: client.eval(TAKE_SLOT, 1, key, now, rate.times, SLOT_SECONDS, slot), otherwise=0
    )
    besides = max(others, other_slots) + count_unsettled(account_id, rate)
    DECLINES.read(account_id)
    DECLINES.require_capacity(account_id, besides=besides)


def _release_slot(key: str, slot: str) -> None:
    redis_client.attempt(lambda client: client.zrem(key, slot), otherwise=0)


def _first_id(at: datetime) -> UUID:
    """The smallest id of a payment that started then: ids are UUIDv7, so an index sorts them by time."""
    milliseconds = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62))
