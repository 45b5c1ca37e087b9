"""The MySQL backend of a secondary: statements that write or lock never leave the process.

The server refuses writes too, because each connection begins with `SET SESSION TRANSACTION READ ONLY`, and a
secondary is read-only by itself. What is refused here would be a mistake in the shop's code.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from django.db import NotSupportedError
from django.db.transaction import TransactionManagementError

from shop.db.mysql import base

READS = re.compile(r"\s*(SELECT|SHOW|SET\s+SESSION|SET\s+SQL_AUTO_IS_NULL)\b", re.IGNORECASE)
LOCKS = re.compile(r"\bFOR\s+(UPDATE|SHARE)\b|\bLOCK\s+IN\s+SHARE\s+MODE\b", re.IGNORECASE)


def is_plain_read(statement: str) -> bool:
    """Whether the statement reads without locking any row."""
    return bool(READS.match(statement)) and not LOCKS.search(statement)


def refuse_writes(
    execute: Callable[..., Any],
    statement: str,
    parameters: Any,
    many: bool,
    context: Mapping[str, Any],
) -> Any:
    """Django's execute wrapper that raises `NotSupportedError` unless the statement is a plain read."""
    if many or not is_plain_read(statement):
        raise NotSupportedError(f"Only plain reads go by this connection, not: {statement[:200]}")
    return execute(statement, parameters, many, context)


class DatabaseWrapper(base.DatabaseWrapper):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.execute_wrappers.append(refuse_writes)

    def init_connection_state(self) -> None:
        super().init_connection_state()
        with self.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION READ ONLY")

    def set_autocommit(self, autocommit: bool, *arguments: Any, **named: Any) -> None:
        if not autocommit:
            raise TransactionManagementError("A secondary has no transactions: it decides nothing.")
        super().set_autocommit(autocommit, *arguments, **named)
