"""Renewal of leases in Redis while they are needed: one thread per process, once a second.

All leases are renewed in one round trip. A process that is paused or killed renews nothing, so its leases
expire.
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
    """Renew the lease once a second while the block runs; one more renewal may follow the block."""
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
    """Start the process's renewal thread unless it runs; a forked process has none yet."""
    global _thread
    if _thread is not None and _thread.is_alive():
        return
    with _mutex:
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_keep_renewing, name="lease renewal", daemon=True)
            _thread.start()


def _keep_renewing() -> None:
    while True:
        began_at = time.monotonic()
        try:
            _renew_all()
        except Exception:
            # The thread must survive: other leases depend on it.
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
            # An error of one renewal doesn't affect the others.
            log.warning("a lease could not be renewed", error=str(reply))
