"""The doctor's check for deliveries that were interrupted and are not finished."""

from datetime import timedelta

from django.db import Error

from inventory.imports import importing
from inventory.models import Delivery
from shop import clock
from shop.operations.doctor.findings import Finding, ok, warning

# A running import writes hundreds of rows a second.
UNFINISHED_AFTER = timedelta(minutes=10)
MOST_NAMED = 5


def examine() -> list[Finding]:
    """The findings about deliveries; none without a database, which is a finding of another check."""
    try:
        began_before = clock.now() - UNFINISHED_AFTER
        return [unfinished(list(importing.unfinished().filter(started_at__lte=began_before)))]
    except Error:
        return []


def unfinished(deliveries: list[Delivery]) -> Finding:
    """The finding about these unfinished deliveries, the oldest first."""
    if not deliveries:
        return ok("unfinished deliveries", "none")
    named = [_describe(delivery) for delivery in deliveries[:MOST_NAMED]]
    more = [f"and {len(deliveries) - MOST_NAMED} more"] if len(deliveries) > MOST_NAMED else []
    return warning(
        "unfinished deliveries",
        f"{len(deliveries)} started more than 10 minutes ago, not finished: {'; '.join([*named, *more])}",
        "Unless it is still running, run its file again with its id: `manage.py seed_stock FILE --delivery "
        "ID`. It continues where the first run ended, also with a file that was uploaded to the admin.",
    )


def _describe(delivery: Delivery) -> str:
    return f"{delivery.pk} ({delivery.reason}), {delivery.rows_done} of {delivery.rows_total} rows"
