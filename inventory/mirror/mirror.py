"""What Redis knows of stock for the strategy `redis_gate`: a mirror of what is available, and who is let in.

A product's entry holds what the database last said, with the version it said it at: the newest version
wins, in whatever order they arrive, so telling it again or too late is harmless. Beside it stands how many
were let through to the database and are not decided yet; a request in flight has a record of them under
its own name, so that a repeat takes nothing twice and what the dead took is given back.

The mirror may refuse, never grant. What is lost in it lets too many through, whom the database refuses;
what is out of date is put right by the next change of the product, and by the sweeper.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from redis import Redis

from inventory.models import Product
from inventory.stock import Stock
from shop import clock
from shop.errors import Unavailable
from shop.redis import redis_client

# One hash tag, for a script touches several keys, and Redis Cluster wants them in one place.
PRODUCT = "firstcome:{stock}:product:"
IN_FLIGHT = "firstcome:{stock}:in-flight"
SECONDS_KEPT = 3_600
# How often to look again when an entry was missing: someone may be dropping them at this moment.
ATTEMPTS = 3
ROWS_AT_ONCE = 500

ADMIT = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return {'in'} end
local missing, short, is_inactive = {'missing'}, {'short'}, false
for i = 2, #KEYS do
  local known = redis.call('HMGET', KEYS[i], 'available', 'taken', 'is_active')
  if not known[1] then
    table.insert(missing, i - 2)
  else
    local free = math.max(0, tonumber(known[1]) - tonumber(known[2] or 0))
    if free < tonumber(ARGV[i + 2]) then
      table.insert(short, i - 2)
      table.insert(short, free)
    end
    is_inactive = is_inactive or known[3] == '0'
  end
end
if #missing > 1 then return missing end
if is_inactive then return {'in'} end
if #short > 1 then return short end
for i = 2, #KEYS do
  redis.call('HINCRBY', KEYS[i], 'taken', ARGV[i + 2])
  redis.call('EXPIRE', KEYS[i], ARGV[3])
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return {'in'}
"""
CLEAR_IN_FLIGHT = """
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
for i = 2, #KEYS do
  local taken = redis.call('HGET', KEYS[i], 'taken')
  if taken then redis.call('HSET', KEYS[i], 'taken', math.max(0, tonumber(taken) - tonumber(ARGV[i]))) end
end
return 1
"""
PUBLISH = """
for i = 1, #KEYS do
  local available, version, is_active = unpack(ARGV, 3 * i, 3 * i + 2)
  local shown = redis.call('HGET', KEYS[i], 'version')
  if not shown or (ARGV[2] == '0' and tonumber(shown) <= tonumber(version)) then
    redis.call('HSET', KEYS[i], 'available', available, 'version', version, 'is_active', is_active)
  end
  redis.call('EXPIRE', KEYS[i], ARGV[1])
end
return #KEYS
"""


@dataclass(frozen=True, slots=True)
class StockState:
    """What the database says of a product's stock at a version of it."""

    product_id: int
    available: int
    version: int
    is_active: bool


@dataclass(frozen=True, slots=True)
class GateReservation:
    """A request on its way through the gate: its name, and how many it wants of each product."""

    request: str
    quantities: Mapping[int, int]


def is_used() -> bool:
    """Whether orders go through the gate at all; otherwise nobody reads the mirror, and nobody writes it."""
    return settings.INVENTORY_STRATEGY == "redis_gate"


def state(product: Product | Stock) -> StockState:
    """What this copy of the row says."""
    available = product.on_hand - product.reserved
    return StockState(product.id, available, product.version, product.is_active)


def admit(reservation: GateReservation) -> list[dict[str, int]]:
    """Let the request through to the database with all its lines, or tell what is short.

    An empty list lets it through, as often as it asks; say `settle` once the database has decided.
    Otherwise nothing is taken, and each short line is `{product, requested, available}`. Products that
    the mirror can't speak of are the database's to refuse. Raises `Unavailable` without Redis.
    """
    ids = list(reservation.quantities)
    for _ in range(ATTEMPTS):
        told = redis_client.attempt(lambda client: _admit(client, reservation), otherwise=None)
        if told is None:
            raise Unavailable("Orders go through Redis here, and it is away; nothing was done.")
        match told:
            case [b"short", *short]:
                return _short_lines(reservation, short)
            case [b"missing", *places] if _load([ids[place] for place in places]):
                continue
        break
    return []


def clear_in_flight(reservations: Sequence[GateReservation]) -> None:
    """Forget that these are in flight: the database has decided, one way or the other.

    What it took is told by `publish`; after this, or it would count twice until then.
    """
    redis_client.attempt(lambda client: _clear_in_flight(client, reservations), otherwise=None)


def publish(states: Sequence[StockState], *, only_missing: bool = False) -> None:
    """Show these states, unless newer ones are shown. Call it after the commit, and as often as you like.

    Who has only read them shows `only_missing`: what a newer state leaves out may be counted as in flight
    still, and counts twice for a moment. Healing overwrites what is wrong all the same.
    """
    told = [(one.available, one.version, int(one.is_active)) for one in states]
    arguments = [SECONDS_KEPT, int(only_missing), *(value for values in told for value in values)]
    keys = [key(one.product_id) for one in states]
    redis_client.attempt(lambda client: client.eval(PUBLISH, len(keys), *keys, *arguments), otherwise=None)


def rebuild() -> int:
    """Show every product as the database has it. Returns how many."""
    count, last_id = 0, 0
    rows = Product.objects.order_by("id")
    while chunk := list(rows.filter(id__gt=last_id)[:ROWS_AT_ONCE]):
        publish([state(product) for product in chunk])
        count, last_id = count + len(chunk), chunk[-1].id
    return count


def read_states(product_ids: Iterable[int]) -> list[StockState]:
    """What the database says of these products; those that don't exist are absent."""
    return [state(product) for product in Product.objects.filter(id__in=list(product_ids))]


def key(product_id: int) -> str:
    return f"{PRODUCT}{product_id}"


def _load(product_ids: Sequence[int]) -> bool:
    """Show these products. False when one of them doesn't exist."""
    states = read_states(product_ids)
    publish(states, only_missing=True)
    return len(states) == len(product_ids)


def _short_lines(reservation: GateReservation, told: Sequence[int]) -> list[dict[str, int]]:
    """The short lines, from their places and what is free of them."""
    lines = list(reservation.quantities.items())
    pairs = zip(told[::2], told[1::2], strict=True)
    return [
        {"product": lines[place][0], "requested": lines[place][1], "available": free} for place, free in pairs
    ]


def _admit(client: Redis, reservation: GateReservation) -> Any:
    record = json.dumps({"at": clock.now().timestamp(), "lines": reservation.quantities})
    keys = _keys(reservation)
    arguments: list[str | int] = [reservation.request, record, SECONDS_KEPT, *reservation.quantities.values()]
    return client.eval(ADMIT, len(keys), *keys, *arguments)


def _clear_in_flight(client: Redis, reservations: Sequence[GateReservation]) -> None:
    """One way to Redis and back for all of them."""
    pipeline = client.pipeline(transaction=False)
    for passage in reservations:
        keys = _keys(passage)
        pipeline.eval(CLEAR_IN_FLIGHT, len(keys), *keys, passage.request, *passage.quantities.values())
    pipeline.execute()


def _keys(reservation: GateReservation) -> list[str]:
    return [IN_FLIGHT, *map(key, reservation.quantities)]
