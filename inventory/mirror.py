"""The mirror of stock in Redis for the strategy `redis_gate`: what is available, and the requests admitted.

A product's entry holds what the database last published; the newest version wins in whatever order they
arrive. It also counts the units of requests that were admitted and are not decided yet, each with a record
under its own name, so a repeat counts nothing twice and the sweep can release what a crashed request took.
The mirror may refuse and never reserves: where it lost data too many requests are admitted, and the database
refuses them. Healing corrects what differs from SQL, as when Redis was away at a commit, or lost some data.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from django.conf import settings
from redis import Redis
from structlog import get_logger

from foundation import clock
from foundation.db import key_walks
from foundation.redis import gates, redis_client
from inventory.availability import Stock
from inventory.models import Product

log = get_logger(__name__)
# One hash tag, because a script uses several keys, and Redis Cluster requires them in one slot.
PRODUCT = "firstcome:{stock}:product:"
IN_FLIGHT = "firstcome:{stock}:in-flight"
SECONDS_KEPT = 3_600
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
for i = 2, #ARGV do
  local record = redis.call('HGET', KEYS[1], ARGV[i])
  for product, quantity in pairs(record and cjson.decode(record).lines or {}) do
    local taken = redis.call('HGET', ARGV[1] .. product, 'taken')
    if taken then
      redis.call('HSET', ARGV[1] .. product, 'taken', math.max(0, tonumber(taken) - quantity))
    end
  end
  redis.call('HDEL', KEYS[1], ARGV[i])
end
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
DRIFT = "firstcome:{stock}:drift"
# Longer than a request may wait for its batch and its batch for the database's locks. If a request takes even
# longer, too many requests are admitted, and the database refuses them.
IN_FLIGHT_SECONDS = 30.0

RECOUNT = """
local sums, wrong = {}, 0
for _, record in ipairs(redis.call('HVALS', KEYS[1])) do
  for product, quantity in pairs(cjson.decode(record).lines) do
    sums[product] = (sums[product] or 0) + quantity
  end
end
for i = 2, #KEYS do
  local taken, sum = tonumber(redis.call('HGET', KEYS[i], 'taken') or 0), sums[ARGV[i - 1]] or 0
  if taken ~= sum and redis.call('EXISTS', KEYS[i]) == 1 then
    redis.call('HSET', KEYS[i], 'taken', sum)
    wrong = wrong + 1
  end
end
return wrong
"""


class StockState(NamedTuple):
    """The stock of a product in the database, at a version of its row. Unless it `is_active` the gate leaves
    its orders to the database: what is inactive or paused.
    """

    product_id: int
    available: int
    version: int
    is_active: bool


class GateReservation(NamedTuple):
    """What a request takes in the gate: the request's name, and the quantity of each product."""

    request: str
    quantities: Mapping[int, int]


def is_used() -> bool:
    """Whether orders go through the gate; otherwise the mirror is neither read nor written."""
    return settings.INVENTORY_STRATEGY == "redis_gate"


def state(product: Product | Stock) -> StockState:
    """The state of this copy of the row."""
    available = product.on_hand - product.reserved
    is_active = bool(product.is_active) and product.paused_at is None
    return StockState(product.id, available, product.version, is_active)


def admit(reservation: GateReservation) -> list[dict[str, int]]:
    """Admit the request to the database with all its lines, or return the lines with too few available.

    An empty list admits the request, and a repeat of it; call `clear_in_flight` after the database has
    decided. Missing, inactive and paused products are left to the database. Raises `Unavailable` without
    Redis.
    """
    ids = list(reservation.quantities)
    wanted = list(reservation.quantities.values())
    record = json.dumps({"at": clock.seconds(), "lines": reservation.quantities})
    keys = [IN_FLIGHT, *map(key, ids)]
    arguments = (reservation.request, record, SECONDS_KEPT, *wanted)
    says, *lines = gates.ask(
        lambda: redis_client.require(redis_client.call_script(ADMIT, keys, *arguments)),
        fill=lambda reply: reply[0] == b"missing" and _load([ids[index] for index in reply[1:]]),
    )
    short = zip(lines[::2], lines[1::2], strict=True) if says == b"short" else ()
    return [{"product": ids[index], "requested": wanted[index], "available": free} for index, free in short]


def clear_in_flight(reservations: Sequence[GateReservation]) -> None:
    """Delete the records of these requests, because the database has decided them; then `publish` the new
    states, or their units would count twice.
    """
    _clear(reservation.request for reservation in reservations)


def publish(states: Sequence[StockState], *, only_missing: bool = False) -> None:
    """Write these states, unless newer ones are there. Call it after the commit; repeats are harmless.

    After a mere read pass `only_missing`: units that a newer state has subtracted may still be counted as in
    flight, and would count twice for a moment.
    """
    published = [(state.available, state.version, int(state.is_active)) for state in states]
    arguments = [SECONDS_KEPT, int(only_missing), *(value for values in published for value in values)]
    redis_client.call_script(PUBLISH, [key(state.product_id) for state in states], *arguments)


def rebuild() -> int:
    """Publish every product as it is in the database. Returns how many."""
    count = 0
    for page in key_walks.pages(Product.objects.all(), size=ROWS_AT_ONCE):
        publish(read_states([id for (id,) in page]))
        count += len(page)
    return count


def read_states(product_ids: Iterable[int]) -> list[StockState]:
    """The states of these products in the database; those that don't exist are absent."""
    return [state(product) for product in Product.objects.filter(id__in=list(product_ids))]


def key(product_id: int) -> str:
    return f"{PRODUCT}{product_id}"


def _load(product_ids: Sequence[int]) -> bool:
    """Copy into the mirror those of these products that it lacks; False if one is not in the database."""
    states = read_states(product_ids)
    publish(states, only_missing=True)
    return len(states) == len(product_ids)


def _clear(requests: Iterable[str]) -> None:
    # Their records name the products, whose keys have the hash tag of the one that is given.
    redis_client.call_script(CLEAR_IN_FLIGHT, [IN_FLIGHT], PRODUCT, *requests)


def heal(*, now: float | None = None) -> int:
    """Correct the mirror where it differs from the database; `now` is in seconds. Returns how many products
    differed, those included whose newest stock has not reached it yet.
    """
    if not is_used():
        return 0
    return redis_client.attempt(lambda client: _heal(client, now or clock.seconds()), otherwise=0)


def drift() -> float | None:
    """How many products the last healing found wrong; None before the first, or when Redis is away."""
    if not is_used():
        return None
    found = redis_client.attempt(lambda client: client.get(DRIFT), otherwise=None)
    return None if found is None else float(found)


def _heal(client: Redis, now: float) -> int:
    for records in gates.overdue(
        client,
        IN_FLIGHT,
        admitted_at=lambda record: float(json.loads(record)["at"]),
        now=now,
        seconds=IN_FLIGHT_SECONDS,
    ):
        _clear(records)
        log.warning("stock reserved in the gate by crashed requests is released", records=[*records.values()])
    keys = client.scan_iter(f"{PRODUCT}*", count=ROWS_AT_ONCE)
    wrong = 0
    while some := list(islice(keys, ROWS_AT_ONCE)):
        wrong += _heal_products(client, [int(key.removeprefix(PRODUCT.encode())) for key in some])
    client.set(DRIFT, wrong, ex=SECONDS_KEPT)
    if wrong:
        log.warning("the mirror of stock had drifted and was corrected", products=wrong)
    return wrong


def _heal_products(client: Redis, ids: Sequence[int]) -> int:
    """Correct these products, and return how many were wrong.

    The mirror is read before the database, so the database can't be older unless one of them lost data.
    """
    pipeline = client.pipeline(transaction=False)
    for id in ids:
        pipeline.hmget(key(id), "version", "available", "is_active")
    shown = dict(zip(ids, pipeline.execute(), strict=True))
    states = {one.product_id: one for one in read_states(ids)}
    values = {id: (one.version, one.available, int(one.is_active)) for id, one in states.items()}
    wrong = [id for id in ids if id not in states or shown[id] != [str(one).encode() for one in values[id]]]
    for id in wrong:
        if id not in states:
            client.delete(key(id))
        elif int(shown[id][0] or 0) > states[id].version:
            # Its version is newer than the row's, so publishing would never replace it.
            client.hdel(key(id), "version")
    publish([states[id] for id in wrong if id in states])
    keys = [IN_FLIGHT, *map(key, ids)]
    return len(wrong) + int(client.eval(RECOUNT, len(keys), *keys, *ids))
