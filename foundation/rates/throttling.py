"""Throttling of sign-ins and registrations: exact windows in Redis, per process in memory without it.

An attempt is counted in all of its windows, or refused and counted in none.
"""

import hashlib
import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from foundation.errors import Throttled
from foundation.lazy_texts import mark
from foundation.redis import redis_client


class Limit(NamedTuple):
    """At most `times` attempts within any `seconds`."""

    name: str
    times: int
    seconds: int


REGISTRATIONS = Limit("registrations-from-address", times=60, seconds=3600)

# The windows are sorted sets of attempts by time. The reply is the wait in microseconds, 0 for "allowed".
COUNT_SCRIPT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local wait = 0
for i, key in ipairs(KEYS) do
  local times, window = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1]) * 1000000
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
  if redis.call('ZCARD', key) >= times then
    local oldest = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    wait = math.max(wait, oldest[2] + window - now)
  end
end
if wait > 0 then
  return wait
end
for i, key in ipairs(KEYS) do
  redis.call('ZADD', key, now, ARGV[1])
  redis.call('EXPIRE', key, ARGV[2 * i + 1])
end
return 0
"""
# In memory an attack may fill this many windows within their time; then further names are refused, because
# dropping windows would unthrottle them.
MAX_WINDOWS = 10_000

Attempt = tuple[Limit, str]
_mutex = threading.Lock()


_windows: dict[str, deque[float]] = {}
"""In memory: when each attempt leaves its window, the first one first."""


def count_attempt(attempts: Sequence[Attempt]) -> None:
    """Count one attempt in all the given windows, or raise `Throttled` and count it in none."""
    keys = {
        # The braces put all windows on one node of a Redis Cluster, as a script requires.
        f"firstcome:{{throttle}}:{limit.name}:{hashlib.sha256(subject.encode()).hexdigest()}": limit
        for limit, subject in attempts
    }
    numbers = [number for limit in keys.values() for number in (limit.times, limit.seconds)]
    microseconds = redis_client.call_script(COUNT_SCRIPT, list(keys), secrets.token_hex(8), *numbers)
    is_counted = microseconds is not None
    seconds = float(str(microseconds)) / 1e6 if is_counted else _count_in_memory(keys, time.monotonic())
    if seconds > 0:
        raise Throttled(mark("Too many attempts; wait a while."), retry_after=math.ceil(seconds))


def network_of_address(address: str, *, ipv4_bits: int = 32, ipv6_bits: int = 64) -> str:
    """The network of an address, throttled as one: a /64 of IPv6, as one subscriber has, or an IPv4.

    With fewer bits more addresses are one: 24 of an IPv4 are those of an office or a small provider.
    """
    try:
        known = ip_address(address)
    except ValueError:
        return address
    bits = ipv6_bits if known.version == 6 else ipv4_bits
    return address if bits == 32 else str(ip_network((known.packed, bits), strict=False))


def _count_in_memory(keys: dict[str, Limit], now: float) -> float:
    with _mutex:
        wait = max(_seconds_until_capacity(key, limit, now) for key, limit in keys.items())
        if wait > 0:
            return wait
        for key, limit in keys.items():
            _windows.setdefault(key, deque()).append(now + limit.seconds)
        return 0.0


def _seconds_until_capacity(key: str, limit: Limit, now: float) -> float:
    ends = _windows.get(key)
    if ends is None:
        if len(_windows) >= MAX_WINDOWS:
            for other in [other for other, ended in _windows.items() if not ended or ended[-1] <= now]:
                del _windows[other]
        return 0.0 if len(_windows) < MAX_WINDOWS else float(limit.seconds)
    while ends and ends[0] <= now:
        ends.popleft()
    return ends[0] - now if len(ends) >= limit.times else 0.0
