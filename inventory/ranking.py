"""Popular products: by units sold less units refunded within some days of the shop's time zone.

Redis has a sorted set of each day, filled from `ProductDay` when it is read and missing: that of today lives
for a second, so that the ranking is never more than some seconds behind; those of days that have ended stay.
What Redis lacks, or is too old to keep, the database answers.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import F, Sum
from redis import Redis

from inventory.models import Product, ProductDay
from shop import clock, literals
from shop.concurrency.shared_read import SharedRead
from shop.errors import invalid_field
from shop.lazy_texts import mark as _
from shop.redis import gates, redis_client

# One hash tag, because a script uses several keys, and Redis Cluster requires them in one slot.
DAY_KEY = "firstcome:{{ranking}}:day:{}"
UNION_KEY = "firstcome:{{ranking}}:union:{}:{}"
LIVE_SECONDS, KEPT_SECONDS = 1, 3_600
ENDED_AFTER = timedelta(minutes=1)
"""A transaction that was paid before midnight may commit that long after it."""
UNCOMMITTED = timedelta(seconds=1)
"""Before now a payment may not have committed yet."""
DAYS_KEPT = 62
"""A period that ended before them is read from the database: anyone may ask for any."""
RANK_DAYS, MOST_DAYS, MOST_RANKED = 3, 30, 100
AS_OF = "as_of"
"""The member of each set that says up to when payments count; the others are products, with less than 0."""
READ = """
local as_of = redis.call('ZSCORE', KEYS[1], 'as_of')
if not as_of then
  local missing = {'missing'}
  for i = 2, #KEYS do
    as_of = redis.call('ZSCORE', KEYS[i], 'as_of')
    if not as_of then table.insert(missing, i - 2) end
  end
  if #missing > 1 then return missing end
  redis.call('ZUNIONSTORE', KEYS[1], #KEYS - 1, unpack(KEYS, 2))
  redis.call('ZADD', KEYS[1], as_of, 'as_of')
  redis.call('EXPIRE', KEYS[1], ARGV[3])
end
local range = {'-inf', '(0', 'WITHSCORES', 'LIMIT', ARGV[1], ARGV[2]}
return {as_of, unpack(redis.call('ZRANGEBYSCORE', KEYS[1], unpack(range)))}
"""


class Part(NamedTuple):
    """A part of the ranking: products and their units, the most popular first."""

    as_of: datetime
    rows: Sequence[tuple[int, int]]


class Ranked(NamedTuple):
    rank: int
    product: Product
    units: int


@dataclass(frozen=True, slots=True)
class Ranking:
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
        raise invalid_field("date", "in_future", _("This day has not begun: choose today or one before."))
    first = max(last.toordinal() - days, literals.FIRST_DAY.toordinal())
    period = [date.fromordinal(number) for number in range(first, last.toordinal() + 1)]
    results: list[Ranked] = []
    offset, as_of = 0, _as_of(last)
    while len(results) < limit:
        part = _read_part(period, offset, limit, is_kept=(today - last).days < DAYS_KEPT)
        offset, as_of = offset + limit, min(as_of, part.as_of)
        products = Product.objects.filter(is_active=True).in_bulk([id for id, _units in part.rows])
        found = [(products[id], units) for id, units in part.rows if id in products]
        for product, units in found[: limit - len(results)]:
            results.append(Ranked(len(results) + 1, product, units))
        if len(part.rows) < limit:
            break
    return Ranking(results, as_of)


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
    for shown in kept.values():
        shown.pop(AS_OF.encode(), None)
    stored = _sets_of([*kept])
    return [day for day, shown in kept.items() if shown != {id.encode(): -n for id, n in stored[day].items()}]


def _read_ranks() -> dict[int, int]:
    return {one.product.pk: one.rank for one in read(days=RANK_DAYS, limit=MOST_RANKED).results}


_ranks = SharedRead(_read_ranks, name="ranks of products", seconds=1.0, max_age_seconds=2.0)


def _read_part(period: Sequence[date], offset: int, count: int, *, is_kept: bool) -> Part:
    reply: Sequence[bytes] | None = None
    if is_kept:
        keys = [UNION_KEY.format(period[0], period[-1]), *map(DAY_KEY.format, period)]
        reply = gates.ask(
            lambda: redis_client.call_script(READ, keys, offset, count, LIVE_SECONDS),
            fill=lambda said: _is_missing(said) and _fill([period[index] for index in said[1:]]),
        )
    if reply is None or _is_missing(reply):
        return _read_from_database(period, offset, count)
    as_of, *ranked = reply
    rows = [(int(id), -int(score)) for id, score in zip(ranked[::2], ranked[1::2], strict=True)]
    return Part(datetime.fromtimestamp(int(as_of), UTC), rows)


def _is_missing(reply: Sequence[bytes] | None) -> bool:
    return reply is not None and reply[0] == b"missing"


def _fill(days: Sequence[date]) -> bool:
    """Write the sets of these days as the database has them, unless reading took too long."""
    began, now = time.monotonic(), clock.now()
    instants, sets = {day: _as_of(day) for day in days}, _sets_of(days)
    if time.monotonic() - began > LIVE_SECONDS:
        return False

    def write(client: Redis) -> bool:
        pipeline = client.pipeline(transaction=True)
        for day, units in sets.items():
            key, has_ended = DAY_KEY.format(day), now - clock.day_bounds(day)[1] > ENDED_AFTER
            pipeline.delete(key)
            scores = {id: -number for id, number in units.items()}
            pipeline.zadd(key, scores | {AS_OF: int(instants[day].timestamp())})
            pipeline.expire(key, KEPT_SECONDS if has_ended else LIVE_SECONDS)
        pipeline.execute()
        return True

    return redis_client.attempt(write, otherwise=False)


def _sets_of(days: Sequence[date]) -> dict[date, dict[str, int]]:
    """The units of each day by product, whose number has zeros before it: Redis orders equals as text."""
    sets: dict[date, dict[str, int]] = {day: {} for day in days}
    columns = ("day", "product_id", "units_sold", "units_refunded")
    for day, id, sold, refunded in ProductDay.objects.filter(day__in=days).values_list(*columns):
        sets[day][f"{id:019}"] = sold - refunded
    return sets


def _read_from_database(period: Sequence[date], offset: int, count: int) -> Part:
    as_of = _as_of(period[-1])
    rows = ProductDay.objects.filter(day__range=(period[0], period[-1])).order_by().values_list("product_id")
    units = rows.annotate(units=Sum(F("units_sold") - F("units_refunded"))).filter(units__gt=0)
    return Part(as_of, list(units.order_by("-units", "product_id")[offset : offset + count]))


def _as_of(last: date) -> datetime:
    """Up to when payments count that are read from now on."""
    return min(clock.now() - UNCOMMITTED, clock.day_bounds(last)[1]).replace(microsecond=0)
