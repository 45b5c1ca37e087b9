"""Hold a fair lock whose waiters have nothing to do meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager

from foundation.redis import fair_lock, locks
from foundation.redis.fair_lock import Turn


@contextmanager
def held(name: str, *, wait_seconds: float = locks.WAIT_SECONDS) -> Iterator[Turn]:
    with fair_lock.queued(name) as turn, fair_lock.acquired(turn, wait_seconds=wait_seconds):
        yield turn
