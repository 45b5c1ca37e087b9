"""Many rows by short statements: each handles the next of them in the order of a key."""

from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet

DELETED_AT_ONCE = 1_000


def pages(
    rows: "QuerySet[Any, Any]", *values: str, size: int, key: str = "pk"
) -> Iterator[list[tuple[Any, ...]]]:
    """The `key`, unique and never null, and these values of the rows, so many at a time."""
    ordered: Any = rows.order_by(key).values_list(key, *values)
    page = list(ordered[:size])
    while page:
        yield page
        page = list(ordered.filter(**{f"{key}__gt": page[-1][0]})[:size])


def delete(rows: "QuerySet[Any]") -> int:
    """Delete the rows, some in a transaction each, so that none holds many locks. Returns how many."""
    deleted = 0
    while batch := list(rows.values_list("pk", flat=True)[:DELETED_AT_ONCE]):
        rows.model._default_manager.filter(pk__in=batch).delete()
        deleted += len(batch)
    return deleted
