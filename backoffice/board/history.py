"""The last 15 minutes of the board's figures in Redis: a point for each second in which it was watched."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import orjson

from shop.redis import redis_client

MINUTES = 15
RATE_SECONDS = 10
KEPT_SECONDS = (MINUTES + 1) * 60
Values = Mapping[str, float]
"""The figures of a second by the names of their series."""


def save(second: int, values: Values) -> None:
    """Keep the values of a second since the epoch, unless another process has kept some of that second."""
    text = orjson.dumps(values)
    redis_client.attempt(
        lambda client: client.set(_key(second), text, nx=True, ex=KEPT_SECONDS), otherwise=None
    )


def load(*, after: int, until: int) -> dict[int, Values]:
    """The values by second, in order, of `MINUTES` before `until` at most; none while Redis is away."""
    seconds = range(max(after, until - MINUTES * 60) + 1, until + 1)
    keys = [_key(second) for second in seconds]
    nothing: list[Any] = []
    texts = redis_client.attempt(lambda client: client.mget(keys), otherwise=nothing) if keys else nothing
    return {second: orjson.loads(text) for second, text in zip(seconds, texts, strict=False) if text}


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


def _key(second: int) -> str:
    return f"firstcome:board:{second}"
