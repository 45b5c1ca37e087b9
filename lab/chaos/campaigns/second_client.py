"""Faults by a second client of MariaDB: rows held, locks in another order, no writes, no connections."""

import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any

from MySQLdb import OperationalError

from scripts.stack import database
from scripts.stack.instance import Instance
from scripts.stack.mariadb import USER

HELD_TABLES = ("inventory_product", "coupons_campaign")
"""Every purchase and every coupon needs a row of these."""
STORM_CLIENTS = 4
STORM_PAUSE_SECONDS = 0.02
DEADLOCK = 1213
FEWEST_CONNECTIONS = 10
"""The server takes no smaller limit."""
ADMINISTRATION = "SUPER, READ_ONLY ADMIN"
"""Privileges that are exempt from `read_only`; the shop's account has them in a stack of its own."""


@contextmanager
def rows_held(_: str, instance: Instance) -> Iterator[None]:
    """Inside the block every product and campaign is locked by a transaction that does nothing."""
    with database.connected(instance) as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION innodb_lock_wait_timeout = 60")
        while not _lock_all_rows(cursor):
            pass
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")


def _lock_all_rows(cursor: Any) -> bool:
    """Whether the rows are locked now; a deadlock with the shop's own transactions releases them all."""
    cursor.execute("BEGIN")
    try:
        for table in HELD_TABLES:
            cursor.execute(f"SELECT id FROM {table} FOR UPDATE")  # noqa: S608 - a name of ours
    except OperationalError as error:
        if error.args[0] != DEADLOCK:
            raise
        return False
    return True


@contextmanager
def deadlocks(_: str, instance: Instance) -> Iterator[None]:
    """Inside the block clients lock products one by one in random order, against the shop's ascending one."""
    stop, before = threading.Event(), database.counters(instance)["deadlocks"]
    clients = [
        threading.Thread(target=_lock_in_random_order, args=(instance, stop, number))
        for number in range(STORM_CLIENTS)
    ]
    for client in clients:
        client.start()
    try:
        yield
    finally:
        stop.set()
        for client in clients:
            client.join()
    print(f"{database.counters(instance)['deadlocks'] - before} deadlocks", flush=True)


def _lock_in_random_order(instance: Instance, stop: threading.Event, number: int) -> None:
    chance = random.Random(number)
    products = [found[0] for found in database.rows(instance, "SELECT id FROM inventory_product")]
    with database.connected(instance) as connection, connection.cursor() as cursor:
        while not stop.is_set():
            chance.shuffle(products)
            with suppress(OperationalError):
                cursor.execute("BEGIN")
                for product in products:
                    cursor.execute("SELECT id FROM inventory_product WHERE id = %s FOR UPDATE", [product])
                    time.sleep(STORM_PAUSE_SECONDS)
            cursor.execute("ROLLBACK")


@contextmanager
def read_only(_: str, instance: Instance) -> Iterator[None]:
    """Inside the block the server refuses every write of the shop's account, and goes on to be read."""
    # A connection keeps the privileges that it began with.
    with database.connected(instance) as connection, connection.cursor() as cursor:
        cursor.execute(f"REVOKE {ADMINISTRATION} ON *.* FROM '{USER}'@'localhost'")
        try:
            cursor.execute("SET GLOBAL read_only = 1")
            _end_other_connections(cursor)
            yield
        finally:
            cursor.execute("SET GLOBAL read_only = 0")
            cursor.execute(f"GRANT {ADMINISTRATION} ON *.* TO '{USER}'@'localhost'")
            # The shop's connections of meanwhile lack the privileges; its next ones have them again.
            _end_other_connections(cursor)


@contextmanager
def connections_taken(_: str, instance: Instance) -> Iterator[None]:
    """Inside the block the server has all its connections in use, none of them by the shop."""
    with ExitStack() as held:
        connection = held.enter_context(database.connected(instance))
        cursor = held.enter_context(connection.cursor())
        cursor.execute("SELECT @@GLOBAL.max_connections")
        usual = int(cursor.fetchone()[0])
        others = [held.enter_context(database.connected(instance)) for _ in range(FEWEST_CONNECTIONS)]
        try:
            cursor.execute(f"SET GLOBAL max_connections = {FEWEST_CONNECTIONS}")
            _end_other_connections(cursor, without={other.thread_id() for other in others})
            yield
        finally:
            cursor.execute(f"SET GLOBAL max_connections = {usual}")


def _end_other_connections(cursor: Any, without: Collection[int] = ()) -> None:
    cursor.execute(
        "SELECT id FROM information_schema.processlist WHERE user = %s AND id <> CONNECTION_ID()", [USER]
    )
    for (found,) in cursor.fetchall():
        if found not in without:
            with suppress(OperationalError):  # it has ended by itself
                cursor.execute(f"KILL CONNECTION {int(found)}")


LASTING: Mapping[str, Callable[[str, Instance], AbstractContextManager[None]]] = {
    "hold all rows of": rows_held,
    "deadlocks in": deadlocks,
    "read only": read_only,
    "take all connections of": connections_taken,
}
"""Faults that last until they are undone."""
