"""Rows that another transaction keeps locked for long: found after a lock wait, remembered until unlocked.

A hot row is locked at almost any instant, by one healthy transaction after the other. So a row counts as
stuck only when it can't be locked within `WAIT_SECONDS`. A thread waits for each stuck row and forgets it as
soon as it can be locked; meanwhile the requests that need a stuck row are known without a query.
"""

import time
from collections import defaultdict
from collections.abc import Collection
from functools import partial
from typing import Any, NamedTuple

from django.db import OperationalError, connection, models, transaction
from structlog import get_logger

from foundation.db import bulk_sql, transactions
from foundation.errors import Unavailable
from foundation.repeated_work import RepeatedWork

log = get_logger(__name__)
WAIT_SECONDS = 1
# For all suspect rows together; rows that are not checked within it count as stuck for this call only.
BUDGET_SECONDS = 3.0
# Between two looks of the thread while no row is stuck.
IDLE_SECONDS = 0.5


class Row(NamedTuple):
    """The row with this value in a column; `is_shared` where only a foreign key's check needs it."""

    model: type[models.Model]
    value: Any
    column: str = "id"
    is_shared: bool = False


_stuck: set[Row] = set()


def any_known() -> bool:
    return bool(_stuck)


def known(wanted: Collection[Row]) -> set[Row]:
    """The subset of these rows that is known to be stuck. Takes no query."""
    return {row for row in wanted if row in _stuck}


def find(wanted: Collection[Row], *, seconds: int | None = WAIT_SECONDS) -> set[Row]:
    """The subset of these rows that stays locked for so many seconds each, or the usual lock wait; remembered
    from now on.

    Must be called outside a transaction. Takes at most `BUDGET_SECONDS` and one wait. Empty while the
    database is unavailable.
    """
    suspects = in_use(wanted)
    stuck = set()
    unsure = set()
    deadline = time.monotonic() + BUDGET_SECONDS
    for row in suspects:
        if time.monotonic() > deadline:
            unsure.add(row)
        elif not _becomes_free(row, seconds):
            stuck.add(row)
    if stuck:
        log.warning("rows stay locked", rows=[f"{row.model.__name__} {row.value}" for row in stuck])
        _stuck.update(stuck)
        _watch.start()
    return stuck | unsure


def in_use(wanted: Collection[Row]) -> list[Row]:
    """The subset of these rows that another transaction has locked at this moment; empty without the
    database.
    """
    alike: dict[tuple[type[models.Model], str, bool], set[Any]] = defaultdict(set)
    for row in wanted:
        alike[row.model, row.column, row.is_shared].add(row.value)
    found = []
    for (model, column, is_shared), values in alike.items():
        locked = partial(bulk_sql.locked_values, model, values, column=column, shared=is_shared)
        try:
            found += [Row(model, value, column, is_shared) for value in transactions.read(locked)]
        except Unavailable:
            return []
    return found


def _becomes_free(row: Row, seconds: int | None = WAIT_SECONDS) -> bool:
    """Whether the row can be locked within this time, or doesn't exist; True without the database."""
    try:
        return transactions.read(partial(_lock_once, row, seconds))
    except Unavailable:
        return True


def _lock_once(row: Row, seconds: int | None) -> bool:
    [[usual_seconds]] = bulk_sql.fetch("SELECT @@innodb_lock_wait_timeout")
    set_wait = partial(bulk_sql.execute, "SET SESSION innodb_lock_wait_timeout = %s")
    set_wait([seconds or usual_seconds])
    try:
        with transaction.atomic():
            reader = bulk_sql.reader(row.model, (row.column,))
            reader.rows_of([row.value], column=row.column, lock=bulk_sql.for_update(shared=row.is_shared))
    except OperationalError as error:
        if not transactions.is_lock_wait(error):
            raise
        return False
    finally:
        set_wait([usual_seconds])
    return True


def _forget_free() -> None:
    """Forget the rows that can be locked by now, and those of which that can't be found out."""
    for row in list(_stuck):
        is_stuck = False
        try:
            is_stuck = not _becomes_free(row)
        finally:
            if not is_stuck:
                _stuck.discard(row)
    if not _stuck:
        connection.close()


_watch = RepeatedWork(_forget_free, name="stuck rows", pause=lambda: 0.0 if _stuck else IDLE_SECONDS)
