"""The queue of a campaign in Redis: waiting tickets in the order of their numbers.

A counter draws the numbers, a stream holds the entries, and a hash has the entry of each account. The issuer
that holds the lease reads; what it has read stays pending until `remove`, and comes first for the next
holder. A queue that was lost is restored from the tickets (`coupons.queue.recovery`); an entry that is here
twice is still decided only once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any
from uuid import UUID

import orjson
from redis import Redis

from coupons.models import Campaign
from coupons.redis_keys import call_script, key, seconds_kept
from shop.errors import Unavailable
from shop.events.journal import ActorContext
from shop.lazy_texts import mark as _
from shop.redis import locks, redis_client

COUNTER, STREAM, WAITING, LEASE = "tickets", "line", "waiting", "issuer"
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
LOAD = """
if redis.call('EXISTS', KEYS[1], KEYS[2]) == 2 then return 0 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('SET', KEYS[1], ARGV[1])
redis.call('XGROUP', 'CREATE', KEYS[2], 'issuers', '0', 'MKSTREAM')
for i = 3, #ARGV, 2 do
  redis.call('XADD', KEYS[2], '*', 'position', ARGV[i + 1])
  redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
end
for i = 1, #KEYS do redis.call('EXPIRE', KEYS[i], ARGV[2]) end
return 1
"""
APPEND_MISSING = """
if redis.call('EXISTS', KEYS[1], KEYS[2]) < 2 then return -1 end
local count = 0
for i = 2, #ARGV, 2 do
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


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """One account's position in the queue: its ticket and number, and the time and actor of the request."""

    ticket_id: UUID
    number: int
    user_id: int
    at: datetime
    by: ActorContext


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """A position as the issuer has read it; `id` is the stream's, empty if it was not read there."""

    id: str
    position: QueuePosition


class LeaseTaken(Exception):
    """Another issuer has the lease."""


class StreamLost(Exception):
    """Redis has no queue: restore it from the tickets in the database."""


def enqueue(campaign: Campaign, position: QueuePosition, *, after: int) -> QueuePosition:
    """Return the account's position: its existing one, or else this one with the next number.

    `after` is a waiting number. Raises `StreamLost`, also for a queue whose counter is below it, and
    `Unavailable` without Redis. Safe to repeat.
    """
    arguments = [position.user_id, _encode_body(position), seconds_kept(campaign), after]
    reply: bytes = _call(ENQUEUE, campaign.pk, (COUNTER, STREAM, WAITING), arguments)
    if not reply:
        raise StreamLost
    return _decode(reply)


def is_there(campaign_id: int) -> bool:
    """Whether Redis has the queue. Raises `Unavailable` without Redis."""
    names = [key(campaign_id, name) for name in (COUNTER, STREAM)]
    found = redis_client.attempt(lambda client: int(client.exists(*names)), otherwise=None)
    if found is None:
        raise _redis_unavailable()
    return found == len(names)


def load(campaign: Campaign, positions: Sequence[QueuePosition], *, last_number: int) -> None:
    """Load these positions in their order, unless the queue is there; new numbers follow `last_number`.

    Raises `Unavailable` without Redis.
    """
    arguments = [last_number, seconds_kept(campaign), *_encode_with_accounts(positions)]
    _call(LOAD, campaign.pk, (COUNTER, STREAM, WAITING), arguments)


def append_missing(campaign: Campaign, positions: Sequence[QueuePosition]) -> int:
    """Append the positions that are missing to the end of the queue. Returns how many.

    Raises `StreamLost`, and `Unavailable` without Redis.
    """
    arguments = [seconds_kept(campaign), *_encode_with_accounts(positions)]
    count = int(_call(APPEND_MISSING, campaign.pk, (COUNTER, STREAM, WAITING), arguments))
    if count < 0:
        raise StreamLost
    return count


def read(campaign_id: int, *, issuer: str, most: int) -> list[StreamEntry]:
    """Take or keep the lease for this issuer, and read the first entries of the queue.

    Entries that were read before and never removed come first. Raises `LeaseTaken`, `StreamLost`, and
    `Unavailable` without Redis.
    """
    state, *reply = _call(READ, campaign_id, (LEASE, STREAM), [issuer, LEASE_MILLISECONDS, most])
    if state == b"taken":
        raise LeaseTaken
    if state == b"lost":
        raise StreamLost
    return [StreamEntry(id.decode(), _decode(text)) for id, text in reply[0]]


def wait_for_entry(campaign_id: int) -> None:
    """Return when there is an entry in the queue, or after half a second."""
    stream = key(campaign_id, STREAM)

    def read_first(client: Redis) -> Any:
        return client.xread({stream: "0"}, count=1, block=WAIT_MILLISECONDS)

    redis_client.attempt(read_first, otherwise=None)


def remove(campaign_id: int, entries: Sequence[StreamEntry]) -> None:
    """Remove these entries from the queue. Raises `Unavailable` without Redis."""
    arguments = [(entry.id, entry.position.user_id, _encode(entry.position)) for entry in entries]
    _call(REMOVE, campaign_id, (STREAM, WAITING), list(chain.from_iterable(arguments)))


def release(campaign_id: int, *, issuer: str) -> None:
    """Release the lease, if this issuer still has it."""
    redis_client.attempt(
        lambda client: client.eval(locks.RELEASE_SCRIPT, 1, key(campaign_id, LEASE), issuer), otherwise=0
    )


def _call(script: str, campaign_id: int, names: Sequence[str], arguments: Sequence[Any]) -> Any:
    reply = call_script(script, campaign_id, names, *arguments)
    if reply is None:
        raise _redis_unavailable()
    return reply


def _redis_unavailable() -> Unavailable:
    return Unavailable(
        _("The queue of this campaign is kept in Redis, which is unavailable; nothing was done.")
    )


def _encode_with_accounts(positions: Sequence[QueuePosition]) -> list[int | bytes]:
    """The account and the encoded position of each, one after the other."""
    return list(chain.from_iterable((position.user_id, _encode(position)) for position in positions))


def _encode(position: QueuePosition) -> bytes:
    """The position as Redis keeps it: the number first, because a script draws it, then the rest."""
    return b"%d %b" % (position.number, _encode_body(position))


def _encode_body(position: QueuePosition) -> bytes:
    by = position.by
    actor = [by.actor, by.id, by.name, by.request_id]
    return orjson.dumps([str(position.ticket_id), position.user_id, position.at.isoformat(), actor])


def _decode(text: bytes) -> QueuePosition:
    number, _, body = text.partition(b" ")
    ticket_id, user_id, at, actor = orjson.loads(body)
    return QueuePosition(
        UUID(ticket_id), int(number), user_id, datetime.fromisoformat(at), ActorContext(*actor)
    )
