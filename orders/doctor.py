"""Unpaid orders that keep their stock though their time is over, as the doctor finds them."""

from django.db import Error

from orders import cancellation
from shop.operations.doctor.findings import Finding, ok, warning


def examine() -> list[Finding]:
    """A database that is away is a finding of its own."""
    try:
        return [overdue(cancellation.overdue_count())]
    except Error:
        return []


def overdue(count: int) -> Finding:
    if count:
        return warning(
            "overdue orders",
            f"{count} unpaid orders have not expired in time, and hold stock",
            "Look whether beat and a worker run. If so, the admin lists them (Orders, by expiry: overdue), "
            f"and the page of each has the journal's reason (`{cancellation.CANNOT_EXPIRE}`): put it right, "
            "and they expire within seconds. Without a reason there, another transaction keeps rows locked: "
            "the workers' log says `orders expire later: what they hold is locked`; find that transaction "
            "in information_schema.innodb_trx, and end it by KILL.",
        )
    return ok("overdue orders", "none")
