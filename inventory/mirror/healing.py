"""Healing the mirror of stock: releases what crashed requests took, and corrects what differs from SQL, as
when Redis was away at a commit, came back with old data, or lost some of it.
"""

import json
from collections.abc import Sequence
from itertools import islice

from redis import Redis
from structlog import get_logger

from inventory.mirror import mirror
from inventory.mirror.mirror import IN_FLIGHT, PRODUCT, ROWS_AT_ONCE, GateReservation
from shop import clock
from shop.redis import redis_client

log = get_logger(__name__)
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


def heal(*, now: float | None = None) -> int:
    """Correct the mirror where it differs from the database; `now` is in seconds. Returns how many products
    differed, those included whose newest stock has not reached it yet.
    """
    if not mirror.is_used():
        return 0
    return redis_client.attempt(lambda client: _heal(client, now or clock.now().timestamp()), otherwise=0)


def drift() -> float | None:
    """How many products the last healing found wrong; None before the first, or when Redis is away."""
    if not mirror.is_used():
        return None
    found = redis_client.attempt(lambda client: client.get(DRIFT), otherwise=None)
    return None if found is None else float(found)


def _heal(client: Redis, now: float) -> int:
    _release_abandoned(client, started_before=now - IN_FLIGHT_SECONDS)
    keys, wrong = client.scan_iter(f"{PRODUCT}*", count=ROWS_AT_ONCE), 0
    while some := list(islice(keys, ROWS_AT_ONCE)):
        wrong += _heal_products(client, [int(key.removeprefix(PRODUCT.encode())) for key in some])
    client.set(DRIFT, wrong, ex=mirror.SECONDS_KEPT)
    if wrong:
        log.warning("the mirror of stock had drifted and was corrected", products=wrong)
    return wrong


def _release_abandoned(client: Redis, *, started_before: float) -> None:
    for request, record in client.hscan_iter(IN_FLIGHT):
        reserved = json.loads(record)
        if reserved["at"] < started_before:
            quantities = {int(product_id): quantity for product_id, quantity in reserved["lines"].items()}
            mirror.clear_in_flight([GateReservation(request.decode(), quantities)])
            log.warning("stock reserved in the gate by a crashed request is released", lines=quantities)


def _heal_products(client: Redis, ids: Sequence[int]) -> int:
    """Correct these products, and return how many were wrong.

    The mirror is read before the database, so the database can't be older unless one of them lost data.
    """
    pipeline = client.pipeline(transaction=False)
    for id in ids:
        pipeline.hmget(mirror.key(id), "version", "available", "is_active")
    shown = dict(zip(ids, pipeline.execute(), strict=True))
    states = {one.product_id: one for one in mirror.read_states(ids)}
    values = {id: (one.version, one.available, int(one.is_active)) for id, one in states.items()}
    wrong = [id for id in ids if id not in states or shown[id] != [str(one).encode() for one in values[id]]]
    for id in wrong:
        if id not in states:
            client.delete(mirror.key(id))
        elif int(shown[id][0] or 0) > states[id].version:
            # Its version is newer than the row's, so publishing would never replace it.
            client.hdel(mirror.key(id), "version")
    mirror.publish([states[id] for id in wrong if id in states])
    keys = [IN_FLIGHT, *map(mirror.key, ids)]
    return len(wrong) + int(client.eval(RECOUNT, len(keys), *keys, *ids))
