"""Column types that mean the same on every database."""

from typing import Any

from django.db import models
from uuid_utils.compat import uuid7


class ExactCharField(models.CharField):
    """Text compared byte by byte: `a` is not `A`, as MySQL's default collation would have it.

    For codes, keys and other names that machines compare; ASCII only.
    """

    def db_parameters(self, connection: Any) -> dict[str, Any]:
        parameters = super().db_parameters(connection)
        if connection.vendor == "mysql":
            parameters["collation"] = "utf8mb4_bin"
        return parameters


def uuid_key() -> "models.UUIDField[Any, Any]":
    """A primary key in order of creation (UUIDv7), so that inserts go to the end of the table."""
    return models.UUIDField(primary_key=True, default=uuid7, editable=False)
