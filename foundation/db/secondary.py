"""Reads that a secondary of the database may answer: lists of staff, exports and reports; never a decision.

It has then applied all that the primary had committed when the read began. Each connection asks its own
server, because a proxy may spread connections over several. One that lags, or can't be reached, is left alone
for a while. While `read` runs, no transaction can be opened, and no connection writes or locks.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, Error as DatabaseFailure, connections
from django.db.transaction import TransactionManagementError
from prometheus_client import Counter
from structlog import get_logger

from foundation.db import bulk_sql, open_transaction, transactions
from foundation.db.plain_reads import refuse_writes

T = TypeVar("T")
log = get_logger(__name__)
ALIAS = "reader"
CATCH_UP_SECONDS = 0.3
"""The longest wait until the secondary has applied what the primary has; usually it takes milliseconds."""
LAGGING_SECONDS = 1.0
UNREACHABLE_SECONDS = 5.0
"""How long a process reads from the primary alone after a wait in vain, or after an error."""
SECONDARY = "secondary"
LAGGING = "lagging"
UNREACHABLE = "unreachable"
READS = Counter(
    "firstcome_secondary_reads",
    "Reads that a secondary may answer: it did, or the primary because the secondary lags or is unreachable.",
    ["result"],
)
for _result in (SECONDARY, LAGGING, UNREACHABLE):
    READS.labels(_result)
# By whether the servers are MariaDB: what the primary has committed, and the wait until a server has
# applied it. The first is empty without a binary log.
POSITION = {True: "SELECT @@GLOBAL.gtid_binlog_pos", False: "SELECT @@GLOBAL.gtid_executed"}
WAIT = {True: "SELECT MASTER_GTID_WAIT(%s, %s)", False: "SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %s)"}
APPLIED = 0


_rest_until = 0.0
_rest_reason = ""
"""Until when this process leaves the secondary alone, and why."""


class Router:
    """The secondary is read by name alone, and never written; as long as `read` runs, what belongs to a row
    of it is read there too.
    """

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return None if open_transaction.state.is_forbidden else DEFAULT_DB_ALIAS

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return DEFAULT_DB_ALIAS

    def allow_relation(self, first: Any, second: Any, **hints: Any) -> bool:
        return True

    def allow_migrate(self, database: str, app_label: str, **hints: Any) -> bool:
        return database == DEFAULT_DB_ALIAS


def is_configured() -> bool:
    return ALIAS in connections.settings


def read(work: Callable[[str], T]) -> T:
    """Run `work` with the alias of the database that it is to read: the secondary's, or the primary's.

    `work` must read everything before it returns, and is run again if the secondary is lost meanwhile. Raises
    `TransactionManagementError` inside a transaction.
    """
    if open_transaction.is_open():
        raise TransactionManagementError("A secondary is not read inside a transaction.")
    if not is_configured():
        return work(DEFAULT_DB_ALIAS)
    if not has_caught_up():
        READS.labels(_rest_reason).inc()
        return work(DEFAULT_DB_ALIAS)
    try:
        with open_transaction.forbidden(), connections[DEFAULT_DB_ALIAS].execute_wrapper(refuse_writes):
            result = work(ALIAS)
    except DatabaseFailure as error:
        if not transactions.is_lost(error):
            raise
        _leave_alone(error)
        READS.labels(UNREACHABLE).inc()
        return work(DEFAULT_DB_ALIAS)
    READS.labels(SECONDARY).inc()
    return result


def has_caught_up() -> bool:
    """Whether this thread's secondary has applied what the primary has committed by now."""
    if time.monotonic() < _rest_until:
        return False
    is_mariadb = bool(getattr(connections[DEFAULT_DB_ALIAS], "mysql_is_mariadb", False))
    position = _value(DEFAULT_DB_ALIAS, POSITION[is_mariadb])
    try:
        # An empty position would count as applied everywhere.
        is_applied = position and _value(ALIAS, WAIT[is_mariadb], position, CATCH_UP_SECONDS) == APPLIED
    except DatabaseFailure as error:
        _leave_alone(error)
        return False
    if not is_applied:
        _rest(LAGGING, LAGGING_SECONDS)
    return bool(is_applied)


def _leave_alone(error: DatabaseFailure) -> None:
    log.warning("the secondary can't be read", error=error)
    connections[ALIAS].close()
    _rest(UNREACHABLE, UNREACHABLE_SECONDS)


def _rest(reason: str, seconds: float) -> None:
    """Leave the secondary alone for so long."""
    global _rest_until, _rest_reason
    if time.monotonic() >= _rest_until:
        log.warning("lists are read from the primary", secondary=reason)
    _rest_reason = reason
    _rest_until = time.monotonic() + seconds


def _value(alias: str, statement: str, *parameters: Any) -> Any:
    return bulk_sql.fetch(statement, parameters, database=alias)[0][0]
