"""A connection of its own to a stack's database: counters, rows by SQL, and the work that is still to do."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import MySQLdb
from MySQLdb.cursors import DictCursor

from scripts.stack import waiting
from scripts.stack.instance import Instance
from scripts.stack.mariadb import DATABASE, USER

COUNTERS = {"Innodb_deadlocks": "deadlocks", "Innodb_row_lock_waits": "row_lock_waits"}
COUNTERS |= {"Innodb_row_lock_time": "row_lock_ms"}
WORK_OFF_SECONDS = 180
FEW = 10
"""Beat's own business may always be under way."""
UNDELIVERED = Path(__file__).with_name("undelivered.sql").read_text()
IN_THE_JOURNAL = "(SELECT COUNT(*) FROM shop_journalline WHERE delivery = 'queued')"
"""The same in releases before 2.0, which `make bench AGAINST=` may meet."""
RUNNING = "(SELECT COUNT(*) FROM orders_saga WHERE state = 'running')"


@contextlib.contextmanager
def connected(instance: Instance) -> Iterator["MySQLdb.Connection[Any]"]:
    """A connection of its own, each statement its own transaction."""
    server = instance.mariadb()
    own = {"unix_socket": str(server.socket), "user": USER, "password": server.password}
    with contextlib.closing(MySQLdb.connect(**own, database=DATABASE, autocommit=True)) as connection:
        yield connection


def rows(instance: Instance, statement: str, *values: object) -> Sequence[tuple[Any, ...]]:
    with connected(instance) as connection, connection.cursor() as cursor:
        cursor.execute(statement, values)
        return [tuple(row) for row in cursor.fetchall()]


def row(instance: Instance, statement: str, *values: object) -> dict[str, Any]:
    with connected(instance) as connection, connection.cursor(DictCursor) as cursor:
        cursor.execute(statement, values)
        return dict(cursor.fetchone())


def counters(instance: Instance) -> dict[str, int]:
    marks = ", ".join(["%s"] * len(COUNTERS))
    found = rows(instance, f"SHOW GLOBAL STATUS WHERE Variable_name IN ({marks})", *COUNTERS)
    return {COUNTERS[name]: int(value) for name, value in found}


def since(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    return {name: value - before.get(name, 0) for name, value in now.items()}


def left(instance: Instance) -> tuple[int, int]:
    """How many events are queued, and how many sagas run."""
    events = IN_THE_JOURNAL
    if rows(instance, "SHOW TABLES LIKE 'events_webhookdelivery'"):
        events = UNDELIVERED
        if not rows(instance, "SHOW COLUMNS FROM events_feedevent LIKE 'run_offset'"):
            # Commits before runs of events, and release 2.0, give each event its position.
            events = events.replace(" AND run_offset = 0", "")
    [[events, sagas]] = rows(instance, f"SELECT {events}, {RUNNING}")
    return int(events), int(sagas)


def wait_until_worked_off(instance: Instance) -> None:
    """Return when the worker has nothing left of earlier loads, or that takes too long."""
    waiting.left(lambda: sum(left(instance)) > FEW, within_seconds=WORK_OFF_SECONDS, pause_seconds=0.5)
