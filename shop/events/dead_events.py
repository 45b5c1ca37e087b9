"""Dead events, refused for good or given up: listing them, and replaying them by an operator's request."""

from collections.abc import Collection
from functools import partial

from shop import clock
from shop.db import transactions
from shop.events import journal, outbox
from shop.models import JournalLine

DEAD, QUEUED = JournalLine.Delivery.DEAD, JournalLine.Delivery.QUEUED
REPLAY_BATCH_SIZE = 1_000


def list_dead() -> list[JournalLine]:
    """The dead events, oldest first."""
    return list(JournalLine.objects.filter(delivery=DEAD).order_by("id"))


def dead_count() -> int:
    return JournalLine.objects.filter(delivery=DEAD).count()


def replay(ids: Collection[int]) -> list[int]:
    """Queue these dead events for delivery at once; returns the ids of those that were dead."""
    wanted, replayed = sorted(ids), []
    for start in range(0, len(wanted), REPLAY_BATCH_SIZE):
        replayed += transactions.run(
            partial(_replay_batch, wanted[start : start + REPLAY_BATCH_SIZE]), transactions.ONCE
        )
    return replayed


def _replay_batch(ids: Collection[int]) -> list[int]:
    # Looked up first and locked afterwards, so that no row is locked that may be missing.
    existing = list(JournalLine.objects.filter(id__in=ids, delivery=DEAD).values_list("id", flat=True))
    rows = JournalLine.objects.select_for_update().filter(id__in=existing).order_by("id")
    dead = [line for line in rows if line.delivery == DEAD]
    JournalLine.objects.filter(id__in=[line.pk for line in dead]).update(
        delivery=QUEUED, attempts=0, next_attempt_at=clock.now(), refused_at=None
    )
    for line in dead:
        journal.note(
            what="event.replayed",
            subject=f"event {outbox.event_id(line)}",
            order_id=line.order_id,
            before={"delivery": DEAD, "error": line.last_error},
            after={"delivery": QUEUED},
            is_internal=True,
        )
    return [line.pk for line in dead]
