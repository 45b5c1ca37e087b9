"""Whether the database answers, and its lock waits. The exporter of the server says all else of it."""

from collections.abc import Mapping

from django.db import DatabaseError, connection

from foundation.db import bulk_sql, transactions

STATUS = (
    "SHOW GLOBAL STATUS WHERE Variable_name IN ('Innodb_row_lock_waits', 'Innodb_deadlocks')",
    # MySQL has no such status, and its user may not have the privilege PROCESS.
    "SELECT 'Innodb_deadlocks', count FROM information_schema.innodb_metrics WHERE name = 'lock_deadlocks'",
)
NAMES = {"Innodb_row_lock_waits": "row_lock_waits_total", "Innodb_deadlocks": "deadlocks_total"}


def is_up() -> bool:
    return [*bulk_sql.fetch("SELECT 1")] == [(1,)]


def read_locks() -> Mapping[str, float]:
    """Lock waits and deadlocks since the server's start, as far as the user may read them."""
    found: dict[str, float] = {}
    for query in STATUS if connection.vendor == "mysql" else ():
        if "Innodb_deadlocks" not in found:
            try:
                found |= {name: float(number) for name, number in bulk_sql.fetch(query)}
            except DatabaseError as error:
                if transactions.is_lost(error):
                    raise
    return {NAMES[name]: number for name, number in found.items()}
