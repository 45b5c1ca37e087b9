"""The traces in which sagas and queue tickets began: another process continues them, also after a crash.

A row is written only where a trace is recorded, in the transaction that writes the saga or ticket, and read
only by processes that record traces. The table is one of its own, so that hot tables need no further column.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import Error
from structlog import get_logger

from shop import clock
from shop.db import bulk_sql, key_walks, open_transaction
from shop.models import RecordedTrace
from shop.observability import traceparents, tracing

log = get_logger(__name__)
# A saga that is still retried after that starts no longer in its request's trace.
RETENTION = timedelta(days=7)


class TraceRow(NamedTuple):
    """The row of a trace; `id` is that of the saga or ticket."""

    id: UUID
    traceparent: str
    at: datetime


TRACES_TABLE = bulk_sql.Table(RecordedTrace, TraceRow._fields)


def remember(subject_id: UUID, traceparent: str) -> None:
    """Write the trace in which this saga or ticket begins, if it is recorded; call it in its transaction."""
    if traceparents.is_recorded(traceparent):
        open_transaction.write_before_commit(_write, TraceRow(subject_id, traceparent, clock.now()))


def read(subject_ids: Collection[UUID]) -> dict[UUID, str]:
    """The `traceparent` of each of these whose trace is recorded; none of them without the database."""
    if not (tracing.is_on and subject_ids):
        return {}
    try:
        rows = RecordedTrace.objects.filter(id__in=subject_ids).values_list("id", "traceparent")
        return dict(rows)
    except Error as error:
        log.info("traces can't be read, and end here", error=str(error)[:200])
        return {}


def sweep() -> int:
    """Delete the rows that are older than `RETENTION`, in small batches. Returns how many."""
    return key_walks.delete(RecordedTrace.objects.filter(at__lte=clock.now() - RETENTION))


def _write(rows: Sequence[TraceRow]) -> None:
    bulk_sql.insert(TRACES_TABLE, rows)
