"""The pace of long work beside requests: small transactions, rests between them, short waits for locks."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from django.db import connection

from shop.db import secondary, transactions
from shop.errors import Unavailable
from shop.lazy_texts import mark as _

T = TypeVar("T")
BATCH, SHARE = 1_000, 0.5
LOCK_WAIT_SECONDS = 1
"""A batch holds locks of its own while it waits: it gives up sooner than requests do."""
PAUSE_SECONDS, CATCH_UP_SECONDS = 2.0, 60.0
ATTEMPTS = 10
"""Of a batch whose locks are not granted, each after a pause."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How many rows a batch looks at, and which share of the time batches may take."""

    size: int = BATCH
    share: float = SHARE

    def sleep(self, busy_seconds: float) -> None:
        """Rest after work that has written nothing: the longer the busier the database is."""
        time.sleep(busy_seconds * (1 / self.share - 1))

    def rest(self, busy_seconds: float) -> None:
        """Rest after a batch, and until a secondary has applied it. Raises `Unavailable`."""
        self.sleep(busy_seconds)
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while secondary.is_configured() and not secondary.has_caught_up():
            if time.monotonic() > deadline:
                raise Unavailable(
                    _(
                        "The secondary has not applied the last batch within {seconds:.0f} s.",
                        seconds=CATCH_UP_SECONDS,
                    )
                )
            time.sleep(0.2)


def run_patiently(batch: Callable[[], T]) -> T:
    """Run a batch; repeat it after a pause, in which others have the rows to themselves, if they stopped it.

    Raises `transactions.TooManyConflicts` after the last attempt.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _wait_briefly_for_locks()
            return batch()
        except transactions.TooManyConflicts:
            if attempt == ATTEMPTS:
                raise
        time.sleep(PAUSE_SECONDS)
    raise AssertionError("the last attempt returns or raises")


def _wait_briefly_for_locks() -> None:
    """Before each batch, for the connection may be another one by then."""
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION innodb_lock_wait_timeout = %s", [LOCK_WAIT_SECONDS])
