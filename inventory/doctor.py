"""Deliveries that were interrupted and are not all in, as the doctor finds them."""

from datetime import timedelta

from django.db import Error

from inventory.imports import importing
from inventory.models import Delivery
from shop import clock
from shop.operations.doctor.findings import Finding, ok, warning

# A run that is still at work writes hundreds of rows a second.
UNFINISHED_AFTER = timedelta(minutes=10)
MOST_NAMED = 5


def examine() -> list[Finding]:
    """A database that is away is a finding of its own."""
    try:
        began_before = clock.now() - UNFINISHED_AFTER
        return [unfinished(list(importing.unfinished().filter(started_at__lte=began_before)))]
    except Error:
        return []


def unfinished(deliveries: list[Delivery]) -> Finding:
    """What is said of these, the oldest first."""
    if not deliveries:
        return ok("unfinished deliveries", "none")
    named = [_describe(delivery) for delivery in deliveries[:MOST_NAMED]]
    more = [f"and {len(deliveries) - MOST_NAMED} more"] if len(deliveries) > MOST_NAMED else []
    return warning(
        "unfinished deliveries",
        f"{len(deliveries)} began more than 10 minutes ago and are not all in: {'; '.join([*named, *more])}",
        "If no run is at work on it, run its file again with its id: `manage.py seed_stock FILE --delivery "
        "ID`. It goes on where the first run ended, also with a file that was uploaded to the admin.",
    )


def _describe(delivery: Delivery) -> str:
    return f"{delivery.pk} ({delivery.reason}), {delivery.rows_done} of {delivery.rows_total} rows"
