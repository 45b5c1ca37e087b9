"""The doctor's check for unpaid orders that should have expired and still hold stock."""

from django.db import Error

from orders import cancellation
from shop.operations.doctor.findings import Finding, ok, warning


def examine() -> list[Finding]:
    """The findings; none without the database, which has a check of its own."""
    try:
        count = cancellation.overdue_count()
    except Error:
        return []
    if not count:
        return [ok("overdue orders", "none")]
    return [
        warning(
            "overdue orders",
            f"{count} unpaid orders have not expired in time and hold stock",
            "Check that beat and a worker run. If they do, the admin lists the orders (Orders, by expiry: "
            f"overdue), and the page of each has the journal's reason (`{cancellation.CANNOT_EXPIRE}`): fix "
            "that, and they expire within seconds. Without a reason, another transaction keeps rows locked: "
            "the workers' log says `orders expire later: what they hold is locked`; find that transaction "
            "in information_schema.innodb_trx and end it with KILL.",
        )
    ]
