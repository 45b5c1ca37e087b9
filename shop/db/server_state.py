"""State gauges of the database server: MySQL 8.4 and 9, MariaDB 10.11 and 11.8; SQLite has none.

What the shop's user may not read is left out: deadlocks on MySQL need the privilege PROCESS, the replication
lag needs REPLICATION CLIENT, on MariaDB REPLICA MONITOR.
"""

from collections.abc import Mapping
from typing import Any

from django.db import DatabaseError, connection

from shop.db import transactions
from shop.observability import gauges
from shop.observability.gauges import Value
from shop.observability.reading import Source

PREFIX = "firstcome_database_"
HELPS = {
    "threads_connected": "Connections that are open at the database.",
    "threads_running": "Connections of the database that run a statement.",
    "max_connections": "Connections that the database accepts.",
    "buffer_pool_hit_ratio": "Page reads that the database's memory answered, from 0 to 1, since its start.",
    "buffer_pool_dirty_ratio": "Pages in the database's memory that are not yet on disk, from 0 to 1.",
    "row_lock_waits_total": "Waits for a row lock, since the database's start.",
    "row_lock_wait_seconds_total": "Time spent in waits for row locks, since the database's start.",
    "deadlocks_total": "Deadlocks, since the database's start or the counter's last reset.",
    "replication_lag_seconds": "How far this database is behind the one that it replicates.",
}
STATUS = (
    "Threads_connected",
    "Threads_running",
    "Innodb_buffer_pool_read_requests",
    "Innodb_buffer_pool_reads",
    "Innodb_buffer_pool_pages_dirty",
    "Innodb_buffer_pool_pages_total",
    "Innodb_row_lock_waits",
    "Innodb_row_lock_time",
    "Innodb_deadlocks",
)
DEADLOCKS = "SELECT count FROM information_schema.innodb_metrics WHERE name = 'lock_deadlocks'"
LAG_COLUMNS = ("Seconds_Behind_Source", "Seconds_Behind_Master")


def register_gauges() -> None:
    """Expose the gauges."""
    gauges.register(
        f"{PREFIX}up",
        help="Whether the database answers: 1 or 0.",
        read=_is_up,
        otherwise=0,
    )
    gauges.register_group(
        "database",
        helps={f"{PREFIX}{name}": help for name, help in HELPS.items()},
        read=lambda: {f"{PREFIX}{name}": value for name, value in read_server().items()},
        source=Source.DATABASE,
    )


def read_server() -> Mapping[str, Value]:
    """The values by the names in `HELPS`, as far as the user may read them. Raises Django's errors."""
    if connection.vendor != "mysql":
        return {}
    status = _status()
    reads, requests = status["Innodb_buffer_pool_reads"], status["Innodb_buffer_pool_read_requests"]
    dirty, pages = status["Innodb_buffer_pool_pages_dirty"], status["Innodb_buffer_pool_pages_total"]
    deadlocks = status.get("Innodb_deadlocks")
    return {
        "threads_connected": status["Threads_connected"],
        "threads_running": status["Threads_running"],
        "max_connections": _number("SELECT @@global.max_connections"),
        "buffer_pool_hit_ratio": 1 - reads / requests if requests else None,
        "buffer_pool_dirty_ratio": dirty / pages if pages else None,
        "row_lock_waits_total": status["Innodb_row_lock_waits"],
        "row_lock_wait_seconds_total": status["Innodb_row_lock_time"] / 1000,
        "deadlocks_total": _number(DEADLOCKS) if deadlocks is None else deadlocks,
        "replication_lag_seconds": _replication_lag_seconds(),
    }


def read_locks() -> Mapping[str, float]:
    """Lock waits and deadlocks since the server's start, by their names in `HELPS`; those that are known."""
    if connection.vendor != "mysql":
        return {}
    status = _status()
    deadlocks = status["Innodb_deadlocks"] if "Innodb_deadlocks" in status else _number(DEADLOCKS)
    waits = {"row_lock_waits_total": status["Innodb_row_lock_waits"]}
    return waits if deadlocks is None else waits | {"deadlocks_total": deadlocks}


def _is_up() -> float:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return float(cursor.fetchone() == (1,))


def _status() -> dict[str, float]:
    names = ", ".join(f"'{name}'" for name in STATUS)
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW GLOBAL STATUS WHERE Variable_name IN ({names})")
        return {name: float(value) for name, value in cursor.fetchall()}


def _number(query: str) -> float | None:
    """The one number of the query's result; None without a row, or without the privilege."""
    row = _first_row(query)
    return None if row is None else float(next(iter(row.values())))


def _replication_lag_seconds() -> float | None:
    """The lag of a replica; None on a server that replicates no other, or while replication is stopped."""
    row = _first_row("SHOW REPLICA STATUS") or {}
    lag = next((row[name] for name in LAG_COLUMNS if row.get(name) is not None), None)
    return None if lag is None else float(lag)


def _first_row(query: str) -> dict[str, Any] | None:
    """The first row of the result by column; None without one, or if the user may not read it."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            row = cursor.fetchone()
            return row and dict(zip([column[0] for column in cursor.description], row, strict=True))
    except DatabaseError as error:
        if transactions.is_lost(error):
            raise
        return None
