"""Marks of transactions that must be committed once: a stored mark proves that the COMMIT succeeded."""

from datetime import timedelta
from uuid import UUID

from foundation import clock
from foundation.db import bulk_sql, key_walks
from foundation.models import CommittedTransaction

# A mark is read within seconds of its COMMIT, if at all.
RETENTION = timedelta(days=1)


def write(id: UUID) -> None:
    """Insert the mark; the INSERT may be sent together with the transaction's next statement."""
    bulk_sql.insert_objects([CommittedTransaction(id=id, at=clock.now())])


def write_now(id: UUID) -> None:
    """Write the mark at once. Waits for an open transaction with the same mark; raises `IntegrityError` if
    that has committed.
    """
    CommittedTransaction.objects.create(id=id, at=clock.now())


def sweep() -> int:
    """Delete the marks that are no longer needed, in small batches. Returns how many."""
    return key_walks.delete(CommittedTransaction.objects.filter(at__lte=clock.now() - RETENTION))
