"""Faults of one stack: of its processes, stores and disk, of the gateway, of clocks and of the network."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, NamedTuple

from MySQLdb import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from lab import calls, stage
from lab.calls import Call
from lab.chaos.campaigns import clocks, network
from lab.chaos.campaigns.clocks import Steps
from lab.chaos.clients import at_work
from lab.stack import database
from lab.stack.rabbitmq import RunningNode
from scripts.stack import SetupError, Words, children, ports, supervision, waiting
from scripts.stack.instance import Instance
from scripts.stack.mariadb import USER

# The youngest of web's children, which answer the requests; supervisor does not know them.
WEB_PROCESS = "web-process"
# A RabbitMQ beside the stack; supervisor does not know it. Nothing waits for it, so no request may fail.
BROKER = "rabbitmq"
# What each call to a slow gateway takes: the shop waits 3 s for it. A saga's step may make several.
SLOW_MS = 2600
PATIENCE_SECONDS = 60  # How long the shop may take to be ready again, while other faults go on
REPLACING = ("kill", "down", "old data for")  # Sorts of faults after which another process is there

LOCKERS = 4
LOCK_PRODUCT = "SELECT id FROM inventory_product WHERE id = %s FOR UPDATE"
OF_THE_SHOP = "SELECT id FROM information_schema.processlist WHERE user = %s"

Often = int | tuple[int, float, float]
# Of `down redis`, say, how often it is made; and from and to how many seconds it lasts, if not as usual.
Faults = dict[str, Often]


class Fault(NamedTuple):
    sort: str
    name: str
    seconds: float

    def __str__(self) -> str:
        lasts = ""
        if self.seconds and self.sort in LASTING:
            lasts = f" for {self.seconds:.1f} s"
        return f"{self.sort} {self.name}{lasts}"


def count_of(often: Often) -> int:
    if isinstance(often, tuple):
        return often[0]
    return often


def drawn(what: str, often: Often, chance: Random, usual: Sequence[float], most: float = 3600) -> Fault:
    sort, _, name = what.rpartition(" ")
    least, longest = often[1:] if isinstance(often, tuple) else usual
    return Fault(sort, name, min(most, chance.uniform(least, longest)))


def make(fault: Fault, instance: Instance, broker: RunningNode | None) -> None:
    """Make the fault, and undo what does not undo itself. Raises SetupError."""
    if broker and fault.name == BROKER:
        if fault.sort == "freeze":
            broker.freeze()
        else:
            broker.kill()
        if fault.sort in LASTING:
            time.sleep(fault.seconds)
        broker.thaw()
    elif fault.sort == "kill":
        children.kill(_pids(fault.name, instance))
    elif fault.sort == "flush":
        with suppress(RedisError), Redis(unix_socket_path=str(instance.redis_socket)) as redis:
            redis.flushall()
    else:
        with lasting(fault, instance):
            time.sleep(fault.seconds)


def wait_until_ready(fault: Fault, leader: int | None, instance: Instance, within_seconds: float) -> float:
    """How long the shop takes to be ready again after a fault, whose process had this id before.

    What was killed has to be replaced first, and what is outside has to answer. Raises SetupError.
    """
    outside = network.outside(instance)
    asked = [(instance.port, "/readyz")]
    if fault.name in outside:
        asked.append((outside[fault.name], "/healthz"))

    def is_ready() -> bool:
        now = children.leader_of(instance.run, fault.name)
        is_replaced = not leader or fault.sort not in REPLACING or now not in (None, leader)
        with suppress(OSError):
            return is_replaced and all(ports.ask(port, "GET", path)[0] == 200 for port, path in asked)
        return False

    began = time.monotonic()
    waiting.until(is_ready, f"the shop was not ready {within_seconds} s later", within_seconds=within_seconds)
    return time.monotonic() - began


@contextmanager
def lasting(fault: Fault, instance: Instance) -> Iterator[None]:
    """The fault is there inside the block, and undone after it, also where the block raises."""
    steps = LASTING[fault.sort](fault.name, instance)
    next(steps)
    try:
        yield
    finally:
        next(steps, None)


def _pids(name: str, instance: Instance) -> set[int]:
    leader = children.leader_of(instance.run, "web" if name == WEB_PROCESS else name)
    if leader and name == WEB_PROCESS:
        return {*sorted(children.group_of(instance.run, "web") - {leader})[-1:]}
    return {leader} if leader else set()


def _frozen(name: str, instance: Instance) -> Steps:
    with stage.frozen(_pids(name, instance)):
        yield


def _kept_down(name: str, instance: Instance, *, has_old_data: bool = False) -> Steps:
    """The process is down; after it Redis may have what it had when that was copied."""
    supervision.stop(instance, name)
    yield
    if has_old_data:
        copy_redis(instance, back=True)
    supervision.start(instance, [name])


def copy_redis(instance: Instance, *, back: bool = False) -> None:
    """Keep what Redis has now, or put `back` what was kept: a folder since Redis 7, a file before."""
    data = instance.data / "appendonlydir"
    if not data.exists():
        data = instance.data / "redis.aof"
    kept = instance.data / "redis-kept"
    source, target = (kept, data) if back else (data, kept)
    subprocess.run(["rm", "-rf", target], check=True)
    subprocess.run(["cp", "-a", source, target], check=True)


def _redis_without_memory(_: str, instance: Instance) -> Steps:
    """Redis refuses every write that needs memory, and goes on to be read."""
    with Redis(unix_socket_path=str(instance.redis_socket)) as redis:
        redis.config_set("maxmemory", "1")  # a byte: the server itself needs more
        yield
        redis.config_set("maxmemory", "0")


def _slowed(_: str, instance: Instance) -> Steps:
    """Every call takes so long. A gateway that is killed meanwhile comes back with its usual latency."""

    def control(method: str, body: Any = None) -> None:
        # It may be killed, frozen or down: then it is asked again.
        until = time.monotonic() + PATIENCE_SECONDS
        call = Call(method, "/latency", "", body)
        answer = calls.to_gateway(instance.gateway_port).call_until_final(call, until=until)
        if answer.status != 200:
            raise SetupError(f"{method} /latency is answered {answer}")

    control("POST", {"ms": SLOW_MS})
    yield
    control("DELETE")


def _rows_held(_: str, instance: Instance) -> Steps:
    """Every product and campaign is locked by a transaction that does nothing."""
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


@dataclass
class Locker:
    """A client that locks products one by one in random order, again and again."""

    instance: Instance
    products: Sequence[int]
    chance: Random

    def run(self, stop: threading.Event) -> None:
        with database.connected(self.instance) as connection, connection.cursor() as cursor:
            while not stop.is_set():
                with suppress(OperationalError):
                    cursor.execute("BEGIN")
                    for product in self.chance.sample(self.products, len(self.products)):
                        cursor.execute(LOCK_PRODUCT, [product])
                        time.sleep(0.02)
                cursor.execute("ROLLBACK")


def _deadlocks(_: str, instance: Instance) -> Steps:
    """Four clients lock products one by one in random order, against the shop's ascending one."""
    products = [id for (id,) in database.rows(instance, "SELECT id FROM inventory_product")]

    with at_work([Locker(instance, products, Random(number)) for number in range(LOCKERS)]):
        yield


class Statements(NamedTuple):
    """A fault by statements: the server gets the first ones, and in the end the last ones. So many further
    connections are held meanwhile."""

    first: Words
    last: Words
    held: int = 0


# Every write of the shop's account is refused, and it goes on to read. The privileges are those that are
# exempt from `read_only`; the account has them in a stack of its own.
READ_ONLY = Statements(
    first=["REVOKE SUPER, READ_ONLY ADMIN ON *.* FROM 'firstcome'@'localhost'", "SET GLOBAL read_only = 1"],
    last=["SET GLOBAL read_only = 0", "GRANT SUPER, READ_ONLY ADMIN ON *.* TO 'firstcome'@'localhost'"],
)
# All connections are in use, none of them by the shop. The server takes no smaller limit.
NO_CONNECTION_LEFT = Statements(
    first=["SET @usual = @@GLOBAL.max_connections", "SET GLOBAL max_connections = 10"],
    last=["SET GLOBAL max_connections = @usual"],
    held=10,
)


def _set(statements: Statements, _: str, instance: Instance) -> Steps:
    """After each change the shop's connections end: they keep the privileges that they began with."""
    with ExitStack() as opened:
        connections = [
            opened.enter_context(database.connected(instance)) for _number in range(1 + statements.held)
        ]
        own = {connection.thread_id() for connection in connections}
        cursor = connections[0].cursor()

        def change(lines: Words) -> None:
            for line in lines:
                cursor.execute(line)
            cursor.execute(OF_THE_SHOP, [USER])
            for other in {id for (id,) in cursor.fetchall()} - own:
                with suppress(OperationalError):  # it has ended by itself
                    cursor.execute(f"KILL CONNECTION {int(other)}")

        change(statements.first)
        yield
        change(statements.last)


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


def _disk_full(_: str, instance: Instance) -> Steps:
    """The database's file system is full; what becomes free meanwhile is filled as well."""
    filler = instance.mariadb().data / "filler"
    with children.running(
        ["sh", "-c", 'while :; do cat /dev/zero >> "$0"; sleep 0.1; done', filler],
        name="filler",
        log=instance.logs / "filler.log",
        is_ready=filler.exists,
    ):
        yield
    filler.unlink()


STEPS = {"step ahead of": 900, "step back of": 0}  # Of a clock, and how many seconds ahead it stays
LASTING: Mapping[str, Callable[[str, Instance], Steps]] = {
    "freeze": _frozen,
    "down": _kept_down,
    "slow": _slowed,
    "no memory for": _redis_without_memory,
    "old data for": partial(_kept_down, has_old_data=True),
    "hold all rows of": _rows_held,
    "deadlocks in": _deadlocks,
    "read only": partial(_set, READ_ONLY),
    "take all connections of": partial(_set, NO_CONNECTION_LEFT),
    "fill the disk of": _disk_full,
    "jump": clocks.worker_ahead,
    "clock behind of": partial(clocks.off, -clocks.FAR_SECONDS),
    "clock ahead of": partial(clocks.off, clocks.FAR_SECONDS),
    **{sort: partial(clocks.stepped, ahead) for sort, ahead in STEPS.items()},
    **{state: partial(network.link_in, state) for state in network.State if state != network.State.PASS},
}
