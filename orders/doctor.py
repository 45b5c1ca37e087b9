"""The doctor's checks for unpaid orders that hold stock for too long, and for payments at former gateways."""

from collections.abc import Iterator

from foundation.operations.doctor.findings import Finding, judge
from orders import cancellation
from orders.payment import unreachable
from payments.models import Payment


def examine() -> Iterator[Finding]:
    """The findings. Raises Django's `Error` without the database."""
    count = cancellation.overdue_count()
    found = f"{count} unpaid orders have not expired in time and hold stock" if count else "none"
    yield judge("overdue orders", found, count > 0)
    is_unnamed = Payment.objects.filter(gateway="").exists()
    yield judge("payments' gateways", "not all named" if is_unnamed else "named", is_unnamed)
    for one in unreachable.find():
        if one.has_open:
            yield judge("payments' gateways", f"{one.reason}; open", True, "open payments")
        if one.refundable_at:
            found = f"{one.reason}; the newest that can be refunded is of {one.refundable_at:%Y-%m-%d}"
            yield judge("payments' gateways", found, True, "refundable payments")
