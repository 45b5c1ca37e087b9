"""Kinds of faults that last until they are undone: each is there inside its block."""

import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from types import SimpleNamespace

from MySQLdb import OperationalError
from redis import Redis

from lab.chaos.campaigns import clocks, network
from lab.chaos.clients import at_work
from lab.stack import database
from scripts.stack import children, supervision, waiting
from scripts.stack.instance import Instance
from scripts.stack.mariadb import USER

FEWEST_CONNECTIONS = 10
"""The server takes no smaller limit."""
EXEMPT = f"SUPER, READ_ONLY ADMIN ON *.* %s '{USER}'@'localhost'"
"""Privileges that are exempt from `read_only`; the shop's account has them in a stack of its own."""
REFUSE_WRITES = f"REVOKE {EXEMPT % 'FROM'}", "SET GLOBAL read_only = 1"
TAKE_WRITES = "SET GLOBAL read_only = 0", f"GRANT {EXEMPT % 'TO'}"
FEW = "SET @usual = @@GLOBAL.max_connections", f"SET GLOBAL max_connections = {FEWEST_CONNECTIONS}"
AS_MANY_AS_USUAL = ("SET GLOBAL max_connections = @usual",)


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

        def is_held() -> bool:
            with suppress(OperationalError):  # a deadlock with the shop's transactions releases them all
                cursor.execute("BEGIN")
                cursor.execute("SELECT 1 FROM inventory_product, coupons_campaign FOR UPDATE")
                return True
            return False

        waiting.until(is_held, "no lock of all rows", within_seconds=60)
        yield


@contextmanager
def deadlocks(_: str, instance: Instance) -> Iterator[None]:
    """Four clients lock products one by one in random order, against the shop's ascending one."""
    products = [id for (id,) in database.rows(instance, "SELECT id FROM inventory_product")]

    def lock(number: int, stop: threading.Event) -> None:
        chance = random.Random(number)
        with database.connected(instance) as connection, connection.cursor() as cursor:
            while not stop.is_set():
                with suppress(OperationalError):
                    cursor.execute("BEGIN")
                    for product in chance.sample(products, len(products)):
                        cursor.execute("SELECT id FROM inventory_product WHERE id = %s FOR UPDATE", [product])
                        time.sleep(0.02)
                cursor.execute("ROLLBACK")

    with at_work([SimpleNamespace(run=partial(lock, number)) for number in range(4)]):
        yield


@contextmanager
def _set(first: Sequence[str], last: Sequence[str], held: int, _: str, instance: Instance) -> Iterator[None]:
    """The server gets the first statements, in the end the last ones. After each the shop's connections end:
    they keep the privileges that they began with. So many others are held meanwhile."""
    with ExitStack() as opened:
        connections = [opened.enter_context(database.connected(instance)) for _ in range(1 + held)]
        own, cursor = {one.thread_id() for one in connections}, connections[0].cursor()

        def change(statements: Sequence[str]) -> None:
            for statement in statements:
                cursor.execute(statement)
            cursor.execute("SELECT id FROM information_schema.processlist WHERE user = %s", [USER])
            for other in {id for (id,) in cursor.fetchall()} - own:
                with suppress(OperationalError):  # it has ended by itself
                    cursor.execute(f"KILL CONNECTION {int(other)}")

        try:
            change(first)
            yield
        finally:
            change(last)


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
    filler, log = instance.mariadb().data / "filler", instance.logs / "filler.log"
    command = ["sh", "-c", 'while :; do cat /dev/zero >> "$0"; sleep 0.1; done', str(filler)]
    try:
        with children.running(command, name="filler", log=log, is_ready=filler.exists):
            yield
    finally:
        filler.unlink()


LASTING: Mapping[str, Callable[[str, Instance], AbstractContextManager[None]]] = {
    "no memory for": redis_without_memory,
    "old data for": redis_of_before,
    "hold all rows of": rows_held,
    "deadlocks in": deadlocks,
    # Every write of the shop's account is refused, and it goes on to read.
    "read only": partial(_set, REFUSE_WRITES, TAKE_WRITES, 0),
    # All connections are in use, none of them by the shop.
    "take all connections of": partial(_set, FEW, AS_MANY_AS_USUAL, FEWEST_CONNECTIONS),
    "fill the disk of": disk_full,
    **clocks.LASTING,
    **network.LASTING,
}
