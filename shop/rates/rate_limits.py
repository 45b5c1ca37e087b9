"""How often an account may call: sliding windows, counted in each process and brought together in Redis.

A call is counted in memory, without a round trip. A thread sends what is new to Redis and takes back what all
processes counted, many accounts by one script; so a process counts the others' calls at most 250 ms late,
and an account may make a few calls too many meanwhile. While Redis is away each process counts alone, and
what it counted is sent later.
"""

import math
import struct
import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.conf import settings
from prometheus_client import Counter
from structlog import get_logger

from shop import clock
from shop.configuration import Rate
from shop.errors import Throttled, Unavailable
from shop.idempotency.claims import InFlight
from shop.idempotency.recorded_answers import Replay
from shop.redis import redis_client

log = get_logger(__name__)
THROTTLED = Counter("firstcome_throttled", "Calls refused because an account made too many.", ["limit"])
# How far the clocks of processes may be apart. What is later was counted before the clock went back.
MAX_CLOCK_SKEW_SECONDS = 1.0
# With the trip to Redis less than the 250 ms that the shop promises.
SYNCHRONIZATION_DELAY_SECONDS = 0.2
ACCOUNTS_PER_ROUND_TRIP = 500
# Past this the windows that were used first are forgotten, a tenth at once. Redis still has them.
MAX_WINDOWS = 50_000

# A window is a string of instants, eight bytes each. An instant that is there already is not added again, so
# that a batch whose answer was lost may be sent twice. All accounts come in one string and go back in one, as
# the client takes longer over each argument than over all else. So the script makes the names of the keys;
# their hash tag has them in one place of a Redis Cluster. Instants of the future go, as old ones do.
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

    The last `unsent` of them are not in Redis yet; `held` more are under way, and may turn out to be none.
    """

    __slots__ = ("held", "times", "unsent")

    def __init__(self) -> None:
        self.times = array("d")
        self.unsent = 0
        self.held = 0

    def trim_ends(self, horizon: float, latest: float) -> None:
        """Forget the instants until the horizon and those after the latest, as far as an end shows them."""
        times, gone = self.times, 0
        while gone < len(times) and not horizon < times[gone] <= latest:
            gone += 1
        if gone:
            del times[:gone]
            self.unsent = min(self.unsent, len(times))
        if times and not horizon < times[-1] <= latest:
            self.trim_all(horizon, latest)

    def trim_all(self, horizon: float, latest: float) -> None:
        """Forget them wherever they stand."""
        fresh = self.times[-self.unsent :] if self.unsent else ()
        self.unsent = sum(horizon < instant <= latest for instant in fresh)
        self.times = array("d", [instant for instant in self.times if horizon < instant <= latest])


@dataclass(slots=True)
class CountedCall:
    """A call that is being counted, and what came of it."""

    outcome: Any = None


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
            self._require_room(window, rate, now)
            self._add(account_id, window, now)

    @contextmanager
    def counting(self, account_id: int) -> Iterator["CountedCall"]:
        """Count the block as one call, but for repeats and where the shop is unavailable.

        The block says by `CountedCall.outcome` what came of it. Raises `Throttled` before it begins.
        """
        counting, rate = CountedCall(), self.rate
        if rate is None:
            yield counting
            return
        now = clock.now().timestamp()
        with self._mutex:
            window = self._window(account_id)
            self._require_room(window, rate, now)
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
        """Count what has happened, whether there was room for it or not."""
        with self._mutex:
            self._add(account_id, self._window(account_id), clock.now().timestamp())

    def require_room(self, account_id: int, *, besides: int = 0) -> None:
        """Raise `Throttled` if the account's window is full, with so many besides; counts nothing."""
        window = self._windows.get(account_id) or (_Window() if besides else None)
        rate = self.rate if window else None
        if window and rate:
            with self._mutex:
                self._require_room(window, rate, clock.now().timestamp(), besides)

    def is_half_full(self, account_id: int) -> bool:
        """Whether the account has used half of what it may, or more."""
        rate, window = self.rate, self._windows.get(account_id)
        return bool(rate and window and 2 * len(window.times) >= rate.times)

    def read(self, account_id: int) -> None:
        """Take the account's window from Redis now."""
        rate = self.rate
        if rate:
            with self._mutex:
                window = self._window(account_id)
            self._exchange([(account_id, window, b"")], rate)

    def synchronize(self) -> None:
        """Send what was counted here to Redis, and take back what all processes counted."""
        rate = self.rate
        with self._mutex:
            unsent, self._unsent = self._unsent, {}
            batch = [(id, window, _take_unsent(window)) for id, window in unsent.items()]
        for start in range(0, len(batch) if rate else 0, ACCOUNTS_PER_ROUND_TRIP):
            assert rate
            self._exchange(batch[start : start + ACCOUNTS_PER_ROUND_TRIP], rate)

    def forget(self) -> None:
        """Forget what this process knows (tests)."""
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

    def _require_room(self, window: _Window, rate: Rate, now: float, besides: int = 0) -> None:
        horizon, latest = now - rate.seconds, now + MAX_CLOCK_SKEW_SECONDS
        window.trim_ends(horizon, latest)
        if len(window.times) + window.held + besides < rate.times:
            return
        window.trim_all(horizon, latest)
        over = len(window.times) + window.held + besides - rate.times
        if over < 0:
            return
        THROTTLED.labels(limit=self.name).inc()
        # Room for one comes when so many of the oldest have left the window; calls under way are over soon.
        seconds = window.times[over] + rate.seconds - now if over < len(window.times) else 0.0
        raise Throttled(
            f"Too many of these calls: at most {rate.times} in {rate.seconds} seconds. Wait a while.",
            retry_after=max(1, math.ceil(seconds)),
        )

    def _add(self, account_id: int, window: _Window, now: float) -> None:
        window.times.append(now)
        if not window.unsent:
            self._unsent[account_id] = window
        window.unsent += 1
        _request_synchronization()

    def _exchange(self, batch: Sequence[tuple[int, _Window, bytes]], rate: Rate) -> None:
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

    def _put_back(self, batch: Sequence[tuple[int, _Window, bytes]]) -> None:
        for account_id, window, times in batch:
            window.unsent = min(window.unsent + len(times) // window.times.itemsize, len(window.times))
            if window.unsent:
                self._unsent[account_id] = window
                _request_synchronization()


def _take_unsent(window: _Window) -> bytes:
    """What of the window is to be sent; from now on it counts as sent."""
    times = window.times[-window.unsent :] if window.unsent else window.times[:0]
    window.unsent = 0
    return times.tobytes()


def _replace_windows(batch: Sequence[tuple[int, _Window, bytes]], reply: bytes) -> None:
    """Have the windows be what Redis says, with what was counted here since."""
    at = 0
    for _, window, _ in batch:
        (length,) = RECEIVED_HEADER.unpack_from(reply, at)
        since = window.times[-window.unsent :] if window.unsent else ()
        window.times = array("d", reply[at + 4 : at + 4 + length])
        window.times.extend(since)
        at += 4 + length


COUPONS = RateLimit("coupons", "RATE_COUPONS")
ORDERS = RateLimit("orders", "RATE_ORDERS")
PAYMENTS = RateLimit("payments", "RATE_PAYMENTS")
TOP_UPS = RateLimit("top-ups", "RATE_TOP_UPS")
DECLINES = RateLimit("declines", "RATE_DECLINES")
REFRESHES = RateLimit("refreshes", "RATE_REFRESHES")
LIMITS = (COUPONS, ORDERS, PAYMENTS, TOP_UPS, DECLINES, REFRESHES)

_synchronization_requested = threading.Event()
_start_mutex = threading.Lock()
_thread: threading.Thread | None = None


def synchronize() -> None:
    """Exchange with Redis all that was counted here."""
    for limit in LIMITS:
        limit.synchronize()


def clear_memory() -> None:
    """Forget what this process knows (tests)."""
    for limit in LIMITS:
        limit.forget()


def _request_synchronization() -> None:
    """Have the process's thread exchange soon; a process that was forked has none yet."""
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
        # Before the exchange: what is counted during it needs the next one.
        _synchronization_requested.clear()
        try:
            synchronize()
        except Exception:
            log.exception("rate limits not brought together")
