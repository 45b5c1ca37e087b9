"""Rate limits of accounts: sliding windows, counted in each process and merged in Redis.

A call is counted in memory, without a round trip. A thread sends new counts to Redis and reads back the
counts of all processes, many accounts in one script. So a process sees the others' calls at most 250 ms late,
and an account may make a few calls too many meanwhile. While Redis is unavailable each process counts alone,
and sends its counts later.
"""

import hashlib
import math
import struct
import threading
import time
from array import array
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.conf import settings
from prometheus_client import Counter
from structlog import get_logger

from shop import clock
from shop.concurrency.event_loop import LOOKUP_POOL, run_in_thread
from shop.configuration import Rate
from shop.errors import Rejected, Throttled, Unavailable
from shop.idempotency.claims import InFlight
from shop.idempotency.recorded_answers import Replay
from shop.lazy_texts import mark as _
from shop.rates import throttling
from shop.redis import redis_client

log = get_logger(__name__)
THROTTLED = Counter("firstcome_throttled", "Calls refused because an account made too many.", ["limit"])
# How far the clocks of processes may differ. Later instants were counted before the clock was set back.
MAX_CLOCK_SKEW_SECONDS = 1.0
# Together with the round trip to Redis less than the 250 ms that the shop promises.
SYNCHRONIZATION_DELAY_SECONDS = 0.2
ACCOUNTS_PER_ROUND_TRIP = 500
# Above this a tenth of the windows, the oldest first, is dropped from memory. Redis still has them.
MAX_WINDOWS = 50_000

# A window is a string of instants, eight bytes each. An instant that it already contains is not added again,
# so a batch whose reply was lost may be sent twice. All accounts are sent in one string and returned in one,
# because the client's time is mostly per argument. So the script builds the names of the keys; their hash tag
# keeps them in one slot of a Redis Cluster. Instants in the future are removed, like old ones.
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

    The last `unsent` of them are not in Redis yet; `held` more calls are in progress, and may end up not
    counted.
    """

    __slots__ = ("held", "times", "unsent")

    def __init__(self) -> None:
        self.times = array("d")
        self.unsent = 0
        self.held = 0

    def trim_ends(self, horizon: float, latest: float) -> None:
        """Drop old instants from the start, and all outside the window if the last one is."""
        times, gone = self.times, 0
        while gone < len(times) and not horizon < times[gone] <= latest:
            gone += 1
        if gone:
            del times[:gone]
            self.unsent = min(self.unsent, len(times))
        if times and not horizon < times[-1] <= latest:
            self.trim_all(horizon, latest)

    def trim_all(self, horizon: float, latest: float) -> None:
        """Drop all instants outside the window, wherever they are."""
        fresh = self.times[-self.unsent :] if self.unsent else ()
        self.unsent = sum(horizon < instant <= latest for instant in fresh)
        self.times = array("d", [instant for instant in self.times if horizon < instant <= latest])


@dataclass(slots=True)
class CountedCall:
    """A call that is being counted, and its outcome."""

    outcome: Any = None


@dataclass(frozen=True, slots=True)
class Usage:
    """How many calls of an account are in a limit's window now.

    `is_shared` says that Redis was read: without it, only this process's own counts are known.
    """

    name: str
    used: int
    rate: Rate
    is_shared: bool


class RateLimit:
    """At most so many calls of an account within any window of time, as the setting says; None: no limit."""

    def __init__(self, name: str, setting: str) -> None:
        self.name = name
        self._setting = setting
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
        now = clock.now().timestamp()
        with self._mutex:
            window = self._window(account_id)
            self._require_capacity(window, rate, now)
            self._add(account_id, window, now)

    @contextmanager
    def counting(self, account_id: int) -> Iterator["CountedCall"]:
        """Count the block as one call, except for replays and while the shop is unavailable.

        The block sets `CountedCall.outcome`. Raises `Throttled` before the block starts.
        """
        counting, rate = CountedCall(), self.rate
        if rate is None:
            yield counting
            return
        now = clock.now().timestamp()
        with self._mutex:
            window = self._window(account_id)
            self._require_capacity(window, rate, now)
            window.held += 1
        is_counted = True
        try:
            yield counting
            is_counted = not isinstance(counting.outcome, Replay)
        except (InFlight, Unavailable):
            is_counted = False
            raise
        finally:
            with self._mutex:
                window.held -= 1
                if is_counted:
                    self._add(account_id, window, now)

    def add(self, account_id: int) -> None:
        """Count what has happened, even if the window is full."""
        with self._mutex:
            self._add(account_id, self._window(account_id), clock.now().timestamp())

    def count_now(self, account_id: int) -> None:
        """Count what has happened, in all processes at once.

        Raises `Throttled` if calls of other processes filled the window meanwhile.
        """
        self.add(account_id)
        self.synchronize()
        rate, now = self.rate, clock.now().timestamp()
        with self._mutex:
            window = self._window(account_id)
            if rate:
                self._require_capacity(window, rate, now, besides=-1)

    def require_capacity(self, account_id: int, *, besides: int = 0) -> None:
        """Raise `Throttled` if the account's window is full with `besides` more calls; counts nothing."""
        window = self._windows.get(account_id) or (_Window() if besides else None)
        rate = self.rate if window else None
        if window and rate:
            with self._mutex:
                self._require_capacity(window, rate, clock.now().timestamp(), besides)

    def is_half_full(self, account_id: int) -> bool:
        """Whether the account has used at least half of its limit."""
        rate, window = self.rate, self._windows.get(account_id)
        return bool(rate and window and 2 * len(window.times) >= rate.times)

    def read(self, account_id: int) -> None:
        """Read the account's window from Redis now."""
        rate = self.rate
        if rate:
            with self._mutex:
                window = self._window(account_id)
            self._exchange([(account_id, window, b"")], rate)

    def read_usage(self, account_id: int) -> Usage | None:
        """How much of the limit the account has used, read from Redis now; None without a limit."""
        rate = self.rate
        if rate is None:
            return None
        with self._mutex:
            window = self._window(account_id)
        is_shared = self._exchange([(account_id, window, b"")], rate)
        now = clock.now().timestamp()
        with self._mutex:
            window.trim_all(now - rate.seconds, now + MAX_CLOCK_SKEW_SECONDS)
            return Usage(self.name, len(window.times) + window.held, rate, is_shared)

    def synchronize(self) -> None:
        """Send new counts of this process to Redis, and read back the counts of all processes."""
        rate = self.rate
        with self._mutex:
            unsent, self._unsent = self._unsent, {}
            batch = [(id, window, _take_unsent(window)) for id, window in unsent.items()]
        for start in range(0, len(batch) if rate else 0, ACCOUNTS_PER_ROUND_TRIP):
            assert rate
            self._exchange(batch[start : start + ACCOUNTS_PER_ROUND_TRIP], rate)

    def forget(self) -> None:
        """Drop everything that this process has counted (tests)."""
        with self._mutex:
            self._windows.clear()
            self._unsent.clear()

    def _window(self, account_id: int) -> _Window:
        window = self._windows.get(account_id)
        if window is None:
            if len(self._windows) >= MAX_WINDOWS:
                self._drop_idle_windows()
            window = self._windows[account_id] = _Window()
        return window

    def _drop_idle_windows(self) -> None:
        idle = (id for id, window in self._windows.items() if not (window.held or window.unsent))
        for id in list(islice(idle, MAX_WINDOWS // 10)):
            del self._windows[id]

    def _require_capacity(self, window: _Window, rate: Rate, now: float, besides: int = 0) -> None:
        horizon, latest = now - rate.seconds, now + MAX_CLOCK_SKEW_SECONDS
        window.trim_ends(horizon, latest)
        if len(window.times) + window.held + besides < rate.times:
            return
        window.trim_all(horizon, latest)
        over = len(window.times) + window.held + besides - rate.times
        if over < 0:
            return
        THROTTLED.labels(limit=self.name).inc()
        # A call is possible once that many of the oldest have left the window; calls in progress end soon.
        seconds = window.times[over] + rate.seconds - now if over < len(window.times) else 0.0
        raise Throttled(
            _(
                "Too many of these calls: at most {times} in {seconds} seconds. Wait a while.",
                times=rate.times,
                seconds=rate.seconds,
            ),
            retry_after=max(1, math.ceil(seconds)),
        )

    def _add(self, account_id: int, window: _Window, now: float) -> None:
        window.times.append(now)
        if not window.unsent:
            self._unsent[account_id] = window
        window.unsent += 1
        _request_synchronization()

    def _exchange(self, batch: Sequence[tuple[int, _Window, bytes]], rate: Rate) -> bool:
        """Send and read these windows. Returns whether Redis could be called."""
        sent = b"".join([SENT_HEADER.pack(account_id, len(times)) + times for account_id, _, times in batch])
        prefix = f"firstcome:{{rates}}:{self.name}:"
        now = clock.now().timestamp()
        window = now - rate.seconds, now + MAX_CLOCK_SKEW_SECONDS, rate.seconds * 1000
        reply: bytes | None = redis_client.attempt(
            lambda client: client.eval(MERGE_SCRIPT, 1, prefix, *window, sent), otherwise=None
        )
        with self._mutex:
            if reply is None:
                self._put_back(batch)
            else:
                _replace_windows(batch, reply)
        return reply is not None

    def _put_back(self, batch: Sequence[tuple[int, _Window, bytes]]) -> None:
        for account_id, window, times in batch:
            window.unsent = min(window.unsent + len(times) // window.times.itemsize, len(window.times))
            if window.unsent:
                self._unsent[account_id] = window
                _request_synchronization()


def _take_unsent(window: _Window) -> bytes:
    """The window's unsent instants as bytes; from now on they count as sent."""
    times = window.times[-window.unsent :] if window.unsent else window.times[:0]
    window.unsent = 0
    return times.tobytes()


def _replace_windows(batch: Sequence[tuple[int, _Window, bytes]], reply: bytes) -> None:
    """Replace the windows by those of the reply, plus what was counted here since."""
    at = 0
    for _account, window, _times in batch:
        (length,) = RECEIVED_HEADER.unpack_from(reply, at)
        since = window.times[-window.unsent :] if window.unsent else ()
        window.times = array("d", reply[at + 4 : at + 4 + length])
        window.times.extend(since)
        at += 4 + length


COUPONS = RateLimit("coupons", "RATE_COUPONS")
ENTRIES = RateLimit("entries", "RATE_ENTRIES")
ORDERS = RateLimit("orders", "RATE_ORDERS")
PAYMENTS = RateLimit("payments", "RATE_PAYMENTS")
TOP_UPS = RateLimit("top-ups", "RATE_TOP_UPS")
DECLINES = RateLimit("declines", "RATE_DECLINES")
WRONG_CODES = RateLimit("wrong-codes", "RATE_WRONG_CODES")
WRONG_CODES_OF_NETWORK = RateLimit("wrong-codes-of-network", "RATE_WRONG_CODES_OF_NETWORK")
REFRESHES = RateLimit("refreshes", "RATE_REFRESHES")
API_KEYS = RateLimit("api-keys", "RATE_API_KEYS")
DECLINES_PER_KEY = RateLimit("declines-per-key", "RATE_DECLINES_PER_KEY")
LIMITS = (COUPONS, ENTRIES, ORDERS, PAYMENTS, TOP_UPS, DECLINES, WRONG_CODES, REFRESHES)
"""Those of accounts."""
OTHER_LIMITS = (API_KEYS, DECLINES_PER_KEY, WRONG_CODES_OF_NETWORK)
"""By the number of an API key, or of a network, in the place of an account's."""

_synchronization_requested = threading.Event()
_start_mutex = threading.Lock()
_thread: threading.Thread | None = None


def number_of_network(network: str) -> int:
    """A number for a network, in the place of an account's."""
    return int.from_bytes(hashlib.sha256(network.encode()).digest()[:6])


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
        limits.append((WRONG_CODES_OF_NETWORK, number_of_network(network)))
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
    usages = [limit.read_usage(account_id) for limit in LIMITS]
    return [usage for usage in usages if usage]


def synchronize() -> None:
    """Merge all counts of this process with Redis."""
    for limit in (*LIMITS, *OTHER_LIMITS):
        limit.synchronize()


def clear_memory() -> None:
    """Drop everything that this process has counted (tests)."""
    for limit in (*LIMITS, *OTHER_LIMITS):
        limit.forget()


def _request_synchronization() -> None:
    """Wake the process's thread, or start it: a forked process has none yet."""
    global _thread
    if _synchronization_requested.is_set():
        return
    _synchronization_requested.set()
    if _thread is None or not _thread.is_alive():
        with _start_mutex:
            if _thread is None or not _thread.is_alive():
                _thread = threading.Thread(target=_synchronize_forever, name="rate limits", daemon=True)
                _thread.start()


def _synchronize_forever() -> None:
    while True:
        _synchronization_requested.wait()
        time.sleep(SYNCHRONIZATION_DELAY_SECONDS)
        # Cleared before the exchange: calls that are counted during it need the next one.
        _synchronization_requested.clear()
        try:
            synchronize()
        except Exception:
            log.exception("rate limits not merged with Redis")
