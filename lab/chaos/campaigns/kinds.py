"""Kinds of faults that last until they are undone: each is there inside its block."""

import random
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

from MySQLdb import OperationalError
from redis import Redis

from lab.chaos.campaigns import clocks, network
from lab.chaos.clients import at_work
from lab.stack import database
from scripts.stack import supervision
from scripts.stack.instance import Instance
from scripts.stack.mariadb import USER

STORM_CLIENTS, STORM_PAUSE_SECONDS = 4, 0.02
DEADLOCK = 1213
FEWEST_CONNECTIONS = 10
"""The server takes no smaller limit."""
ACCOUNT, ADMINISTRATION = f"'{USER}'@'localhost'", "SUPER, READ_ONLY ADMIN"
"""Privileges that are exempt from `read_only`; the shop's account has them in a stack of its own."""


@contextmanager
def redis_without_memory(_: str, instance: Instance) -> Iterator[None]:
    """Redis refuses every write that needs memory, and goes on to be read."""
    with Redis(unix_socket_path=str(instance.redis_socket)) as redis:
        redis.config_set("maxmemory", "1")  # a byte: the server itself needs more
        try:
            yield
        finally:
            redis.config_set("maxmemory", "0")


def copy_redis(instance: Instance, *, back: bool = False) -> None:
    """Keep what Redis has now, or put `back` what was kept: a folder since Redis 7, a file before."""
    data, kept = instance.data / "appendonlydir", instance.data / "redis-kept"
    data = data if data.exists() else instance.data / "redis.aof"
    source, target = (kept, data) if back else (data, kept)
    subprocess.run(["rm", "-rf", target], check=True)
    subprocess.run(["cp", "-a", source, target], check=True)


@contextmanager
def redis_of_before(name: str, instance: Instance) -> Iterator[None]:
    """Redis is down; after it, it has what it had when that was copied."""
    supervision.stop(instance, name)
    try:
        yield
    finally:
        copy_redis(instance, back=True)
        supervision.start(instance, [name])


@contextmanager
def rows_held(_: str, instance: Instance) -> Iterator[None]:
    """Every product and campaign, of which every purchase and coupon needs one, is locked by a transaction
    that does nothing."""
    with database.connected(instance) as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION innodb_lock_wait_timeout = 60")
        is_held = False
        while not is_held:
            try:
                cursor.execute("BEGIN")
                cursor.execute("SELECT id FROM inventory_product FOR UPDATE")
                cursor.execute("SELECT id FROM coupons_campaign FOR UPDATE")
                is_held = True
            except OperationalError as error:  # a deadlock with the shop's transactions releases them all
                if error.args[0] != DEADLOCK:
                    raise
        yield


@contextmanager
def deadlocks(_: str, instance: Instance) -> Iterator[None]:
    """Clients lock products one by one in random order, against the shop's ascending one."""
    before = database.counters(instance)["deadlocks"]
    products = [id for (id,) in database.rows(instance, "SELECT id FROM inventory_product")]

    def lock_in_random_order(number: int, stop: threading.Event) -> None:
        chance = random.Random(number)
        with database.connected(instance) as connection, connection.cursor() as cursor:
            while not stop.is_set():
                with suppress(OperationalError):
                    cursor.execute("BEGIN")
                    for product in chance.sample(products, len(products)):
                        cursor.execute("SELECT id FROM inventory_product WHERE id = %s FOR UPDATE", [product])
                        time.sleep(STORM_PAUSE_SECONDS)
                cursor.execute("ROLLBACK")

    clients = [SimpleNamespace(run=partial(lock_in_random_order, one)) for one in range(STORM_CLIENTS)]
    with at_work(clients):
        yield
    print(f"{database.counters(instance)['deadlocks'] - before} deadlocks", flush=True)


@contextmanager
def read_only(_: str, instance: Instance) -> Iterator[None]:
    """The server refuses every write of the shop's account, and goes on to be read."""
    # A connection keeps the privileges that it began with.
    with database.connected(instance) as connection, connection.cursor() as cursor:
        cursor.execute(f"REVOKE {ADMINISTRATION} ON *.* FROM {ACCOUNT}")
        try:
            cursor.execute("SET GLOBAL read_only = 1")
            _end_other_connections(cursor)
            yield
        finally:
            cursor.execute("SET GLOBAL read_only = 0")
            cursor.execute(f"GRANT {ADMINISTRATION} ON *.* TO {ACCOUNT}")
            # The shop's connections of meanwhile lack the privileges; its next ones have them again.
            _end_other_connections(cursor)


@contextmanager
def connections_taken(_: str, instance: Instance) -> Iterator[None]:
    """The server has all its connections in use, none of them by the shop."""
    with ExitStack() as held:
        cursor = held.enter_context(held.enter_context(database.connected(instance)).cursor())
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
    of_shop = "SELECT id FROM information_schema.processlist WHERE user = %s AND id <> CONNECTION_ID()"
    cursor.execute(of_shop, [USER])
    for (found,) in cursor.fetchall():
        if found not in without:
            with suppress(OperationalError):  # it has ended by itself
                cursor.execute(f"KILL CONNECTION {int(found)}")


@contextmanager
def small_disk(instance: Instance, *, megabytes: int) -> Iterator[None]:
    """The database's data folder is a file system of this size, before its server starts. As root."""
    server = instance.mariadb()
    server.prepare()
    made = server.data.rename(server.data.with_name("data.made"))
    server.data.mkdir(mode=0o700)
    options = f"size={megabytes}m,mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "firstcome", server.data], check=True)
    try:
        subprocess.run(["cp", "-a", f"{made}/.", server.data], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", server.data], check=True)


@contextmanager
def disk_full(_: str, instance: Instance) -> Iterator[None]:
    """The database's file system is full; what becomes free meanwhile is filled as well."""
    filler = instance.mariadb().data / "filler"

    def keep_full(stop: threading.Event) -> None:
        with filler.open("wb", buffering=0) as file:
            while not stop.wait(0.1):
                with suppress(OSError):  # no space is left
                    while not stop.is_set():
                        file.write(b"\0" * 2**20)

    try:
        with at_work([SimpleNamespace(run=keep_full)]):
            yield
    finally:
        filler.unlink()


LASTING: Mapping[str, Callable[[str, Instance], AbstractContextManager[None]]] = {
    "no memory for": redis_without_memory,
    "old data for": redis_of_before,
    "hold all rows of": rows_held,
    "deadlocks in": deadlocks,
    "read only": read_only,
    "take all connections of": connections_taken,
    "fill the disk of": disk_full,
    **clocks.LASTING,
    **network.LASTING,
}
