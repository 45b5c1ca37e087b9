"""The queue of a campaign in Redis: waiting tickets in the order of their numbers.

A counter draws the numbers, a stream holds the entries, and a hash has the entry of each account. The issuer
that holds the lease reads; what it has read stays pending until `remove`, and comes first for the next
holder. A queue that was lost is restored from the tickets (`coupons.queue.tickets`); an entry that is here
twice is still decided only once.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from coupons.models import Campaign
from coupons.redis_keys import call_script, key, require_script, seconds_kept
from foundation.journal import ActorContext
from foundation.redis import locks, redis_client

COUNTER = "tickets"
STREAM = "line"
WAITING = "waiting"
LEASE = "issuer"
# An issuer that goes on after its lease does no harm: for a moment there are two.
LEASE_MILLISECONDS = 5_000
# Shorter than the time-out of the Redis client.
WAIT_MILLISECONDS = 500

# A counter below a waiting number: Redis came back with old data, and new requests would overtake old ones.
ENQUEUE = """
if redis.call('EXISTS', KEYS[1], KEYS[2]) < 2 then return '' end
if tonumber(redis.call('GET', KEYS[1])) < tonumber(ARGV[4]) then
  redis.call('DEL', KEYS[1])
  return ''
end
local position = redis.call('HGET', KEYS[3], ARGV[1])
if not position then
  position = redis.call('INCR', KEYS[1]) .. ' ' .. ARGV[2]
  redis.call('XADD', KEYS[2], '*', 'position', position)
  redis.call('HSET', KEYS[3], ARGV[1], position)
end
for i = 1, #KEYS do redis.call('EXPIRE', KEYS[i], ARGV[3]) end
return position
"""
APPEND = """
if redis.call('EXISTS', KEYS[1], KEYS[2]) < 2 then
  if ARGV[2] == '' then return -1 end
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
  redis.call('SET', KEYS[1], ARGV[2])
  redis.call('XGROUP', 'CREATE', KEYS[2], 'issuers', '0', 'MKSTREAM')
end
local count = 0
for i = 3, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[3], ARGV[i]) == 0 then
    redis.call('XADD', KEYS[2], '*', 'position', ARGV[i + 1])
    redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
    count = count + 1
  end
end
for i = 1, #KEYS do redis.call('EXPIRE', KEYS[i], ARGV[1]) end
return count
"""
READ = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return {'taken'} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if redis.call('EXISTS', KEYS[2]) == 0 then return {'lost'} end
local entries = {}
for _, from in ipairs({'0', '>'}) do
  local found = redis.call(
    'XREADGROUP', 'GROUP', 'issuers', 'issuer', 'COUNT', ARGV[3], 'STREAMS', KEYS[2], from)
  for _, entry in ipairs(found and found[1][2] or {}) do
    if entry[2] then
      table.insert(entries, {entry[1], entry[2][2]})
    else
      redis.call('XACK', KEYS[2], 'issuers', entry[1])
    end
  end
  if #entries > 0 then break end
end
return {'read', entries}
"""
REMOVE = """
for i = 1, #ARGV, 3 do
  if ARGV[i] ~= '' then
    redis.call('XACK', KEYS[1], 'issuers', ARGV[i])
    redis.call('XDEL', KEYS[1], ARGV[i])
  end
  if redis.call('HGET', KEYS[2], ARGV[i + 1]) == ARGV[i + 2] then
    redis.call('HDEL', KEYS[2], ARGV[i + 1])
  end
end
return #ARGV / 3
"""


class QueuePosition(NamedTuple):
    """One account's position in the queue: its ticket and number, and the time and actor of the request.

    `entry_id` is the stream's, once the issuer has read the position there.
    """

    ticket_id: UUID
    number: int
    user_id: int
    at: datetime
    by: ActorContext
    entry_id: str = ""


class LeaseTaken(Exception):
    """Another issuer has the lease."""


class StreamLost(Exception):
    """Redis has no queue: restore it from the tickets in the database."""


def enqueue(campaign: Campaign, position: QueuePosition, *, after: int) -> QueuePosition:
    """Return the account's position: its existing one, or else this one with the next number.

    `after` is a waiting number. Raises `StreamLost`, also for a queue whose counter is below it, and
    `Unavailable` without Redis. Safe to repeat.
    """
    arguments = (position.user_id, _encode_body(position), seconds_kept(campaign), after)
    reply: bytes = require_script(ENQUEUE, campaign.pk, (COUNTER, STREAM, WAITING), *arguments)
    if not reply:
        raise StreamLost
    return _decode(reply)


def append(campaign: Campaign, positions: Sequence[QueuePosition], *, last_number: int | None = None) -> int:
    """Append the positions that are missing to the end of the queue, in their order. Returns how many.

    A queue that is not there begins anew with them, and new numbers follow `last_number`; without one this
    raises `StreamLost`. Raises `Unavailable` without Redis.
    """
    pairs = chain.from_iterable((one.user_id, _encode(one)) for one in positions)
    start = "" if last_number is None else last_number
    names = (COUNTER, STREAM, WAITING)
    count = int(require_script(APPEND, campaign.pk, names, seconds_kept(campaign), start, *pairs))
    if count < 0:
        raise StreamLost
    return count


def read(campaign_id: int, *, issuer: str, most: int) -> list[QueuePosition]:
    """Take or keep the lease for this issuer, and read the first positions of the queue.

    Those that were read before and never removed come first. Raises `LeaseTaken`, `StreamLost`, and
    `Unavailable` without Redis.
    """
    state, *reply = require_script(READ, campaign_id, (LEASE, STREAM), issuer, LEASE_MILLISECONDS, most)
    if state == b"taken":
        raise LeaseTaken
    if state == b"lost":
        raise StreamLost
    return [_decode(text, entry_id=id.decode()) for id, text in reply[0]]


def wait_for_entry(campaign_id: int) -> None:
    """Return when there is an entry in the queue, or after half a second."""
    first: Any = {key(campaign_id, STREAM): "0"}
    redis_client.attempt(lambda client: client.xread(first, count=1, block=WAIT_MILLISECONDS), otherwise=None)


def remove(campaign_id: int, positions: Sequence[QueuePosition]) -> None:
    """Remove these positions from the queue. Raises `Unavailable` without Redis."""
    arguments = chain.from_iterable((one.entry_id, one.user_id, _encode(one)) for one in positions)
    require_script(REMOVE, campaign_id, (STREAM, WAITING), *arguments)


def release(campaign_id: int, *, issuer: str) -> None:
    """Release the lease, if this issuer still has it."""
    call_script(locks.RELEASE_SCRIPT, campaign_id, (LEASE,), issuer)


def _encode(position: QueuePosition) -> bytes:
    """The position as Redis keeps it: the number first, because a script draws it, then the rest."""
    return b"%d %b" % (position.number, _encode_body(position))


def _encode_body(position: QueuePosition) -> bytes:
    by = position.by
    actor = [by.actor, by.id, by.name, by.request_id]
    return orjson.dumps([str(position.ticket_id), position.user_id, position.at.isoformat(), actor])


def _decode(text: bytes, *, entry_id: str = "") -> QueuePosition:
    number, _, body = text.partition(b" ")
    ticket_id, user_id, at, actor = orjson.loads(body)
    drawn_at = datetime.fromisoformat(at)
    return QueuePosition(UUID(ticket_id), int(number), user_id, drawn_at, ActorContext(*actor), entry_id)
