"""A lock in Redis with a line before it: first come, first served, and woken when it is one's turn.

How: a script lets each asker into the line with the next number; who releases the lock hands it to the
first in line who is alive, in one script, and wakes them through a list of their own, on which they block.
While they wait they say twice a second that they are alive. That same question finds what got lost: a
wake-up, a holder that died, a line that was flushed. So nothing hangs, and nobody asks in a storm.
The lease is renewed once a second while the lock is held.

Redisson's fair lock (`RedissonFairLock.java`) is the model. What differs has its reasons in its issues:
the dead are told by their silence and not by time-outs that add up along the line, which drifted into the
far future (redisson/redisson#1104, #2099); times are Redis's own; and a lost wake-up or lease is found by
asking again (#3730).
"""

import random
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from redis import Redis
from redis.exceptions import TimeoutError

from shop.db import transactions
from shop.redis import lease_renewal, locks, redis_client
from shop.redis.lease_renewal import Renewal

# Who was not heard of for so long is taken for dead. Shorter than what is left of a lease that is renewed,
# so that of a process that was killed the lock is not handed to a waiter after its holder.
PRESUMED_DEAD_MILLISECONDS = 2_000
# How often a waiter is heard of; below the client's socket time-out of 1 s, for it blocks meanwhile.
POLL_SECONDS = 0.5
# For so long who is in line waits for Redis to come back: for a restart, and not with a thread for an outage.
OUTAGE_WAIT_SECONDS = 4.0
# An empty line is forgotten after this long, and its numbers begin anew.
QUEUE_EXPIRY_MILLISECONDS = 60_000

# KEYS: the holder, the line by number, until when those in line count as alive, the last number.
# A wake-up's key has the holder's name as its beginning, and with it the same hash tag.
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
# Join the line, or say that one is still in it. Returns whether it is one's turn, and one's number. Who had
# one and is in the line no more, taken for dead or flushed away, gets the old place back.
JOIN_SCRIPT = (
    _SHARED_LUA
    + """
local silence, kept, had = ARGV[3], ARGV[4], tonumber(ARGV[5])
local holding, number = holder()
if holding ~= token then
  number = redis.call('ZSCORE', KEYS[2], token)
  if not number then
    number = had > 0 and had or redis.call('INCR', KEYS[4])
    if number > tonumber(redis.call('GET', KEYS[4]) or 0) then redis.call('SET', KEYS[4], number) end
    redis.call('ZADD', KEYS[2], number, token)
  end
  redis.call('HSET', KEYS[3], token, now + silence)
  for i = 2, 4 do redis.call('PEXPIRE', KEYS[i], kept) end
  hand_over()
  holding = holder()
end
return {holding == token and 1 or 0, tonumber(number)}
"""
)
# Leave, from the line or from the lock, and hand it over. Returns whether one had held it.
LEAVE_SCRIPT = (
    _SHARED_LUA
    + """
redis.call('ZREM', KEYS[2], token)
redis.call('HDEL', KEYS[3], token)
redis.call('DEL', KEYS[1] .. ':wake:' .. token)
local had_held = holder() == token
if had_held then redis.call('DEL', KEYS[1]) end
hand_over()
return had_held and 1 or 0
"""
)
RENEW_SCRIPT = """
local holding = string.match(redis.call('GET', KEYS[1]) or '', '^(.*):%d+$')
if holding ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""


@dataclass(slots=True)
class Turn:
    """One asker's place: `number` counts those whom Redis has let into the line, in their order.

    `is_next` when it is this one's turn; None when Redis was away.
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
    """Stand in line for the lock while the block runs, and do there what needs no lock.

    `name` has a hash tag in braces, which the lock's keys share. Never raises: `acquired` does.
    """
    transactions.assert_outside()
    turn = Turn(name)
    turn.is_next = _join_or_poll(turn)
    try:
        yield turn
    finally:
        if not turn.has_left:
            _leave(turn)


@contextmanager
def acquired(turn: Turn, *, wait_seconds: float = locks.WAIT_SECONDS) -> Iterator[None]:
    """Wait for one's turn, and hold the lock while the block runs; guard what you write all the same.

    Raises `Rejected` `lock_not_acquired` when the wait ran out; `Unavailable` without Redis, at once for
    who was not in line before it went away, and after seconds for who was.
    """
    with locks.measure_wait("fair"):
        _wait_for_turn(turn, deadline=time.monotonic() + wait_seconds)
    try:
        with lease_renewal.kept_alive(
            Renewal(RENEW_SCRIPT, turn.name, [turn.token, locks.LEASE_MILLISECONDS])
        ):
            yield
    finally:
        locks.count_lost_lease("fair", was_held=_leave(turn))


@contextmanager
def held(name: str, *, wait_seconds: float = locks.WAIT_SECONDS) -> Iterator[Turn]:
    """Both in one, for who has nothing to do in line."""
    with queued(name) as turn, acquired(turn, wait_seconds=wait_seconds):
        yield turn


def _wait_for_turn(turn: Turn, *, deadline: float) -> None:
    """Return when it is this one's turn. Only who has a place to lose waits for Redis to come back."""
    if turn.is_next is None:
        raise locks.redis_unavailable()
    misses, heard_at = 0, time.monotonic()
    while not turn.is_next:
        now = time.monotonic()
        misses, heard_at = (misses + 1, heard_at) if turn.is_next is None else (0, now)
        left = min(deadline, heard_at + OUTAGE_WAIT_SECONDS) - now
        if left <= 0:
            raise locks.redis_unavailable() if turn.is_next is None else locks.not_acquired()
        time.sleep(min(left, _pause_seconds(misses)))
        turn.is_next = _wait_for_wake_up(turn, min(POLL_SECONDS, left)) or _join_or_poll(turn)


def _pause_seconds(misses: int) -> float:
    """How long to leave Redis alone that was away so often in a row: up to a second, with jitter."""
    return random.uniform(0.5, 1) * min(1.0, 0.1 * 2**misses) if misses else 0.0


def _wait_for_wake_up(turn: Turn, seconds: float) -> bool:
    """Block until woken, at most `seconds`."""
    return redis_client.attempt(lambda client: _pop_wake_up(client, turn, seconds), otherwise=False)


def _pop_wake_up(client: Redis, turn: Turn, seconds: float) -> bool:
    try:
        return client.blpop([f"{turn.name}:wake:{turn.token}"], timeout=max(seconds, 0.01)) is not None
    except TimeoutError:
        # Late by half a second, which says nothing of whether Redis is there: the next question does.
        return False


def _join_or_poll(turn: Turn) -> bool | None:
    """Whether it is this one's turn; None when Redis is away."""
    arguments: list[str | int] = [turn.token, locks.LEASE_MILLISECONDS, PRESUMED_DEAD_MILLISECONDS]
    arguments += [QUEUE_EXPIRY_MILLISECONDS, turn.number]
    told = redis_client.attempt(
        lambda client: client.eval(JOIN_SCRIPT, 4, *turn.keys, *arguments), otherwise=None
    )
    if told is None:
        return None
    is_next, turn.number = told
    return bool(is_next)


def _leave(turn: Turn) -> bool | None:
    """Whether the lock was held until now; None when Redis is away, and the lease has to end it."""
    turn.has_left = True
    arguments: list[str | int] = [turn.token, locks.LEASE_MILLISECONDS]
    return redis_client.attempt(
        lambda client: bool(client.eval(LEAVE_SCRIPT, 4, *turn.keys, *arguments)), otherwise=None
    )
