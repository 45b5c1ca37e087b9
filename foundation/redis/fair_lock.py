"""A fair lock in Redis: waiters queue in the order of their arrival, and are woken when the lock is theirs.

The release script hands the lock to the first waiter that is alive, and wakes it through a Redis list of its
own, on which it blocks. Twice a second each waiter refreshes its liveness by the join script, which also
detects a lost wake-up, a crashed holder and a flushed queue. docs/adr/002 compares Redisson's, the model.
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from redis import Redis
from redis.exceptions import TimeoutError
from structlog import get_logger

from foundation.db import open_transaction
from foundation.redis import locks, redis_client
from foundation.repeated_work import RepeatedWork

log = get_logger(__name__)
RENEWAL_INTERVAL_SECONDS = 1.0
# A waiter that is silent for this long counts as dead. Shorter than what remains of a renewed lease, so that
# the lock of a killed process isn't handed to its own waiters.
PRESUMED_DEAD_MILLISECONDS = 2_000
# Below the client's socket timeout of 1 s, because a waiter blocks meanwhile.
POLL_SECONDS = 0.5
# For a queued waiter until Redis returns: long enough for a restart.
OUTAGE_WAIT_SECONDS = 4.0
# An idle queue expires after this long, and its numbers start again at 1.
QUEUE_EXPIRY_MILLISECONDS = 60_000

# KEYS: the holder, the queue by number, until when each waiter counts as alive, the last number.
# The key of a waiter's wake-ups starts with the holder's key, so it has the same hash tag.
_SHARED_LUA = """
local token, lease = ARGV[1], ARGV[2]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function holder()
  return string.match(redis.call('GET', KEYS[1]) or '', '^(.*):(%d+)$')
end

local function hand_over()
  if redis.call('EXISTS', KEYS[1]) == 1 then return end
  while true do
    local first, number = unpack(redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES'))
    if not first then return end
    local alive_until = redis.call('HGET', KEYS[3], first)
    redis.call('ZREM', KEYS[2], first)
    redis.call('HDEL', KEYS[3], first)
    if alive_until and tonumber(alive_until) > now then
      redis.call('SET', KEYS[1], first .. ':' .. number, 'PX', lease)
      if first ~= token then
        redis.call('RPUSH', KEYS[1] .. ':wake:' .. first, number)
        redis.call('PEXPIRE', KEYS[1] .. ':wake:' .. first, lease)
      end
      return
    end
  end
end
"""
# Join the queue, or refresh the liveness of a queued waiter. Returns whether the waiter holds the lock, and
# its number. A waiter with a number that is no longer queued (it counted as dead, or Redis was flushed) gets
# its old position back.
JOIN_SCRIPT = (
    _SHARED_LUA
    + """
local silence, expiry, old_number = ARGV[3], ARGV[4], tonumber(ARGV[5])
local holding, number = holder()
if holding ~= token then
  number = redis.call('ZSCORE', KEYS[2], token)
  if not number then
    number = old_number > 0 and old_number or redis.call('INCR', KEYS[4])
    if number > tonumber(redis.call('GET', KEYS[4]) or 0) then redis.call('SET', KEYS[4], number) end
    redis.call('ZADD', KEYS[2], number, token)
  end
  redis.call('HSET', KEYS[3], token, now + silence)
  for i = 2, 4 do redis.call('PEXPIRE', KEYS[i], expiry) end
  hand_over()
  holding = holder()
end
return {holding == token and 1 or 0, tonumber(number)}
"""
)
# Leave the queue, or release the lock, and hand the lock over. Returns whether the caller held it.
LEAVE_SCRIPT = (
    _SHARED_LUA
    + """
redis.call('ZREM', KEYS[2], token)
redis.call('HDEL', KEYS[3], token)
redis.call('DEL', KEYS[1] .. ':wake:' .. token)
local was_held = holder() == token
if was_held then redis.call('DEL', KEYS[1]) end
hand_over()
return was_held and 1 or 0
"""
)

# The value is the holder's token, a colon and its number.
RENEW_SCRIPT = """
if string.match(redis.call('GET', KEYS[1]) or '', '^[^:]*') ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""


@dataclass(slots=True)
class Turn:
    """A waiter's position, the `number` that Redis gave it; `is_next` once it holds the lock, None without
    Redis.
    """

    name: str
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    number: int = 0
    is_next: bool | None = None
    has_left: bool = False

    @property
    def keys(self) -> list[str]:
        return [self.name, f"{self.name}:line", f"{self.name}:alive", f"{self.name}:number"]


@contextmanager
def queued(name: str) -> Iterator[Turn]:
    """Queue for the lock while the block runs, so that it can do work that needs no lock before `acquired`.

    `name` has a hash tag in braces, which the lock's keys share. Never raises: `acquired` does.
    """
    open_transaction.assert_outside()
    turn = Turn(name)
    turn.is_next = _join_or_poll(turn)
    try:
        yield turn
    finally:
        if not turn.has_left:
            _leave(turn)


@contextmanager
def acquired(turn: Turn, *, wait_seconds: float = locks.WAIT_SECONDS) -> Iterator[None]:
    """Wait for the lock, and hold it while the block runs; the database must guard writes all the same.

    Raises `Rejected` `lock_not_acquired` after `wait_seconds`, and `Unavailable` without Redis: at once for a
    waiter that Redis had not queued, after `OUTAGE_WAIT_SECONDS` for one that it had.
    """
    with locks.measure_wait("fair"):
        _wait_for_turn(turn, deadline=time.monotonic() + wait_seconds)
    try:
        with kept_alive(turn.name, turn.token):
            yield
    finally:
        locks.count_lost_lease("fair", was_held=_leave(turn))


def _wait_for_turn(turn: Turn, *, deadline: float) -> None:
    """Return once the waiter holds the lock. Only a queued waiter waits for Redis to return."""
    if turn.is_next is None:
        raise redis_client.unavailable()
    answered_at = time.monotonic()
    while not turn.is_next:
        now = time.monotonic()
        if turn.is_next is not None:
            answered_at = now
        left = min(deadline, answered_at + OUTAGE_WAIT_SECONDS) - now
        if left <= 0:
            raise redis_client.unavailable() if turn.is_next is None else locks.not_acquired()
        if turn.is_next is None:
            time.sleep(min(left, POLL_SECONDS))
        is_woken = redis_client.attempt(
            partial(_pop_wake_up, turn=turn, seconds=min(POLL_SECONDS, left)), otherwise=False
        )
        turn.is_next = is_woken or _join_or_poll(turn)


def _pop_wake_up(client: Redis, turn: Turn, seconds: float) -> bool:
    """Block until woken, at most `seconds`."""
    try:
        return client.blpop([f"{turn.name}:wake:{turn.token}"], timeout=max(seconds, 0.01)) is not None
    except TimeoutError:
        # The reply was half a second late. Redis may be available all the same, as the next call shows.
        return False


def _join_or_poll(turn: Turn) -> bool | None:
    """Whether the waiter holds the lock; None while Redis is unavailable."""
    arguments: list[str | int] = [turn.token, locks.LEASE_MILLISECONDS, PRESUMED_DEAD_MILLISECONDS]
    arguments += [QUEUE_EXPIRY_MILLISECONDS, turn.number]
    reply = redis_client.call_script(JOIN_SCRIPT, turn.keys, *arguments)
    if reply is None:
        return None
    is_next, turn.number = reply
    return bool(is_next)


def _leave(turn: Turn) -> int | None:
    """1 if the lock was held until now, else 0; None without Redis, when the lock ends with its lease."""
    turn.has_left = True
    left: int | None = redis_client.call_script(LEAVE_SCRIPT, turn.keys, turn.token, locks.LEASE_MILLISECONDS)
    return left


@contextmanager
def kept_alive(name: str, token: str) -> Iterator[None]:
    """Renew the holder's lease once a second while the block runs; one more renewal may follow the block."""
    entry = object()
    _renewal.start()
    _held[entry] = name, token
    try:
        yield
    finally:
        del _held[entry]


def _renew_all() -> None:
    def send(client: Redis) -> list[Any]:
        with client.pipeline(transaction=False) as pipeline:
            for name, token in renewals:
                pipeline.eval(RENEW_SCRIPT, 1, name, token, locks.LEASE_MILLISECONDS)
            return list(pipeline.execute(raise_on_error=False))

    if renewals := list(_held.values()):
        replies: list[Any] = redis_client.attempt(send, otherwise=[])
        for reply in replies:
            if isinstance(reply, Exception):
                # An error of one renewal doesn't affect the others.
                log.warning("a lease could not be renewed", error=reply)


_held: dict[object, tuple[str, str]] = {}
"""The keys and the tokens of the locks that this process holds."""
_renewal = RepeatedWork(_renew_all, name="lease renewal", pause=lambda: RENEWAL_INTERVAL_SECONDS)
