"""The line of a campaign with the strategy `queue`: who waits, in the order in which they drew their numbers.

A counter gives the numbers, a stream holds the line, and a hash says who stands in it. One issuer at a time
reads the stream: it holds a lease, which is looked at in the same call that reads. What it has read stays
pending until it says `leave`, and whoever has the lease after it reads that first.

A line that was lost is made anew from the tickets in the database (`coupons.queue.recovery`): a counter or a
stream that is missing says so. What stands here twice, or was settled long ago, is decided once anyway.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any
from uuid import UUID

import orjson
from redis import Redis

from coupons.models import Campaign
from coupons.redis_keys import key, seconds_kept
from shop.errors import Unavailable
from shop.events.journal import ActorContext
from shop.redis import locks, redis_client

COUNTER, STREAM, WAITING, LEASE = "tickets", "line", "waiting", "issuer"
# An issuer that outlives its lease does no harm: it is only not alone for a moment.
LEASE_MILLISECONDS = 5_000
# Below the client's patience with an answer.
WAIT_MILLISECONDS = 500
# Of one process: each has a connection of its pool, and a call that finds none left looks like an outage.
CALLS_AT_ONCE = 64
_calls = threading.BoundedSemaphore(CALLS_AT_ONCE)

# A number below one that waits: Redis came back with old data, and would let newcomers overtake.
ENQUEUE = """
if redis.call('EXISTS', KEYS[1], KEYS[2]) < 2 then return '' end
if tonumber(redis.call('GET', KEYS[1])) < tonumber(ARGV[4]) then
  redis.call('DEL', KEYS[1])
  return ''
end
local place = redis.call('HGET', KEYS[3], ARGV[1])
if not place then
  place = redis.call('INCR', KEYS[1]) .. ' ' .. ARGV[2]
  redis.call('XADD', KEYS[2], '*', 'place', place)
  redis.call('HSET', KEYS[3], ARGV[1], place)
end
for i = 1, #KEYS do redis.call('EXPIRE', KEYS[i], ARGV[3]) end
return place
"""
LOAD = """
if redis.call('EXISTS', KEYS[1], KEYS[2]) == 2 then return 0 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('SET', KEYS[1], ARGV[1])
redis.call('XGROUP', 'CREATE', KEYS[2], 'issuers', '0', 'MKSTREAM')
for i = 3, #ARGV, 2 do
  redis.call('XADD', KEYS[2], '*', 'place', ARGV[i + 1])
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
    redis.call('XADD', KEYS[2], '*', 'place', ARGV[i + 1])
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
    """One account's place in the line: its ticket and number, and who asked when."""

    ticket_id: UUID
    number: int
    user_id: int
    at: datetime
    by: ActorContext


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """A place as the issuer has read it; `id` is the stream's, empty for one that is known without it."""

    id: str
    place: QueuePosition


class LeaseTaken(Exception):
    """Another issuer has the lease."""


class StreamLost(Exception):
    """There is no line: make it anew from the tickets in the database."""


def enqueue(campaign: Campaign, place: QueuePosition, *, after: int) -> QueuePosition:
    """The account's place in the line: the one it has, or else this one with the next number.

    `after` is a number that waits. Raises `Lost`, also for a line that doesn't know of it, and `Unavailable`
    without Redis; repeating it is safe.
    """
    arguments = [place.user_id, _encode_body(place), seconds_kept(campaign), after]
    told: bytes = _call(ENQUEUE, campaign.pk, (COUNTER, STREAM, WAITING), arguments)
    if not told:
        raise StreamLost
    return _decode(told)


def is_there(campaign_id: int) -> bool:
    """Whether there is a line. Raises `Unavailable` without Redis."""
    names = [key(campaign_id, name) for name in (COUNTER, STREAM)]
    found = redis_client.attempt(lambda client: int(client.exists(*names)), otherwise=None)
    if found is None:
        raise _redis_unavailable()
    return found == len(names)


def load(campaign: Campaign, places: Sequence[QueuePosition], *, last_number: int) -> None:
    """Make the line anew unless it is there: these places in their order, and numbers after the last one.

    Raises `Unavailable` without Redis.
    """
    arguments = [last_number, seconds_kept(campaign), *_encode_with_accounts(places)]
    _call(LOAD, campaign.pk, (COUNTER, STREAM, WAITING), arguments)


def append_missing(campaign: Campaign, places: Sequence[QueuePosition]) -> int:
    """Put these at the end of the line where they are missing. Returns how many that were.

    Raises `Lost`, and `Unavailable` without Redis.
    """
    arguments = [seconds_kept(campaign), *_encode_with_accounts(places)]
    count = int(_call(APPEND_MISSING, campaign.pk, (COUNTER, STREAM, WAITING), arguments))
    if count < 0:
        raise StreamLost
    return count


def read(campaign_id: int, *, issuer: str, most: int) -> list[StreamEntry]:
    """Take or keep the lease for this issuer, and read the first of the line.

    What was read and never left comes first. Raises `Taken`, `Lost`, and `Unavailable` without Redis.
    """
    state, *told = _call(READ, campaign_id, (LEASE, STREAM), [issuer, LEASE_MILLISECONDS, most])
    if state == b"taken":
        raise LeaseTaken
    if state == b"lost":
        raise StreamLost
    return [StreamEntry(id.decode(), _decode(text)) for id, text in told[0]]


def wait_for_entry(campaign_id: int) -> None:
    """Return when a ticket stands in the line, or after half a second."""
    stream = key(campaign_id, STREAM)

    def look(client: Redis) -> Any:
        return client.xread({stream: "0"}, count=1, block=WAIT_MILLISECONDS)

    redis_client.attempt(look, otherwise=None)


def remove(campaign_id: int, entries: Sequence[StreamEntry]) -> None:
    """Take these out of the line. Raises `Unavailable` without Redis."""
    places = [(entry.id, entry.place.user_id, _encode(entry.place)) for entry in entries]
    _call(REMOVE, campaign_id, (STREAM, WAITING), list(chain.from_iterable(places)))


def release(campaign_id: int, *, issuer: str) -> None:
    """Give the lease back, if this issuer still has it."""
    redis_client.attempt(
        lambda client: client.eval(locks.RELEASE_SCRIPT, 1, key(campaign_id, LEASE), issuer), otherwise=0
    )


def _call(script: str, campaign_id: int, names: Sequence[str], arguments: Sequence[Any]) -> Any:
    keys = [key(campaign_id, name) for name in names]
    with _calls:
        told = redis_client.attempt(
            lambda client: client.eval(script, len(keys), *keys, *arguments), otherwise=None
        )
    if told is None:
        raise _redis_unavailable()
    return told


def _redis_unavailable() -> Unavailable:
    return Unavailable("The line of this campaign is kept in Redis, which is away; nothing was done.")


def _encode_with_accounts(places: Sequence[QueuePosition]) -> list[int | bytes]:
    """Account and text of each, one after the other."""
    return list(chain.from_iterable((place.user_id, _encode(place)) for place in places))


def _encode(place: QueuePosition) -> bytes:
    """The place as Redis keeps it: the number, for a script puts it there, and the rest."""
    return b"%d %b" % (place.number, _encode_body(place))


def _encode_body(place: QueuePosition) -> bytes:
    by = place.by
    who = [by.actor, by.id, by.name, by.request_id]
    return orjson.dumps([str(place.ticket_id), place.user_id, place.at.isoformat(), who])


def _decode(text: bytes) -> QueuePosition:
    number, _, paper = text.partition(b" ")
    ticket_id, user_id, at, who = orjson.loads(paper)
    return QueuePosition(
        UUID(ticket_id), int(number), user_id, datetime.fromisoformat(at), ActorContext(*who)
    )
