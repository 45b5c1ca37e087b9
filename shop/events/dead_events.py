"""Dead events, refused for good or given up: listing them, and replaying them by an operator's request."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

from django.db.models import Count, QuerySet

from shop.db import transactions
from shop.events import requeuing
from shop.models import JournalLine

DEAD = JournalLine.Delivery.DEAD
REPLAY_BATCH_SIZE = 1_000
MOST_REPLAYED = 10_000
"""By one call of `replay_matching`: a page must be answered soon. A repeat continues with the rest."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Chooses dead events by type, or the beginning of one (`order.`), by when they happened, by order."""

    what: str = ""
    since: datetime | None = None
    before: datetime | None = None
    order_id: UUID | None = None

    def lines(self) -> "QuerySet[JournalLine]":
        """The dead events that match, oldest first; found by the index on deliveries."""
        lines = JournalLine.objects.filter(delivery=DEAD, next_attempt_at__isnull=True)
        if self.what:
            is_prefix = self.what.endswith(".")
            lines = lines.filter(**{"what__startswith" if is_prefix else "what": self.what})
        if self.since:
            lines = lines.filter(at__gte=self.since)
        if self.before:
            lines = lines.filter(at__lt=self.before)
        if self.order_id:
            lines = lines.filter(order_id=self.order_id)
        return lines.order_by("id")


EVERYTHING = EventFilter()


def list_dead(matching: EventFilter = EVERYTHING) -> list[JournalLine]:
    """The dead events that match, oldest first."""
    return list(matching.lines())


def dead_count() -> int:
    return JournalLine.objects.filter(delivery=DEAD).count()


def counts_by_type(matching: EventFilter) -> dict[str, int]:
    """How many dead events of each type match."""
    counted = matching.lines().order_by().values_list("what").annotate(number=Count("pk"))
    return dict(sorted(counted))


def replay(
    ids: Collection[int], *, reason: str = "", progress: Callable[[int], None] = lambda queued: None
) -> list[int]:
    """Queue these dead events for delivery at once; returns the ids of those that were dead. Safe to repeat.

    Each batch is a transaction of its own, after which `progress` is called with its size.
    """
    wanted, replayed = sorted(ids), []
    for start in range(0, len(wanted), REPLAY_BATCH_SIZE):
        batch = transactions.run(
            partial(_replay_batch, wanted[start : start + REPLAY_BATCH_SIZE], reason), transactions.ONCE
        )
        progress(len(batch))
        replayed += batch
    return replayed


def replay_matching(
    matching: EventFilter, *, reason: str, progress: Callable[[int], None] = lambda queued: None
) -> int:
    """Queue the oldest `MOST_REPLAYED` dead events that match, as `replay` does. Returns how many."""
    ids = matching.lines().values_list("id", flat=True)[:MOST_REPLAYED]
    return len(replay(list(ids), reason=reason, progress=progress))


def _replay_batch(ids: Collection[int], reason: str) -> list[int]:
    # Looked up first and locked afterwards, so that no row is locked that may be missing.
    existing = list(JournalLine.objects.filter(id__in=ids, delivery=DEAD).values_list("id", flat=True))
    rows = JournalLine.objects.select_for_update().filter(id__in=existing).order_by("id")
    dead = [line for line in rows if line.delivery == DEAD]
    requeuing.requeue(dead, what="event.replayed", reason=reason)
    return [line.pk for line in dead]
