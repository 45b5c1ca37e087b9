"""The stage of a run: a stack of its own, what watches it, and what causes of alerts need to be made."""

import itertools
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lab.alerts import watching
from lab.alerts.watching import Program, Receiver
from lab.chaos import faults
from lab.chaos.calls import Call, Connection, Observations
from lab.chaos.clients import at_work
from lab.chaos.faults import Fault
from lab.chaos.memory import Account
from lab.chaos.shop import Shop
from lab.stack import database, faketime
from lab.stack.prometheus import Prometheus
from scripts.stack import (
    SetupError,
    children,
    environment as environments,
    own_stack,
    ports,
    processes,
    readiness,
    supervision,
    system_packages,
    waiting,
)
from scripts.stack.instance import Instance

ACCOUNTS = 120
CALL_SECONDS, PAUSE_SECONDS, SETTLE_SECONDS = 30, 0.2, 60
SETTINGS = {
    **own_stack.NO_RATES,
    "OPEN_ORDERS_PER_ACCOUNT": "10000",
    # Few threads are busy soon.
    "WEB_THREADS": "8",
    "SWEEP_SECONDS": "1",
    "AUDIT_SECONDS": "5",
    "RECONCILE_SECONDS": "5",
    "PAYMENT_GIVE_UP_SECONDS": "6",
}
"""Short times, so that what takes a quarter of an hour happens within seconds."""


@dataclass
class Stage:
    """A running stack with accounts, what watches it, programs beside it by name, and a second issuer, whose
    clock can be moved by the offset file. `rows` below are a table's, perhaps with a condition."""

    instance: Instance
    shop: Shop
    buyers: list[Account]
    prometheus: Prometheus
    receiver: Receiver
    programs: Mapping[str, Program]
    issuer: "subprocess.Popen[bytes]"
    offset_file: Path
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def execute(self, statement: str, *values: object) -> None:
        """Run one statement without the check of constraints, and commit it."""
        with database.connected(self.instance) as connection, connection.cursor() as cursor:
            cursor.execute("SET SESSION check_constraint_checks = OFF")
            cursor.execute(statement, values)

    def age(self, column: str, interval: str, rows: str, *values: object) -> None:
        """Put the rows' column back by so much, as `10 MINUTE`."""
        table, _, condition = rows.partition(" WHERE ")
        earlier = f"{column} = {column} - INTERVAL {interval}"
        self.execute(f"UPDATE {table} SET {earlier} WHERE {condition or 'TRUE'}", *values)  # noqa: S608

    def count(self, rows: str, *values: object) -> int:
        return int(database.rows(self.instance, f"SELECT COUNT(*) FROM {rows}", *values)[0][0])  # noqa: S608

    def wait_for(self, number: int, rows: str, *values: object) -> None:
        """Return once there are so many rows, or more; with 0, once there is none. Raises SetupError."""

        is_so = lambda found: found >= number if number else not found  # noqa: E731
        late = f"after {SETTLE_SECONDS} s there are not {number} {rows}"
        waiting.until(lambda: is_so(self.count(rows, *values)), late, within_seconds=SETTLE_SECONDS)

    @contextmanager
    def changed(self, table: str, change: str, row: int) -> Iterator[None]:
        """Inside the block the row is changed, afterwards that column is 0."""
        self.execute(f"UPDATE {table} SET {change} WHERE id = %s", row)  # noqa: S608
        yield
        self.execute(f"UPDATE {table} SET {change.partition(' ')[0]} = 0 WHERE id = %s", row)  # noqa: S608

    @contextmanager
    def inserted(self, row: str, *rows: str, value: object = None) -> Iterator[None]:
        """Inside the block the row is there; afterwards those rows are deleted, the last first."""
        values = () if value is None else (value,)
        self.execute(f"INSERT INTO {row}", *values)
        try:
            yield
        finally:
            for one in reversed(rows):
                self.execute(f"DELETE FROM {one}", *values)  # noqa: S608

    @contextmanager
    def locked(self, rows: str, *values: object) -> Iterator[None]:
        """Inside the block a transaction keeps the rows locked."""
        with database.connected(self.instance) as connection, connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(f"SELECT id FROM {rows} FOR UPDATE", values)  # noqa: S608
            yield

    @contextmanager
    def lasting(self, sort: str, name: str) -> Iterator[None]:
        """The process is `down`, gets no processor time by `freeze`, or is `slow`, inside the block."""
        fault = faults.lasting(Fault(sort, name, 0), self.instance)
        with self.programs[name].away() if name in self.programs else fault:
            yield
        readiness.wait_for_shop(self.instance)

    def campaign(self, strategy: str = "group_commit", **terms: Any) -> int:
        """A new campaign that is open."""
        return self.shop.create_campaign("Alerts", strategy=strategy, **{"quantity": 100_000, **terms})

    def product(self) -> int:
        """A new product with stock."""
        return self.shop.create_product("Alerts", next(self._numbers), 100_000).id

    def coupon_call(self, account: Account, campaign: int) -> Call:
        return Call("POST", "/coupons", account.token, {"campaign": campaign})

    def order_call(self, account: Account, product: int, *, card: str = "", wait: int = 0) -> Call:
        """The call that places an order, to be paid if there is a card, and waits for so many seconds."""
        body: dict[str, Any] = {"items": [{"product": product, "quantity": 1}]}
        body |= {"payment": {"token": card}} if card else {}
        return Call("POST", "/orders", account.token, body, key=str(uuid.uuid4()), wait=wait)

    def require(self, call: Call, *, status: int) -> Any:
        """The body of the call's final answer. Raises SetupError for another status."""
        until = time.monotonic() + CALL_SECONDS
        answer = self.shop.connection.call_until_final(call, until=until)
        if answer.status != status:
            raise SetupError(f"{call.method} {call.path} answered {answer.status}: {answer.body}")
        return answer.body

    def coupons(self, campaign: int, clients: int) -> AbstractContextManager[object]:
        """Inside the block so many clients ask for coupons of the campaign."""
        return self.load(lambda account: self.coupon_call(account, campaign), clients)

    def orders(self, clients: int, *, product: int = 0, **terms: Any) -> AbstractContextManager[object]:
        """Inside the block so many clients place orders."""
        bought = product or self.product()
        return self.load(lambda account: self.order_call(account, bought, **terms), clients)

    def load(self, make_call: Callable[[Account], Call], clients: int) -> AbstractContextManager[object]:
        """Inside the block so many clients call, each by accounts of its own, whatever they are answered."""

        def run(stop: threading.Event, number: int) -> None:
            connection = Connection(self.instance.port, self.shop.seen, seed=f"client {number}")
            for account in itertools.cycle(self.buyers[number::clients]):
                if stop.wait(PAUSE_SECONDS):
                    return
                connection.call_once(make_call(account))

        return at_work([SimpleNamespace(run=partial(run, number=number)) for number in range(clients)])

    def manage(self, arguments: str) -> None:
        """A management command. Raises SetupError when it fails."""
        url = f"redis://{self.programs['broker'].address}/0"
        children.printed(own_stack.manage(self.instance, arguments, BROKER_URL=url))


@contextmanager
def prepared(instance: Instance) -> Iterator[Stage]:
    """A stack with everything in place, and no alert. Raises SetupError."""
    faketime.require()
    options = {"bind": ports.HOST, "port": "{port}", "save": "", "maxmemory-policy": "noeviction"}
    offset_file, issuer_port = instance.home / "issuer.offset", ports.free()
    with ExitStack() as started:
        # A Redis of its own as the broker, so that one can be away without the other.
        words = [system_packages.program("redis-server"), *processes.words(options)]
        broker = Program(instance.home / "broker.log", *words)
        started.callback(broker.stop)
        url = f"redis://{broker.address}/0"
        started.enter_context(own_stack.running(instance, BROKER_URL=url, **SETTINGS))
        known = own_stack.seed(instance, ACCOUNTS, BROKER_URL=url)
        issuer = started.enter_context(_second_issuer(instance, offset_file, issuer_port))
        targets = instance.metrics_targets()
        targets["issuer"].append(f"{ports.HOST}:{issuer_port}")
        prometheus, receiver, redis_exporter = started.enter_context(watching.watching(instance, targets))
        shop = Shop(instance, known["staff"], Observations())
        buyers = [Account(user["id"], user["access"]) for user in known["users"]]
        programs = {"broker": broker, "redis exporter": redis_exporter}
        yield Stage(instance, shop, buyers, prometheus, receiver, programs, issuer, offset_file)


@contextmanager
def _second_issuer(instance: Instance, offset_file: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """An issuer on another host, as it were: with a wall clock of its own, which is right at first."""
    faketime.set_offset(offset_file, 0)
    own = environments.for_process("issuer", instance, supervision.environment(instance))
    own |= {"METRICS_PORT": str(port), **faketime.environment(offset_file)}
    words = faketime.command(processes.command("issuer", instance, own))
    log, ready = instance.logs / "second-issuer.log", (ports.HOST, port)
    with children.running(words, name=log.stem, log=log, is_ready=ready, environment=own) as child:
        try:
            yield child
        finally:
            child.kill()
            faketime.remove_shared_memory(child.pid)
