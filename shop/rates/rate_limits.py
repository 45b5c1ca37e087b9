"""Rate limits of accounts: sliding windows, counted in each process and merged in Redis by a thread.

A process sees the others' calls at most 250 ms late, and an account may make a few calls too many meanwhile.
While Redis is unavailable each process counts alone.
"""

import hashlib
import math
import struct
import threading
import time
from array import array
from bisect import bisect_right, insort
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.conf import settings
from prometheus_client import Counter

from shop import clock
from shop.concurrency.event_loop import run_in_thread
from shop.concurrency.thread_pool import LOOKUP_POOL
from shop.configuration import Rate
from shop.errors import Rejected, Throttled, Unavailable
from shop.idempotency.claims import InFlight
from shop.idempotency.recorded_answers import Replay
from shop.lazy_texts import mark as _
from shop.rates import throttling
from shop.redis import redis_client
from shop.repeated_work import RepeatedWork

THROTTLED = Counter(
    "firstcome_throttled",
    "Calls refused because an account, an API key (api-keys, declines-per-key) or a network made too many.",
    ["limit"],
)
# How far the clocks of processes may differ. Later instants were counted before the clock was set back.
MAX_CLOCK_SKEW_SECONDS = 1.0
# Together with the round trip to Redis less than the 250 ms that the shop promises.
SYNCHRONIZATION_DELAY_SECONDS = 0.2
ACCOUNTS_PER_ROUND_TRIP = 500
# Above this a tenth of the windows, the oldest first, is dropped from memory. Redis still has them.
MAX_WINDOWS = 50_000

# A window is a string of instants, eight bytes each. An instant that it already contains is not added again,
# so a batch whose reply was lost may be sent twice. All accounts are sent in one string and returned in one,
# because the client's time is mostly per argument. The hash tag keeps their keys in one slot of a cluster.
MERGE_SCRIPT = """
local horizon, latest, milliseconds, batch = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
local windows, at = {}, 1
local function counts(instants, at)
  local instant = struct.unpack('<d', instants, at)
  return horizon < instant and instant <= latest
end
local function counting(instants)
  local from = 1
  while from <= #instants and not counts(instants, from) do from = from + 8 end
  instants = string.sub(instants, from)
  if instants == '' or counts(instants, #instants - 7) then return instants end
  local kept = {}
  for at = 1, #instants, 8 do
    if counts(instants, at) then kept[#kept + 1] = string.sub(instants, at, at + 7) end
  end
  return table.concat(kept)
end
while at <= #batch do
  local account, size = struct.unpack('<I8I4', batch, at)
  local name, ends = KEYS[1] .. string.format('%.0f', account), at + 12 + size
  local window = counting(redis.call('GET', name) or '')
  for fresh = at + 12, ends - 1, 8 do
    local instant = string.sub(batch, fresh, fresh + 7)
    if counts(batch, fresh) and not string.find(window, instant, 1, true) then window = window .. instant end
  end
  if size > 0 then redis.call('SET', name, window, 'PX', milliseconds) end
  windows[#windows + 1] = struct.pack('<I4', #window) .. window
  at = ends
end
return table.concat(windows)
"""
SENT_HEADER, RECEIVED_HEADER = struct.Struct("<QI"), struct.Struct("<I")


class _Window:
    """An account's calls, oldest first, in seconds since the epoch.

    Those in `unsent` are not in Redis yet; `held` more calls are in progress, and may end up not counted.
    """

    __slots__ = ("held", "times", "unsent")

    def __init__(self) -> None:
        self.times, self.held = array("d"), 0
        self.unsent: list[float] = []

    def trim(self, horizon: float, latest: float) -> None:
        """Drop the instants outside the window: old ones, and those from before the clock was set back."""
        times = self.times
        if times and not (horizon < times[0] and times[-1] <= latest):
            self.times = times[bisect_right(times, horizon) : bisect_right(times, latest)]


@dataclass(frozen=True, slots=True)
class Usage:
    """How many calls of an account are in a limit's window; only this process's unless `is_shared`."""

    name: str
    used: int
    rate: Rate
    is_shared: bool


class RateLimit:
    """At most so many calls of an account within any window of time, as the setting of its name says; None:
    no limit.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._setting = f"RATE_{name.upper().replace('-', '_')}"
        self._mutex = threading.Lock()
        self._windows: dict[int, _Window] = {}
        self._unsent: dict[int, _Window] = {}

    @property
    def rate(self) -> Rate | None:
        rate: Rate | None = getattr(settings, self._setting)
        return rate

    def count(self, account_id: int) -> None:
        """Count a call of the account. Raises `Throttled`, and then nothing is counted."""
        rate = self.rate
        if rate is None:
            return
        now = clock.seconds()
        with self._mutex:
            window = self._window(account_id)
            self._require_capacity(window, rate, now)
            self._add(account_id, window, now)

    def counting(self, account_id: int, *, is_free: bool = False) -> "CountedCall":
        """Count a block as one call, except for replays and while the shop is unavailable; not if `is_free`.

        The block sets `CountedCall.outcome`. Raises `Throttled` before the block starts.
        """
        return CountedCall(self, None if is_free else self.rate, account_id)

    def count_now(self, account_id: int) -> None:
        """Count what has happened, even if the window is full, in all processes at once. Raises `Throttled`
        if the window was full before: of calls at once as many as fit are the first ones that Redis counts.
        """
        rate, now = self.rate, clock.seconds()
        if rate is None:
            return
        with self._mutex:
            window = self._window(account_id)
            insort(window.times, now)
        counted = self._exchange([(account_id, window, [now])], rate)
        if counted is None or counted > rate.times:
            self.require_capacity(account_id, besides=-1)

    def require_capacity(self, account_id: int, *, besides: int = 0) -> None:
        """Raise `Throttled` if the account's window is full with `besides` more calls; counts nothing."""
        window, rate = self._windows.get(account_id), self.rate
        if window and rate:
            with self._mutex:
                self._require_capacity(window, rate, clock.seconds(), besides)

    def read_usage(self, account_id: int) -> Usage | None:
        """How much of the limit the account has used, read from Redis now; None without a limit."""
        rate = self.rate
        if rate is None:
            return None
        with self._mutex:
            window = self._window(account_id)
        is_shared = self._exchange([(account_id, window, ())], rate) is not None
        now = clock.seconds()
        with self._mutex:
            window.trim(now - rate.seconds, now + MAX_CLOCK_SKEW_SECONDS)
            return Usage(self.name, len(window.times) + window.held, rate, is_shared)

    def synchronize(self) -> None:
        rate, batch = self.rate, []
        with self._mutex:
            for account_id, window in self._unsent.items():
                batch.append((account_id, window, window.unsent))
                window.unsent = []
            self._unsent = {}
        if rate:
            for start in range(0, len(batch), ACCOUNTS_PER_ROUND_TRIP):
                self._exchange(batch[start : start + ACCOUNTS_PER_ROUND_TRIP], rate)

    def _window(self, account_id: int) -> _Window:
        window = self._windows.get(account_id)
        if window is None:
            if len(self._windows) >= MAX_WINDOWS:
                idle = (id for id, window in self._windows.items() if not (window.held or window.unsent))
                for id in list(islice(idle, MAX_WINDOWS // 10)):
                    del self._windows[id]
            window = self._windows[account_id] = _Window()
        return window

    def _require_capacity(self, window: _Window, rate: Rate, now: float, besides: int = 0) -> None:
        window.trim(now - rate.seconds, now + MAX_CLOCK_SKEW_SECONDS)
        over = len(window.times) + window.held + besides - rate.times
        if over >= 0:
            # One more is possible once that many of the oldest have left; calls in progress end soon.
            seconds = window.times[over] + rate.seconds - now if over < len(window.times) else 0
            raise refusal(self.name, rate, seconds=seconds)

    def _add(self, account_id: int, window: _Window, now: float) -> None:
        insort(window.times, now)
        window.unsent.append(now)
        self._note_unsent(account_id, window)

    def _note_unsent(self, account_id: int, window: _Window) -> None:
        self._unsent[account_id] = window
        if not _synchronization_requested.is_set():
            _synchronization_requested.set()
            _synchronization.start()

    def _exchange(self, batch: Sequence[tuple[int, _Window, Sequence[float]]], rate: Rate) -> int | None:
        """Send and read these windows. Returns how many calls of the last one Redis has; None without it."""
        sent = b"".join(
            [SENT_HEADER.pack(id, 8 * len(times)) + array("d", times).tobytes() for id, _, times in batch]
        )
        prefix = f"firstcome:{{rates}}:{self.name}:"
        now = clock.seconds()
        bounds = now - rate.seconds, now + MAX_CLOCK_SKEW_SECONDS, rate.seconds * 1000
        reply: bytes | None = redis_client.attempt(
            lambda client: client.eval(MERGE_SCRIPT, 1, prefix, *bounds, sent), otherwise=None
        )
        at, counted = 0, None if reply is None else 0
        with self._mutex:
            for account_id, window, times in batch:
                if reply is None:
                    window.unsent = [*times, *window.unsent][-rate.times :]
                    if window.unsent:
                        self._note_unsent(account_id, window)
                else:
                    (length,) = RECEIVED_HEADER.unpack_from(reply, at)
                    known = array("d", reply[at + 4 : at + 4 + length])
                    # With those counted here that are not sent yet, or that another exchange is sending.
                    window.times = array("d", sorted({*known, *window.times}))
                    at, counted = at + 4 + length, len(known)
        return counted


class CountedCall:
    """A block that `RateLimit.counting` counts, by its `outcome` or its error. Before, it has a place."""

    __slots__ = ("_account_id", "_began_at", "_limit", "_rate", "_window", "outcome")

    def __init__(self, limit: RateLimit, rate: Rate | None, account_id: int) -> None:
        self._limit, self._rate, self._account_id = limit, rate, account_id
        self.outcome: Any = None

    def __enter__(self) -> "CountedCall":
        limit = self._limit
        if self._rate:
            self._began_at = clock.seconds()
            with limit._mutex:
                self._window = limit._window(self._account_id)
                limit._require_capacity(self._window, self._rate, self._began_at)
                self._window.held += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        limit = self._limit
        if self._rate:
            is_uncounted = kind is not None and issubclass(kind, (InFlight, Unavailable))
            with limit._mutex:
                self._window.held -= 1
                if not is_uncounted and not isinstance(self.outcome, Replay):
                    limit._add(self._account_id, self._window, self._began_at)


def refusal(limit: str, rate: Rate, *, seconds: float) -> Throttled:
    """The refusal of one more call, which will be possible in so many seconds; it is counted."""
    THROTTLED.labels(limit=limit).inc()
    return Throttled(
        _(
            "Too many of these calls: at most {times} in {seconds} seconds. Wait a while.",
            times=rate.times,
            seconds=rate.seconds,
        ),
        retry_after=max(1, math.ceil(seconds)),
    )


COUPONS, ENTRIES, ORDERS = RateLimit("coupons"), RateLimit("entries"), RateLimit("orders")
PAYMENTS, TOP_UPS, REFRESHES = RateLimit("payments"), RateLimit("top-ups"), RateLimit("refreshes")
WRONG_CODES, WRONG_CODES_OF_NETWORK = RateLimit("wrong-codes"), RateLimit("wrong-codes-of-network")
API_KEYS = RateLimit("api-keys")
LIMITS = (COUPONS, ENTRIES, ORDERS, PAYMENTS, TOP_UPS, WRONG_CODES, REFRESHES)
"""Those of accounts."""
OTHER_LIMITS = (API_KEYS, WRONG_CODES_OF_NETWORK)
"""By the number of an API key, or of a network, in the place of an account's."""


@asynccontextmanager
async def counting_wrong_codes(account_id: int, address: str) -> AsyncIterator[None]:
    """Around a call that names a coupon's code: counts it if the account has no such coupon.

    It is counted for the account, and for the network of `address` unless that is empty. Raises `Throttled`
    before the block, when either has named too many such codes lately, and in the place of a refusal that
    would tell more than so many are wrong, by the counts of all processes.
    """
    limits = [(WRONG_CODES, account_id)]
    if address:
        network = throttling.network_of_address(address, ipv4_bits=24)
        number_of_network = int.from_bytes(hashlib.sha256(network.encode()).digest()[:6])
        limits.append((WRONG_CODES_OF_NETWORK, number_of_network))
    for limit, number in limits:
        limit.require_capacity(number)
    try:
        yield
    except Rejected as refusal:
        if refusal.code == "coupon_not_usable" and refusal.extra["reason"] == "not_found":
            for limit, number in limits:
                await run_in_thread(limit.count_now, number, pool=LOOKUP_POOL)
        raise


def read_usages(account_id: int) -> list[Usage]:
    """How much of each limit the account has used now, by the counts of all processes."""
    return [usage for usage in [limit.read_usage(account_id) for limit in LIMITS] if usage]


def synchronize() -> None:
    for limit in (*LIMITS, *OTHER_LIMITS):
        limit.synchronize()


def _pause() -> float:
    _synchronization_requested.wait()
    time.sleep(SYNCHRONIZATION_DELAY_SECONDS)
    # Cleared before the exchange: calls that are counted during it need the next one.
    _synchronization_requested.clear()
    return 0.0


_synchronization_requested = threading.Event()
_synchronization = RepeatedWork(synchronize, name="rate limits", pause=_pause)
