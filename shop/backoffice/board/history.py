"""The last 15 minutes of the board's figures, a point for each second in which someone watched.

The points are kept in this process, and in Redis for processes whose first viewer comes later: after a
process has restarted they are still in Redis, and after Redis has lost them they are still in processes.
"""

from collections import deque
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import orjson
from redis import Redis

from shop.clock import USUAL_CORRECTION_SECONDS
from shop.redis import redis_client

MINUTES = 15
RATE_SECONDS = 10
KEPT_SECONDS = (MINUTES + 1) * 60


class Point(NamedTuple):
    """The figures of one second since the epoch, by the names of their series."""

    second: int
    values: Mapping[str, float]


class History:
    """The points of this process, oldest first."""

    def __init__(self) -> None:
        self._points: deque[Point] = deque(maxlen=MINUTES * 60)

    def add(self, point: Point) -> None:
        """Append a point; one that is not later than the last is dropped.

        After the clock was set back, the points that are later than this one are dropped.
        """
        if self._points and point.second < self._points[-1].second - USUAL_CORRECTION_SECONDS:
            while self._points and self._points[-1].second >= point.second:
                self._points.pop()
        if not self._points or point.second > self._points[-1].second:
            self._points.append(point)

    def merge(self, points: list[Point], *, now: int) -> None:
        """Add the points of other processes, and drop those that are too old."""
        merged = {point.second: point for point in (*points, *self._points)}
        oldest = now - MINUTES * 60
        self._points = deque(
            (merged[second] for second in sorted(merged) if oldest < second <= now), maxlen=MINUTES * 60
        )

    def decrease_rate(self, name: str) -> float | None:
        """By how much a second the series fell over the last `RATE_SECONDS`; None with less than two points.

        What raised it meanwhile, such as a delivery, is not subtracted.
        """
        recent = [
            (point.second, point.values[name])
            for point in list(self._points)[-RATE_SECONDS - 1 :]
            if name in point.values and point.second >= self._points[-1].second - RATE_SECONDS
        ]
        if len(recent) < 2:
            return None
        values = [value for _, value in recent]
        fallen = sum(max(0.0, before - after) for before, after in pairwise(values))
        return fallen / (recent[-1][0] - recent[0][0])

    def as_columns(self) -> dict[str, Any]:
        """The seconds, and for each series its values or nulls: what a plot takes."""
        points = list(self._points)
        names = dict.fromkeys(name for point in points for name in point.values)
        return {
            "seconds": [point.second for point in points],
            "series": {name: [point.values.get(name) for point in points] for name in names},
        }


def save(point: Point) -> None:
    """Keep the point in Redis, unless another process has kept one of that second."""

    def call(client: Redis) -> None:
        key = _key(point.second // 60)
        with client.pipeline(transaction=False) as pipeline:
            pipeline.hsetnx(key, str(point.second), orjson.dumps(point.values).decode())
            pipeline.expire(key, KEPT_SECONDS)
            pipeline.execute()

    redis_client.attempt(call, otherwise=None)


def load(*, now: int) -> list[Point]:
    """The points of the last minutes that Redis has; none while it is unavailable."""

    def call(client: Redis) -> list[Point]:
        with client.pipeline(transaction=False) as pipeline:
            for minute in range(now // 60 - MINUTES, now // 60 + 1):
                pipeline.hgetall(_key(minute))
            found = pipeline.execute()
        return [Point(int(second), orjson.loads(text)) for hash in found for second, text in hash.items()]

    return redis_client.attempt(call, otherwise=[])


def _key(minute: int) -> str:
    return f"firstcome:board:{minute}"
