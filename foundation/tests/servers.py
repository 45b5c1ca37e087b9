"""What tests ask of a database server, in the words of MariaDB and of MySQL."""

import re
from typing import Any

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from foundation.tests.second_connection import another_connection, ask

# (The table of lock waits of MariaDB is a cached copy, which is not refreshed while it is read repeatedly; no
# statement of the shop runs that long unless it waits.)
_WAITING_ON_MARIADB = """
SELECT COUNT(*) FROM information_schema.processlist
WHERE db = DATABASE() AND id <> CONNECTION_ID() AND info LIKE %s AND time_ms > 200
"""
_WAITING_ON_MYSQL = """
SELECT COUNT(*) FROM performance_schema.data_lock_waits waits
JOIN performance_schema.data_locks locks ON locks.engine_lock_id = waits.requesting_engine_lock_id
WHERE locks.object_schema = DATABASE() AND locks.object_name LIKE %s
"""


def is_mariadb() -> bool:
    return bool(getattr(connection, "mysql_is_mariadb", False))


def isolation_level(of: BaseDatabaseWrapper) -> str:
    """Of new transactions of this connection; MariaDB before 11.1 has another name for it."""
    [(_, level)] = ask(of, f"SHOW VARIABLES LIKE '{'tx' if is_mariadb() else 'transaction'}_isolation'")
    return str(level)


def statement_limit_seconds() -> float:
    """After how long the server ends a SELECT of Django's connection; 0 for never."""
    if is_mariadb():
        return float(ask(connection, "SELECT @@SESSION.max_statement_time")[0][0])
    return float(ask(connection, "SELECT @@SESSION.max_execution_time")[0][0]) / 1000


def lateness_of_lock_waits(waits: int) -> float:
    """By how many seconds so many waits, one after the other, may exceed `innodb_lock_wait_timeout`.

    MySQL looks once a second, anew from each wait of any connection that begins; MariaDB is on time.
    """
    return 0 if is_mariadb() else waits


def waiting_for_locks(other: BaseDatabaseWrapper, *, tables: str) -> int:
    """The number of statements that wait for a lock of tables with this part in their names."""
    statement = _WAITING_ON_MARIADB if is_mariadb() else _WAITING_ON_MYSQL
    return int(ask(other, statement, f"%{tables}%")[0][0])


def explain(statement: str) -> list[dict[str, Any]]:
    """The rows of the server's plan: a row for each table that the statement reads.

    The server counts their rows first: else its idea of a table is that of the tests before.
    """
    with another_connection() as other:
        for table in set(re.findall(r"(?:FROM|JOIN) `?(\w+)", statement)):
            ask(other, f"ANALYZE TABLE {table}")
    with connection.cursor() as cursor:
        # MySQL's own default is a tree, which MariaDB doesn't have.
        cursor.execute(f"EXPLAIN {'' if is_mariadb() else 'FORMAT=TRADITIONAL '}{statement}")
        assert cursor.description
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
