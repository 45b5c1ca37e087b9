"""Which process leads a hot row: a lease in Redis, which any process takes that finds none.

It decides nothing: two leaders, or none, are slower and never wrong, because the database has the lock.
A leader renews its lease while it has batches of the row, so that of a process that died or hangs ends soon.
"""

import os
import secrets
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from prometheus_client import Gauge
from redis import Redis

from shop.redis import locks, redis_client
from shop.redis.handover import messages

LEASE_SECONDS = 3.0
KNOWN_SECONDS = 0.25
"""For this long a process uses what Redis said."""
MOST_KNOWN = 1_024
ACQUIRE_SCRIPT = """
local leader, ttl = redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])
if leader and leader ~= ARGV[1] and ttl > 0 and ttl < 60000 then return leader end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
"""
ROWS_LED = Gauge(
    "firstcome_rows_led",
    "Hot rows whose batches this process decides for the others.",
    multiprocess_mode="livesum",
)


class _Known(NamedTuple):
    leader: str
    until: float


_mutex = threading.Lock()
_known: dict[str, _Known] = {}
_own: tuple[int, str] | None = None
_has_resigned = False


def own_inbox() -> str:
    """The key in Redis under which others hand batches over to this process."""
    global _own
    if _own is None or _own[0] != os.getpid():
        _own = os.getpid(), f"{_inboxes()}{secrets.token_hex(8)}"
    return _own[1]


def _inboxes() -> str:
    """What the names of all inboxes begin with."""
    return f"firstcome:handover:{messages.peers()}:inbox:"


def leader_of(row: str) -> str | None:
    """The inbox of the process that leads the row: this one's if there was none.

    None without Redis, and once this process is about to exit. Calling it renews this process's own lease.
    """
    if _has_resigned:
        return None
    known = _known.get(row)
    if known and known.until > time.monotonic():
        return known.leader
    asked_at, own, name = time.monotonic(), own_inbox(), _lease_name(row)
    found = redis_client.attempt(
        lambda client: client.eval(ACQUIRE_SCRIPT, 1, name, own, round(LEASE_SECONDS * 1000)), otherwise=None
    )
    leader = found.decode(errors="replace") if isinstance(found, bytes) else found
    with _mutex:
        if leader is None or not leader.startswith(_inboxes()):
            _known.pop(row, None)
            return None
        if len(_known) >= MOST_KNOWN:
            _known.clear()
        _known[row] = _Known(leader, asked_at + KNOWN_SECONDS)
    return leader


def led_rows() -> list[str]:
    """The rows that this process leads, or led when it last asked within a lease."""
    oldest, own = time.monotonic() - LEASE_SECONDS, own_inbox()
    with _mutex:
        rows = [row for row, one in _known.items() if one.leader == own and one.until > oldest]
        ROWS_LED.set(len(rows))
        return rows


def resign() -> None:
    """Give up all leases, because this process is about to exit: another leads at once. Never blocks.

    What was handed over to it before is still decided.
    """
    global _has_resigned
    rows, _has_resigned = led_rows(), True
    if rows:
        threading.Thread(target=_release, args=(rows,), name="handed-over rows").start()


def _release(rows: Sequence[str]) -> None:
    own = own_inbox()
    for name in map(_lease_name, rows):
        redis_client.attempt(partial(_release_one, name, own), otherwise=None)


def _release_one(name: str, own: str, client: Redis) -> None:
    client.eval(locks.RELEASE_SCRIPT, 1, name, own)


def forget() -> None:
    """Forget what Redis said, and a resignation (tests)."""
    global _has_resigned
    _has_resigned = False
    with _mutex:
        _known.clear()


def _lease_name(row: str) -> str:
    return f"firstcome:handover:{messages.peers()}:leader:{row}"
