"""The SQL statements of all threads, for tests: those of a batch are sent by its leader's connection."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from django.db.backends.base.base import BaseDatabaseWrapper

# What Django sends when a connection is opened.
OPENING = ("SET SESSION TRANSACTION", "SELECT VERSION()")


class _Handler(logging.Handler):
    def __init__(self):
        super().__init__()
        self.statements: list[str] = []

    def emit(self, record: logging.LogRecord):
        statement: str = record.__dict__["sql"]
        if not statement.lstrip().startswith(OPENING):
            self.statements.append(statement)


@contextmanager
def captured_statements() -> Iterator[list[str]]:
    """The statements that this process sends to the database inside, by any open connection, in order."""
    logger, handler = logging.getLogger("django.db.backends"), _Handler()
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        with mock.patch.object(BaseDatabaseWrapper, "queries_logged", True):
            yield handler.statements
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before
