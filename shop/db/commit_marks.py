"""Marks of transactions that are to be done once: a stored mark proves that the COMMIT succeeded.

The idea is Oracle's Transaction Guard: a transaction writes an id that was made before it, under a unique
key.
"""

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from shop import clock
from shop.db import bulk_sql
from shop.models import CommittedTransaction

# A mark is looked for within seconds of its COMMIT.
RETENTION = timedelta(days=1)
SWEEP_BATCH = 1_000


class Mark(NamedTuple):
    """The row of a mark."""

    id: UUID
    at: datetime


MARKS_TABLE = bulk_sql.Table(CommittedTransaction, Mark._fields)


def write(id: UUID) -> None:
    """Write the mark with the next statement of the caller's transaction."""
    bulk_sql.insert(MARKS_TABLE, [Mark(id, clock.now())])


def write_now(id: UUID) -> None:
    """Write the mark. Raises `IntegrityError` if a transaction with it has committed, once that is known."""
    CommittedTransaction.objects.create(id=id, at=clock.now())


def sweep() -> int:
    """Forget the marks that are looked for no more, in small bites. Returns how many went."""
    gone = 0
    while True:
        old = CommittedTransaction.objects.filter(at__lte=clock.now() - RETENTION)
        bite = list(old.values_list("pk", flat=True)[:SWEEP_BATCH])
        if not bite:
            return gone
        CommittedTransaction.objects.filter(pk__in=bite).delete()
        gone += len(bite)
