"""A connection of its own to a stack's database: counters, rows by SQL, and the work that is still to do."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import MySQLdb
from MySQLdb.cursors import DictCursor

from lab.load import Numbers
from scripts.stack import waiting
from scripts.stack.instance import Instance
from scripts.stack.mariadb import DATABASE, USER

COUNTERS = {
    "Innodb_deadlocks": "deadlocks",
    "Innodb_row_lock_waits": "row_lock_waits",
    "Innodb_row_lock_time": "row_lock_ms",
}
WORK_OFF_SECONDS = 180
FEW = 10  # Beat's own business may always be under way
Row = TypeVar("Row")
Table = Sequence[tuple[Any, ...]]
UNDELIVERED = """
(SELECT COUNT(*) FROM events_webhookdelivery WHERE status = 'pending') +
(SELECT COUNT(*) FROM events_feedevent WHERE position IS NULL AND run_offset = 0) +
COALESCE((SELECT last_position FROM events_feedstate) -
    COALESCE((SELECT position FROM events_webhookendpoint WHERE kind = 'data_platform'), 0), 0)
"""
# The same in releases before 2.0, which `make bench AGAINST=` may meet.
IN_THE_JOURNAL = "(SELECT COUNT(*) FROM shop_journalline WHERE delivery = 'queued')"
RUNNING = "(SELECT COUNT(*) FROM orders_saga WHERE state = 'running')"


@contextlib.contextmanager
def connected(instance: Instance) -> Iterator["MySQLdb.Connection[Any]"]:
    """A connection of its own, each statement its own transaction."""
    server = instance.mariadb()
    connection = MySQLdb.connect(
        unix_socket=str(server.socket),
        user=USER,
        password=server.password,
        database=DATABASE,
        autocommit=True,
    )
    with contextlib.closing(connection):
        yield connection


def rows(instance: Instance, statement: str, *values: object) -> Table:
    with connected(instance) as connection, connection.cursor() as cursor:
        cursor.execute(statement, values)
        return [tuple(row) for row in cursor.fetchall()]


def read(instance: Instance, row: Callable[..., Row], statement: str, *values: object) -> list[Row]:
    """The rows that the statement finds, each as a `row`, whose fields are named as the columns."""
    with connected(instance) as connection, connection.cursor(DictCursor) as cursor:
        cursor.execute(statement, values)
        return [row(**columns) for columns in cursor.fetchall()]


def value(instance: Instance, statement: str, *values: object) -> Any:
    """The first column of the only row that the statement finds."""
    [row] = rows(instance, statement, *values)
    return row[0]


def now(instance: Instance) -> datetime:
    """By the database's clock."""
    instant: datetime = value(instance, "SELECT UTC_TIMESTAMP(6)")
    return instant


def status(instance: Instance, name: str) -> int:
    [(_, figure)] = rows(instance, "SHOW GLOBAL STATUS WHERE Variable_name = %s", name)
    return int(figure)


def counters(instance: Instance) -> dict[str, int]:
    marks = ", ".join(["%s"] * len(COUNTERS))
    found = rows(instance, f"SHOW GLOBAL STATUS WHERE Variable_name IN ({marks})", *COUNTERS)
    return {COUNTERS[name]: int(value) for name, value in found}


def since(before: Numbers, now: Numbers) -> Numbers:
    return {name: value - before.get(name, 0) for name, value in now.items()}


class Left(NamedTuple):
    """How many events are queued, and how many sagas run."""

    events: int
    sagas: int


def left(instance: Instance) -> Left:
    events = IN_THE_JOURNAL
    if rows(instance, "SHOW TABLES LIKE 'events_webhookdelivery'"):
        events = UNDELIVERED
        if not rows(instance, "SHOW COLUMNS FROM events_feedevent LIKE 'run_offset'"):
            # Commits before runs of events, and release 2.0, give each event its position.
            events = events.replace(" AND run_offset = 0", "")
    [left] = read(instance, Left, f"SELECT {events} AS events, {RUNNING} AS sagas")
    return Left(*map(int, left))


def wait_until_worked_off(instance: Instance) -> None:
    """Return when the worker has nothing left of earlier loads, or that takes too long."""
    waiting.left(lambda: sum(left(instance)) > FEW, within_seconds=WORK_OFF_SECONDS, pause_seconds=0.5)
