"""The doctor's check for unpaid orders that should have expired and still hold stock."""

from collections.abc import Iterator

from orders import cancellation
from shop.operations.doctor.findings import Finding, judge


def examine() -> Iterator[Finding]:
    """The finding. Raises Django's `Error` without the database."""
    count = cancellation.overdue_count()
    found = f"{count} unpaid orders have not expired in time and hold stock" if count else "none"
    yield judge("overdue orders", found, count > 0)
