"""Optimistic locking: read without a lock, write only if nothing has changed, and retry otherwise."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from django.conf import settings
from prometheus_client import Counter

from shop.concurrency.concurrency_limit import ConcurrencyLimit
from shop.db.transactions import ChangedMeanwhile
from shop.errors import Rejected
from shop.lazy_texts import Text
from shop.lazy_texts import mark as _

T = TypeVar("T")

# A second writer waits for the first one's row lock, only to find that the row has changed: so few run at
# once.
MAX_CONCURRENT = 4
# A pause is random, up to a bound that doubles from the first to the second of these.
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.005, 0.25


def retry_until_unchanged(
    work: Callable[[], T], *, concurrency_limit: ConcurrencyLimit, retries: Counter, wanted: Text
) -> T:
    """Repeat `work`, which opens its own transaction, after a pause until it raises no `ChangedMeanwhile`.

    Each further attempt counts on `retries`. Raises `Rejected` `conflict` after `OPTIMISTIC_RETRIES` retries,
    and `Overloaded` as `ConcurrencyLimit` does.
    """
    for attempt in range(settings.OPTIMISTIC_RETRIES + 1):
        if attempt:
            retries.inc()
            time.sleep(random.uniform(0, min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**attempt)))  # noqa: S311 - jitter
        try:
            with concurrency_limit.permit():
                return work()
        except ChangedMeanwhile:
            continue
    raise Rejected(
        _("Too many concurrent requests for {wanted}; nothing was done.", wanted=wanted),
        code="conflict",
        retry_after=1,
    )
