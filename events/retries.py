"""What becomes of deliveries that fail, and of their endpoint: when they are given up, and when it rests."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

FEWEST_ATTEMPTS = 5
"""Even an old event has so many, because it may have waited for others."""


class Attempt(NamedTuple):
    """The result of sending: delivered with any 2xx. `error` is what an operator reads; `is_final` says that
    the data platform refuses the event for good.
    """

    response_status: int | None
    error: str
    is_final: bool = False

    @property
    def is_delivered(self) -> bool:
        return not self.error


class Status(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Limits(NamedTuple):
    """After how many seconds an endpoint's deliveries are given up, and those that it refuses for good."""

    give_up_seconds: float
    refused_seconds: float

    def is_over(self, since: datetime, now: datetime) -> bool:
        """Whether what began then is given up."""
        return (now - since).total_seconds() > self.give_up_seconds

    def is_refused(self, refused_at: datetime | None, now: datetime) -> bool:
        """Whether what is refused since then is given up."""
        return refused_at is not None and (now - refused_at).total_seconds() >= self.refused_seconds


class Health(NamedTuple):
    """Since when nothing is delivered to an endpoint, and the passes in a row that got no answer."""

    failing_since: datetime | None = None
    failures: int = 0


def refused_since(
    attempt: Attempt, *, last_status: int | None, refused_at: datetime | None, now: datetime
) -> datetime | None:
    """Since when the delivery is refused for good with the same status: the rest of the answer may differ."""
    if not attempt.is_final:
        return None
    return (attempt.response_status == last_status and refused_at) or now


def status_after(
    attempt: Attempt,
    limits: Limits,
    *,
    attempts: int,
    refused_at: datetime | None,
    created_at: datetime,
    now: datetime,
) -> Status:
    """What a delivery is after this attempt, which is counted among its attempts."""
    if attempt.is_delivered:
        return Status.DELIVERED
    is_over = attempts >= FEWEST_ATTEMPTS and limits.is_over(created_at, now)
    return Status.FAILED if is_over or limits.is_refused(refused_at, now) else Status.PENDING


def health_after(health: Health, attempts: Sequence[Attempt], now: datetime) -> Health:
    """The health after a pass with these attempts, one at least."""
    if any(attempt.is_delivered for attempt in attempts):
        return Health()
    has_answered = any(attempt.response_status for attempt in attempts)
    return Health(health.failing_since or now, 0 if has_answered else health.failures + 1)
