"""The clock of retries of sagas, webhook deliveries, confirmations and gateway events: exponential backoff
with jitter. The column `next_attempt_at` says when a row is due.
"""

import random
from datetime import datetime, timedelta

from django.db.models import Q

from foundation import clock

LONGEST_SECONDS = 300


def pause_seconds(attempts: int) -> float:
    """The pause after this many failed attempts: doubles from 1 s to 5 min, less a jitter of up to half."""
    longest: int = min(LONGEST_SECONDS, 2 ** min(attempts - 1, 16))
    return longest * random.uniform(0.5, 1)  # noqa: S311 - jitter


def retry_at(attempts: int, now: datetime, *, most_seconds: float = LONGEST_SECONDS) -> datetime:
    """When to try again after this many failed attempts: within so many seconds."""
    return now + timedelta(seconds=min(pause_seconds(attempts), most_seconds))


def is_due(*, most_seconds: float = LONGEST_SECONDS, at: datetime | None = None) -> Q:
    """The condition for rows whose next attempt has come, by now or by an instant. One that is later than any
    pause leads to was written before a clock was set back, and has come as well.
    """
    return clock.has_come("next_attempt_at", most_seconds=most_seconds, at=at)
