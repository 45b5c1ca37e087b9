"""Longer timeouts for statements that take minutes and that no request waits for."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db.backends.base.base import BaseDatabaseWrapper

LONG_READ_TIMEOUT_SECONDS = 3_600
"""For one statement: on big tables and a busy machine it can take minutes."""


@contextmanager
def long_read_timeout(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Allow statements that take longer than `DATABASE_READ_TIMEOUT_SECONDS`, on a new connection."""
    if connection.vendor != "mysql" or connection.in_atomic_block:
        yield
        return
    options = connection.settings_dict["OPTIONS"]
    usual = options.get("read_timeout")
    connection.close()
    try:
        options["read_timeout"] = LONG_READ_TIMEOUT_SECONDS
        yield
    finally:
        connection.close()
        options["read_timeout"] = usual
