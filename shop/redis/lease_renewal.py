"""Leases in Redis that are renewed while they are needed: one thread a process, once a second.

All are renewed by one round trip, so that any number of them takes no longer than one. A process that is
paused renews nothing, and one that was killed neither: that is what a lease is for.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from redis import Redis
from structlog import get_logger

from shop.redis import redis_client

log = get_logger(__name__)
RENEWAL_INTERVAL_SECONDS = 1.0


class Renewal(NamedTuple):
    """The script that renews a lease, with the lease's key and the script's arguments."""

    script: str
    key: str
    arguments: Sequence[str | int]


_mutex = threading.Lock()
_renewals: dict[object, Renewal] = {}
_thread: threading.Thread | None = None


@contextmanager
def kept_alive(renewal: Renewal) -> Iterator[None]:
    """Renew the lease once a second while the block runs; once more may follow."""
    entry = object()
    _start_thread()
    with _mutex:
        _renewals[entry] = renewal
    try:
        yield
    finally:
        with _mutex:
            del _renewals[entry]


def _start_thread() -> None:
    """Start the process's thread, once; a process that was forked has none yet."""
    global _thread
    if _thread is not None and _thread.is_alive():
        return
    with _mutex:
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_keep_renewing, name="renewing", daemon=True)
            _thread.start()


def _keep_renewing() -> None:
    while True:
        began_at = time.monotonic()
        try:
            _renew_all()
        except Exception:
            # The leases of the next second must not end with this one's.
            log.exception("leases could not be renewed")
        time.sleep(max(0.0, began_at + RENEWAL_INTERVAL_SECONDS - time.monotonic()))


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
            # The others are renewed all the same.
            log.warning("a lease could not be renewed", error=str(reply))
