"""Changes of one row, and conditions on several."""

from typing import Any

from django.db.models import Model

from foundation.values import Values


def save_changes(row: Model, **changes: Any) -> None:
    """Give the row these values, and save their columns alone."""
    for name, value in changes.items():
        setattr(row, name, value)
    row.save(update_fields=list(changes))


def present(**values: Any) -> Values:
    """Those of the values that are not None, such as the conditions that a caller has given."""
    return {name: value for name, value in values.items() if value is not None}
