"""The last 15 minutes of the board's figures in Redis: a point for each second in which it was watched."""

from collections.abc import Mapping
from itertools import pairwise

import orjson
from redis import Redis

from shop.redis import redis_client

MINUTES = 15
RATE_SECONDS = 10
KEPT_SECONDS = (MINUTES + 1) * 60
Values = Mapping[str, float]
"""The figures of a second by the names of their series."""


def save(second: int, values: Values) -> None:
    """Keep the values of a second since the epoch, unless another process has kept some of that second."""

    def call(client: Redis) -> None:
        key = _key(second // 60)
        with client.pipeline(transaction=False) as pipeline:
            pipeline.hsetnx(key, str(second), orjson.dumps(values).decode())
            pipeline.expire(key, KEPT_SECONDS)
            pipeline.execute()

    redis_client.attempt(call, otherwise=None)


def load(*, after: int, until: int) -> dict[int, Values]:
    """The values by second, in order, of `MINUTES` before `until` at most; none while Redis is away."""
    after = max(after, until - MINUTES * 60)

    def call(client: Redis) -> dict[int, Values]:
        with client.pipeline(transaction=False) as pipeline:
            for minute in range(after // 60, until // 60 + 1):
                pipeline.hgetall(_key(minute))
            found = {int(second): text for minute in pipeline.execute() for second, text in minute.items()}
        return {second: orjson.loads(found[second]) for second in sorted(found) if after < second <= until}

    return redis_client.attempt(call, otherwise={})


def change_rate(points: Mapping[int, Values], name: str, *, is_falling: bool = False) -> float | None:
    """By how much a second the series rose, or fell, over the last `RATE_SECONDS`; None with less than two
    points.

    Changes in the other direction, such as a delivery, are not subtracted.
    """
    oldest = max(points, default=0) - RATE_SECONDS
    recent = [(second, one[name]) for second, one in points.items() if second >= oldest and name in one]
    if len(recent) < 2:
        return None
    rises = [after - before for (_, before), (_, after) in pairwise(recent)]
    changed = sum(max(0.0, -rise if is_falling else rise) for rise in rises)
    return changed / (recent[-1][0] - recent[0][0])


def _key(minute: int) -> str:
    return f"firstcome:board:{minute}"
