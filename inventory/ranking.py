"""Popular products: by units sold less units refunded within some days of the shop's time zone.

Redis has a sorted set of each day, filled from `ProductDay` when it is read and missing: that of today lives
for a second, so that the ranking is never more than some seconds behind; those of days that have ended stay.
What Redis lacks, or is too old to keep, the database answers.
"""

import time
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import F, Sum
from redis import Redis

from foundation import clock, literals
from foundation.concurrency.shared_read import SharedRead
from foundation.errors import invalid_field
from foundation.lazy_texts import mark
from foundation.redis import gates, redis_client
from inventory.models import Product, ProductDay

# One hash tag, because a script uses several keys, and Redis Cluster requires them in one slot.
DAY_KEY = "firstcome:{{ranking}}:day:{}"
UNION_KEY = "firstcome:{{ranking}}:union:{}:{}"
LIVE_SECONDS = 1
KEPT_SECONDS = 3_600
ENDED_AFTER = timedelta(minutes=1)
"""A transaction that was paid before midnight may commit that long after it."""
BEHIND = timedelta(seconds=4)
"""A payment commits within a second; sets are read for one at most, kept for one, and their sum for one."""
DAYS_KEPT = 62
"""A period that ended before them is read from the database: anyone may ask for any."""
RANK_DAYS = 3
MOST_DAYS = 30
MOST_RANKED = 100
FILLED = "filled"
"""A member of each set, with 0, since Redis keeps no empty one; the others are products, with less than 0."""
READ = """
if redis.call('EXISTS', KEYS[1]) == 0 then
  local missing = {'missing'}
  for i = 2, #KEYS do
    if redis.call('EXISTS', KEYS[i]) == 0 then table.insert(missing, i - 2) end
  end
  if #missing > 1 then return missing end
  redis.call('ZUNIONSTORE', KEYS[1], #KEYS - 1, unpack(KEYS, 2))
  redis.call('EXPIRE', KEYS[1], ARGV[3])
end
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(0', 'WITHSCORES', 'LIMIT', ARGV[1], ARGV[2])
"""
Sold = Sequence[tuple[int, int]]
"""Products and their units, the most popular first."""


class Ranked(NamedTuple):
    rank: int
    product: Product
    units: int


class Ranking(NamedTuple):
    """Active products of which more was sold than refunded; payments up to `as_of` count."""

    results: list[Ranked]
    as_of: datetime


def read(*, days: int, limit: int, last: date | None = None) -> Ranking:
    """The most popular products of the last day, by default today, and so many days before it.

    At most 5 s behind a payment. Raises `Invalid` for a last day in the future.
    """
    today = clock.today()
    last = last or today
    if last > today:
        raise invalid_field("date", "in_future", mark("This day has not begun: choose today or one before."))
    first = max(last.toordinal() - days, literals.FIRST_DAY.toordinal())
    period = [date.fromordinal(number) for number in range(first, last.toordinal() + 1)]
    ranked: list[tuple[Product, int]] = []
    as_of = min(clock.now() - BEHIND, clock.day_bounds(last)[1])
    offset = 0
    size = limit
    while len(ranked) < limit:
        sold = _read_sold(period, offset, size, is_kept=(today - last).days < DAYS_KEPT)
        products = Product.objects.filter(is_active=True).in_bulk([id for id, _units in sold])
        ranked += [(products[id], units) for id, units in sold if id in products]
        if len(sold) < size:
            break
        # Any number of the most popular products may be sold no more.
        offset += size
        size *= 2
    return Ranking([Ranked(rank, *one) for rank, one in enumerate(ranked[:limit], start=1)], as_of)


def rank_of(product_id: int) -> int | None:
    """The product's rank within three days, as it was read within the last second; None beyond 100."""
    return _ranks.get().get(product_id)


def forget(day: date) -> None:
    """Drop the day's set, which the next reader fills again."""
    redis_client.attempt(lambda client: client.delete(DAY_KEY.format(day)), otherwise=None)


def differing_days() -> list[date]:
    """The days that have ended whose set in Redis, where there is one, differs from the table."""
    today = clock.today()
    ended = [today - timedelta(days=number) for number in range(1, DAYS_KEPT + MOST_DAYS)]

    def read_sets(client: Redis) -> dict[date, dict[bytes, Any]]:
        pipeline = client.pipeline(transaction=False)
        for day in ended:
            pipeline.zrange(DAY_KEY.format(day), 0, -1, withscores=True)
        return {day: dict(found) for day, found in zip(ended, pipeline.execute(), strict=True) if found}

    nothing: dict[date, dict[bytes, Any]] = {}
    kept = redis_client.attempt(read_sets, otherwise=nothing)
    stored = _sets_of([*kept])
    return [
        day
        for day, shown in kept.items()
        if shown != {member.encode(): score for member, score in stored[day].items()}
    ]


def _read_ranks() -> dict[int, int]:
    return {one.product.pk: one.rank for one in read(days=RANK_DAYS, limit=MOST_RANKED).results}


_ranks = SharedRead(_read_ranks, name="ranks of products", seconds=1.0, max_age_seconds=2.0)


def _read_sold(period: Sequence[date], offset: int, limit: int, *, is_kept: bool) -> Sold:
    reply: Sequence[bytes] | None = None
    if is_kept:
        keys = [UNION_KEY.format(period[0], period[-1]), *[_key(day, _has_ended(day)) for day in period]]
        reply = gates.ask(
            lambda: redis_client.call_script(READ, keys, offset, limit, LIVE_SECONDS),
            fill=lambda said: _is_missing(said) and _fill([period[index] for index in said[1:]]),
        )
    if reply is None or _is_missing(reply):
        rows = (
            ProductDay.objects.filter(day__range=(period[0], period[-1])).order_by().values_list("product_id")
        )
        units = rows.annotate(units=Sum(F("units_sold") - F("units_refunded"))).filter(units__gt=0)
        return list(units.order_by("-units", "product_id")[offset : offset + limit])
    return [(int(id), -int(score)) for id, score in zip(reply[::2], reply[1::2], strict=True)]


def _key(day: date, has_ended: bool) -> str:
    # A clock that is set back over midnight finds no set that is kept.
    return DAY_KEY.format(day) + ("" if has_ended else ":live")


def _has_ended(day: date) -> bool:
    return day < clock.day_of(clock.now() - ENDED_AFTER)


def _is_missing(reply: Sequence[bytes] | None) -> bool:
    return reply is not None and reply[:1] == [b"missing"]


def _fill(days: Sequence[date]) -> bool:
    """Write the sets of these days as the database has them, unless reading took too long."""
    began = time.monotonic()
    ended = {day for day in days if _has_ended(day)}
    sets = _sets_of(days)
    if time.monotonic() - began > LIVE_SECONDS:
        return False

    def write(client: Redis) -> bool:
        pipeline = client.pipeline(transaction=True)
        for day, scores in sets.items():
            key = _key(day, day in ended)
            # And the one that was kept before the clock was set back.
            pipeline.delete(key, DAY_KEY.format(day))
            pipeline.zadd(key, scores)
            pipeline.expire(key, KEPT_SECONDS if day in ended else LIVE_SECONDS)
        pipeline.execute()
        return True

    return redis_client.attempt(write, otherwise=False)


def _sets_of(days: Sequence[date]) -> dict[date, dict[str, int]]:
    """The set of each day. A product's number has zeros before it: Redis orders equals as text."""
    sets: dict[date, dict[str, int]] = {day: {FILLED: 0} for day in days}
    columns = ("day", "product_id", "units_sold", "units_refunded")
    for day, id, sold, refunded in ProductDay.objects.filter(day__in=days).values_list(*columns):
        sets[day][f"{id:019}"] = refunded - sold
    return sets
