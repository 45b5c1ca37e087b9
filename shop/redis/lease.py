"""Leases in Redis, which one thread per process renews once a second while they are needed."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import Redis
from structlog import get_logger

from shop.redis import locks, redis_client
from shop.repeated_work import RepeatedWork

log = get_logger(__name__)
RENEWAL_INTERVAL_SECONDS = 1.0
# Renewed once a second. The lease of a killed process blocks the others for this long.
LEASE_SECONDS = 5
# The value is the holder's token, with or without a colon and more.
RENEW_SCRIPT = """
if string.match(redis.call('GET', KEYS[1]) or '', '^[^:]*') ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
Renewal = tuple[str, str, int]
"""A lease's key, the holder's token, and the milliseconds that it lasts."""
_renewals: dict[object, Renewal] = {}


@contextmanager
def acquired(name: str) -> Iterator[bool]:
    """Yield True and hold the lease while the block runs, or yield False while another process holds it.

    For work that is wasteful, but not wrong, to do twice at once: without Redis every process gets the lease,
    and a process that was paused may have lost it.
    """
    token = secrets.token_hex(16)
    if not redis_client.attempt(
        lambda client: bool(client.set(name, token, nx=True, ex=LEASE_SECONDS)), otherwise=True
    ):
        yield False
        return

    try:
        with kept_alive((name, token, LEASE_SECONDS * 1000)):
            yield True
    finally:
        redis_client.attempt(lambda client: client.eval(locks.RELEASE_SCRIPT, 1, name, token), otherwise=0)


@contextmanager
def kept_alive(renewal: Renewal) -> Iterator[None]:
    """Renew the lease once a second while the block runs; one more renewal may follow the block."""
    entry = object()
    _work.start()
    _renewals[entry] = renewal
    try:
        yield
    finally:
        del _renewals[entry]


def _renew_all() -> None:
    renewals = list(_renewals.values())
    if not renewals:
        return

    def send(client: Redis) -> list[Any]:
        with client.pipeline(transaction=False) as pipeline:
            for renewal in renewals:
                pipeline.eval(RENEW_SCRIPT, 1, *renewal)
            return list(pipeline.execute(raise_on_error=False))

    replies: list[Any] = redis_client.attempt(send, otherwise=[])
    for reply in replies:
        if isinstance(reply, Exception):
            # An error of one renewal doesn't affect the others.
            log.warning("a lease could not be renewed", error=str(reply))


_work = RepeatedWork(_renew_all, name="lease renewal", pause=lambda: RENEWAL_INTERVAL_SECONDS)
