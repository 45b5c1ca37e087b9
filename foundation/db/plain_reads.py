"""Statements that read without locking, and the refusal of all others."""

import re
from collections.abc import Callable
from typing import Any

from django.db import NotSupportedError

from foundation.values import GivenValues

READS = re.compile(r"\s*(SELECT|SHOW|SET\s+SESSION|SET\s+SQL_AUTO_IS_NULL)\b", re.IGNORECASE)
LOCKS = re.compile(r"\bFOR\s+(UPDATE|SHARE)\b|\bLOCK\s+IN\s+SHARE\s+MODE\b", re.IGNORECASE)


def refuse_writes(
    execute: Callable[..., Any], statement: str, parameters: Any, many: bool, context: GivenValues
) -> Any:
    """Django's execute wrapper that raises `NotSupportedError` unless the statement is a plain read."""
    if many or not READS.match(statement) or LOCKS.search(statement):
        raise NotSupportedError(f"Only plain reads go by this connection, not: {statement[:200]}")
    return execute(statement, parameters, many, context)
