"""Rate limits: two counters each, of the current window and of the one before it, weighted by time.

The windows follow one another on the clock, and of the one before, the part counts that a window sliding with
the clock would still cover. So less than twice the limit passes in any window of time, and in any three
successive windows at most three times the limit. A process counts in memory, and a thread adds its counts to
those in Redis: a process knows the others' calls at most 250 ms late, and an account may make a few calls too
many meanwhile. While Redis is unavailable each process counts alone.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import prometheus_client
from django.conf import settings

from foundation import clock
from foundation.errors import Throttled, Unavailable
from foundation.idempotency.claims import InFlight
from foundation.idempotency.recorded_answers import Replay
from foundation.lazy_texts import mark
from foundation.rates.rate import Rate
from foundation.redis import redis_client
from foundation.repeated_work import RepeatedWork

THROTTLED = prometheus_client.Counter(
    "firstcome_throttled",
    "Calls refused because an account, an API key (api-keys, declines-per-key) or a network made too many.",
    ["limit"],
)
# Together with the round trip to Redis less than the 250 ms that the shop promises.
SYNCHRONIZATION_DELAY_SECONDS = 0.2
# Beyond it a process counts all anew: a counter costs memory. Redis still has them.
MAX_COUNTERS = 100_000
Subject = int | str
"""The number of an account, API key or network, or the network itself."""
Window = tuple[int, Subject]
"""A window of a subject: its number since the epoch, and whose it is."""

# Arguments are the windows' numbers and subjects, each with the calls to add. The reply is the sum of each
# window and of the one before it. The hash tag keeps all keys in one slot of a cluster.
ADD_SCRIPT = """
local sums, expiring = {}, ''
for at = 2, #ARGV, 3 do
  local key = KEYS[1] .. ARGV[at]
  sums[#sums + 1] = redis.call('HINCRBY', key, ARGV[at + 1], ARGV[at + 2])
  sums[#sums + 1] = redis.call('HGET', KEYS[1] .. (ARGV[at] - 1), ARGV[at + 1]) or 0
  if key ~= expiring then
    redis.call('EXPIRE', key, ARGV[1])
    expiring = key
  end
end
return sums
"""


class Usage(NamedTuple):
    """How many calls of an account count against a limit; only this process's unless `is_shared`."""

    name: str
    used: int
    rate: Rate
    is_shared: bool


@dataclass(slots=True)
class CountedCall:
    """A block that `RateLimit.counting` counts, unless its `outcome` is a replay or it counts for itself."""

    outcome: Any = None
    counts_itself: bool = False


class RateLimit:
    """So many calls of a subject within a window of time, as the setting of its name says; None: no limit."""

    def __init__(self, name: str, *, is_shared: bool = True) -> None:
        self.name = name
        self._is_shared = is_shared
        self._setting = f"RATE_{name.upper().replace('-', '_')}"
        self._mutex = threading.Lock()
        # Read by `get`: a counter calls Python for a key that it lacks.
        self._calls: Counter[Window] = Counter()
        self._unsent: Counter[Window] = Counter()
        self._in_progress: dict[Subject, int] = {}

    @property
    def rate(self) -> Rate | None:
        rate: Rate | None = getattr(settings, self._setting)
        return rate

    def count(self, subject: Subject) -> None:
        """Count a call of the subject. Raises `Throttled`, and then nothing is counted."""
        rate = self.rate
        if rate:
            with self._mutex:
                self._require_capacity(rate, subject)
                self._add(rate, subject)

    @contextmanager
    def counting(self, subject: Subject, *, is_free: bool = False) -> Iterator[CountedCall]:
        """Count a block as one call, except for replays and while the shop is unavailable; not if `is_free`.

        The block sets `CountedCall.outcome`; until it ends it has a place. Raises `Throttled` before it
        starts.
        """
        call = CountedCall()
        rate = self.rate
        if is_free or rate is None:
            yield call
            return
        with self._mutex:
            self._require_capacity(rate, subject)
            self._in_progress[subject] = self._in_progress.get(subject, 0) + 1
        is_counted = True
        try:
            yield call
            is_counted = not isinstance(call.outcome, Replay)
        except (InFlight, Unavailable):
            is_counted = False
            raise
        finally:
            with self._mutex:
                self._in_progress[subject] -= 1
                if not self._in_progress[subject]:
                    del self._in_progress[subject]
                if is_counted and not call.counts_itself:
                    self._add(rate, subject)

    def count_now(self, subject: Subject) -> int:
        """Count what has happened, even past the limit, in all processes at once, and return how many calls
        the window has now. Raises `Throttled` if the limit was reached before: of calls at once as many as
        fit are the first ones that Redis counts.
        """
        counted = self.tally(subject)
        rate = self.rate
        if rate:
            with self._mutex:
                self._require_capacity(rate, subject, counted=counted - 1)
        return counted

    def tally(self, subject: Subject) -> int:
        """Count in all processes at once, even past the limit. Returns how many calls the window has now."""
        rate = self.rate
        if rate is None:
            return 0
        window = _window_now(rate)[0], subject
        with self._mutex:
            self._make_room()
            self._calls[window] += 1
        sums = self._exchange(rate, Counter({window: 1}))
        return sums[0] if sums else self._calls[window]

    def has_calls(self, subject: Subject) -> bool:
        """Whether calls of the subject are known here of this window or the one before it."""
        rate = self.rate
        if rate is None:
            return False
        number, _remaining = _window_now(rate)
        return (self._calls[number - 1, subject] + self._calls[number, subject]) > 0

    def require_capacity(self, subject: Subject) -> None:
        """Raise `Throttled` if one more call of the subject would be past the limit; counts nothing."""
        rate = self.rate
        if rate:
            with self._mutex:
                self._require_capacity(rate, subject)

    def read_usage(self, subject: Subject) -> Usage | None:
        """How much of the limit the subject has used, read from Redis now; None without a limit."""
        rate = self.rate
        if rate is None:
            return None
        number, remaining = _window_now(rate)
        is_shared = self._exchange(rate, Counter({(number, subject): 0})) is not None
        used = self._calls[number - 1, subject] * remaining + self._calls[number, subject]
        return Usage(self.name, math.ceil(used), rate, is_shared)

    def headers(self, subject: Subject) -> dict[str, str]:
        """The limit, and how many calls of the subject are left and for how many seconds, as the fields
        `RateLimit-Policy` and `RateLimit` of the IETF's draft; empty without a limit.
        """
        rate = self.rate
        if rate is None:
            return {}
        left, windows = self._capacity(rate, subject)
        return {
            "RateLimit-Policy": f'"{self.name}";q={rate.times};w={rate.seconds}',
            "RateLimit": f'"{self.name}";r={max(0, int(left))};t={max(1, math.ceil(windows * rate.seconds))}',
        }

    def synchronize(self) -> None:
        """Add to Redis' counts what this process has counted since, and learn of the others' calls."""
        with self._mutex:
            unsent = self._unsent
            self._unsent = Counter()
        rate = self.rate
        if rate and unsent:
            self._exchange(rate, unsent)

    def _require_capacity(self, rate: Rate, subject: Subject, *, counted: int | None = None) -> None:
        left, windows = self._capacity(rate, subject, counted=counted)
        if left < 1:
            raise refusal(self.name, rate, seconds=windows * rate.seconds)

    def _capacity(self, rate: Rate, subject: Subject, *, counted: int | None = None) -> tuple[float, float]:
        """How many calls are left, and after which part of a window there are more."""
        number, remaining = _window_now(rate)
        # A full window counts as one call less, so that a call is possible as soon as the next one begins.
        before = min(self._calls.get((number - 1, subject), 0), max(1, rate.times - 1))
        free = rate.times - 1 - (self._calls.get((number, subject), 0) if counted is None else counted)
        in_progress = self._in_progress.get(subject, 0) if counted is None else 0
        left = 1 + free - in_progress - before * remaining
        if left >= 1:
            return left, remaining
        if free >= 0:
            # Until so many of the earlier calls have left. Calls in progress end soon.
            return left, remaining - free / before if before else 0
        return left, remaining + (rate.times == 1)

    def _make_room(self) -> None:
        """With the mutex held: before a counter is added."""
        if len(self._calls) >= MAX_COUNTERS:
            self._calls.clear()

    def _add(self, rate: Rate, subject: Subject) -> None:
        number, _remaining = _window_now(rate)
        self._make_room()
        window = number, subject
        self._calls[window] = self._calls.get(window, 0) + 1
        if self._is_shared:
            self._unsent[window] = self._unsent.get(window, 0) + 1
            if not _synchronization_requested.is_set():
                _synchronization_requested.set()
                _synchronization.start()

    def _exchange(self, rate: Rate, calls: Counter[Window]) -> list[int] | None:
        """Add these calls to Redis' counts, and take over its sums. Returns them, each window's before that
        of the one before it; None without Redis, which then never learns of these calls: they may have
        arrived, and would count twice.
        """
        prefix = f"firstcome:{{rates}}:{self.name}:"
        arguments = chain.from_iterable((*window, times) for window, times in calls.items())
        sums: list[int] | None = redis_client.call_script(ADD_SCRIPT, [prefix], 2 * rate.seconds, *arguments)
        if sums is None:
            return None
        windows = chain.from_iterable(((number, who), (number - 1, who)) for number, who in calls)
        with self._mutex:
            for window, known in zip(windows, sums, strict=True):
                # More is known here while other calls of this process are on their way.
                self._calls[window] = max(self._calls[window], int(known) + self._unsent[window])
        return sums


def _window_now(rate: Rate) -> tuple[int, float]:
    """The number of the current window, and the part of it that is left."""
    number, passed = divmod(clock.seconds(), rate.seconds)
    return int(number), 1 - passed / rate.seconds


def refusal(limit: str, rate: Rate, *, seconds: float) -> Throttled:
    """The refusal of one more call, which will be possible in so many seconds; it is counted."""
    THROTTLED.labels(limit=limit).inc()
    return Throttled(
        mark(
            "Too many of these calls: at most {times} in {seconds} seconds. Wait a while.",
            times=rate.times,
            seconds=rate.seconds,
        ),
        retry_after=max(1, math.ceil(seconds)),
    )


COUPONS = RateLimit("coupons")
ENTRIES = RateLimit("entries")
ORDERS = RateLimit("orders")
PAYMENTS = RateLimit("payments")
TOP_UPS = RateLimit("top-ups")
REFRESHES = RateLimit("refreshes")
WRONG_CODES = RateLimit("wrong-codes")
WRONG_CODES_OF_NETWORK = RateLimit("wrong-codes-of-network")
API_KEYS = RateLimit("api-keys")
ANONYMOUS = RateLimit("anonymous", is_shared=False)
"""Calls that name no account, and pages that hash a password, by network, in each process alone."""
LIMITS = (COUPONS, ENTRIES, ORDERS, PAYMENTS, TOP_UPS, WRONG_CODES, REFRESHES)
"""Those of accounts."""
OTHER_LIMITS = (API_KEYS, WRONG_CODES_OF_NETWORK, ANONYMOUS)
"""By the number of an API key, or by a network, in the place of an account's."""


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
