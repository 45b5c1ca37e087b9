"""Renewal of leases in Redis while they are needed: one thread per process, once a second."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from redis import Redis
from structlog import get_logger

from shop.redis import redis_client
from shop.repeated_work import RepeatedWork

log = get_logger(__name__)
RENEWAL_INTERVAL_SECONDS = 1.0


class Renewal(NamedTuple):
    script: str
    key: str
    arguments: Sequence[str | int]


_mutex = threading.Lock()
_renewals: dict[object, Renewal] = {}


@contextmanager
def kept_alive(renewal: Renewal) -> Iterator[None]:
    """Renew the lease once a second while the block runs; one more renewal may follow the block."""
    entry = object()
    _work.start()
    with _mutex:
        _renewals[entry] = renewal
    try:
        yield
    finally:
        with _mutex:
            del _renewals[entry]


def _renew_all() -> None:
    with _mutex:
        renewals = list(_renewals.values())
    if renewals:
        redis_client.attempt(lambda client: _send(client, renewals), otherwise=None)


def _send(client: Redis, renewals: Sequence[Renewal]) -> None:
    with client.pipeline(transaction=False) as pipeline:
        for renewal in renewals:
            pipeline.eval(renewal.script, 1, renewal.key, *renewal.arguments)
        replies: list[Any] = pipeline.execute(raise_on_error=False)
    for reply in replies:
        if isinstance(reply, Exception):
            # An error of one renewal doesn't affect the others.
            log.warning("a lease could not be renewed", error=str(reply))


_work = RepeatedWork(_renew_all, name="lease renewal", pause=lambda: RENEWAL_INTERVAL_SECONDS)
