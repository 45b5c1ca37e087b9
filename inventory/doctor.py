"""The doctor's check for deliveries that were interrupted and are not finished."""

from collections.abc import Iterator
from datetime import timedelta

from foundation import clock
from foundation.operations.doctor.findings import Finding, judge
from inventory.imports import importing

# A running import writes hundreds of rows a second.
UNFINISHED_AFTER = timedelta(minutes=10)


def examine() -> Iterator[Finding]:
    """The finding about deliveries. Raises Django's `Error` without the database."""
    left = list(importing.unfinished().filter(started_at__lte=clock.now() - UNFINISHED_AFTER))
    names = "; ".join([f"{one.pk} ({one.reason}), {one.rows_done} of {one.rows_total} rows" for one in left])
    found = f"{len(left)} started more than 10 minutes ago, not finished: {names}" if left else "none"
    yield judge("unfinished deliveries", found, bool(left))
