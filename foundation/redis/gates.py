"""What gates in Redis have in common: they refuse requests before the database, which decides on the others.

An admitted request is in flight, under a name of its own, until the database has decided on it. What counts
as taken, and which requests are refused, is each gate's own.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeVar

from redis import Redis

T = TypeVar("T")
# How often to ask a gate that lacks something: another process may be dropping it at this moment.
ATTEMPTS = 3
# Requests in flight, or entries, of a call, at most.
AT_ONCE = 1_000


def ask(gate: Callable[[], T], *, fill: Callable[[T], bool]) -> T:
    """The gate's reply, asked again where `fill` has filled it from the database because of what it said."""
    for _attempt in range(ATTEMPTS):
        reply = gate()
        if not fill(reply):
            break
    return reply


def overdue(
    client: Redis, key: str, *, admitted_at: Callable[[bytes], float], now: float, seconds: float
) -> Iterator[dict[str, str]]:
    """The records of requests in flight for longer than these seconds, by their names, some at a time.

    Those from another clock's future are among them.
    """
    records = (
        (name.decode(), record.decode())
        for name, record in client.hscan_iter(key, count=AT_ONCE)
        if abs(now - admitted_at(record)) > seconds
    )
    # There may be as many as were admitted, after Redis came back with old data.
    while some := dict(islice(records, AT_ONCE)):
        yield some
