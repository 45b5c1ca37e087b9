"""A lock in Redis that is acquired by polling: `SET NX PX` every 100 ms, for 10 s at most.

It is not fair: the first attempt after a release gets the lock.
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

from shop.db import open_transaction
from shop.redis import locks, redis_client

RETRY_SECONDS = 0.1


@contextmanager
def held(
    name: str,
    *,
    lease_milliseconds: int = locks.LEASE_MILLISECONDS,
    wait_seconds: float = locks.WAIT_SECONDS,
) -> Iterator[None]:
    """Hold the lock while the block runs, or until its lease expires; writes must be guarded by the database.

    Raises `Rejected` `lock_not_acquired` after `wait_seconds`, and `Unavailable` without Redis.
    """
    open_transaction.assert_outside()
    token = secrets.token_hex(16)
    with locks.measure_wait("spin"):
        _acquire(name, token, lease_milliseconds, deadline=time.monotonic() + wait_seconds)
    try:
        yield
    finally:
        # Without Redis, or after a crash of this process, the lock ends with its lease.
        was_held = redis_client.attempt(
            lambda client: bool(client.eval(locks.RELEASE_SCRIPT, 1, name, token)), otherwise=None
        )
        locks.count_lost_lease("spin", was_held=was_held)


def _acquire(name: str, token: str, lease_milliseconds: int, *, deadline: float) -> None:
    while True:
        is_taken = redis_client.attempt(
            lambda client: bool(client.set(name, token, nx=True, px=lease_milliseconds)), otherwise=None
        )
        if is_taken:
            return
        if is_taken is None:
            raise locks.redis_unavailable()
        if time.monotonic() + RETRY_SECONDS > deadline:
            raise locks.not_acquired()
        time.sleep(RETRY_SECONDS)
