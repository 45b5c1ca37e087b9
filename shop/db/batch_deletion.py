"""Deletion of many rows in small batches, so that no transaction holds many locks."""

from typing import Any

from django.db.models import QuerySet

BATCH = 1_000


def delete_in_batches(rows: "QuerySet[Any]") -> int:
    """Delete the rows of the query, each batch in a transaction of its own. Returns how many were deleted."""
    deleted = 0
    while batch := list(rows.values_list("pk", flat=True)[:BATCH]):
        rows.model._default_manager.filter(pk__in=batch).delete()
        deleted += len(batch)
    return deleted
