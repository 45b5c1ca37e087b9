"""The stage of a run: a stack of its own, what watches it, and what causes of alerts need to be made."""

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

from lab.alerts import watching
from lab.alerts.watching import Fired, Program
from lab.chaos import faults
from lab.chaos.calls import Account, Call, Connection, Observations
from lab.chaos.campaigns import clocks
from lab.chaos.clients import at_work
from lab.chaos.faults import Fault
from lab.chaos.shop import Shop
from lab.stack import database, faketime
from lab.stack.prometheus import Prometheus
from scripts.stack import (
    SetupError,
    children,
    own_stack,
    ports,
    processes,
    supervision,
    system_packages,
    waiting,
)
from scripts.stack.instance import Instance

ACCOUNTS, NUMBERS = 120, itertools.count(1)
CALL_SECONDS, PAUSE_SECONDS, SETTLE_SECONDS = 30, 0.2, 60
SETTINGS = {
    **own_stack.NO_RATES,
    **faketime.settings("issuer=issuer"),
    "OPEN_ORDERS_PER_ACCOUNT": "10000",
    # Few threads are busy soon.
    "WEB_THREADS": "8",
    "SWEEP_SECONDS": "1",
    "AUDIT_SECONDS": "5",
    "RECONCILE_SECONDS": "5",
    "PAYMENT_GIVE_UP_SECONDS": "6",
}
"""Short times, so that what takes a quarter of an hour happens within seconds; and a clock to be moved."""


@dataclass
class Stage:
    """A running stack with accounts, what watches it, and programs beside it by name. `rows` below are a
    table's, perhaps with a condition."""

    instance: Instance
    shop: Shop
    buyers: list[Account]
    prometheus: Prometheus
    alerts: dict[str, Fired]
    programs: Mapping[str, Program]

    def sql(self, statement: str, *values: object) -> Any:
        """The rows that the statement finds; it is its own transaction."""
        return database.rows(self.instance, statement, *values)

    def age(self, column: str, interval: str, rows: str, *values: object) -> None:
        """Put the rows' column back by so much, as `10 MINUTE`."""
        table, _, condition = rows.partition(" WHERE ")
        earlier = f"{column} = {column} - INTERVAL {interval}"
        self.sql(f"UPDATE {table} SET {earlier} WHERE {condition or 'TRUE'}", *values)  # noqa: S608

    def wait_for(self, number: int, rows: str, *values: object) -> None:
        """Return once there are so many rows, or more; with 0, once there is none. Raises SetupError."""

        def is_so() -> bool:
            [[found]] = self.sql(f"SELECT COUNT(*) FROM {rows}", *values)  # noqa: S608
            return bool(found >= number if number else not found)

        late = f"after {SETTLE_SECONDS} s there are not {number} {rows}"
        waiting.until(is_so, late, within_seconds=SETTLE_SECONDS)

    @contextmanager
    def executed(self, statement: str, *undoing: str, values: tuple[object, ...] = ()) -> Iterator[None]:
        """Inside the block the statement has been run; afterwards those that undo it are."""
        self.sql(statement, *values)
        try:
            yield
        finally:
            for one in undoing:
                self.sql(one, *values)

    def changed(self, table: str, column: str, value: str, row: int) -> AbstractContextManager[None]:
        """Inside the block the row's column has this value, whatever constraints say; afterwards 0."""
        change = f"SET STATEMENT check_constraint_checks = 0 FOR UPDATE {table} SET {column} ="  # noqa: S608
        return self.executed(*(f"{change} {one} WHERE id = %s" for one in (value, "0")), values=(row,))

    @contextmanager
    def locked(self, rows: str, *values: object, aged: tuple[str, ...] = ()) -> Iterator[None]:
        """Inside the block a transaction keeps the rows locked. A column of theirs may be aged before, by so
        much; the shop is frozen meanwhile, or it might come first."""
        groups = [children.group_of(self.instance.run, name) for name in processes.SHOP if aged]
        with database.connected(self.instance) as connection, connection.cursor() as cursor:
            with children.frozen(set().union(*groups)):
                if aged:
                    self.age(*aged, rows, *values)
                cursor.execute("BEGIN")
                cursor.execute(f"SELECT id FROM {rows} FOR UPDATE", values)  # noqa: S608
            yield

    @contextmanager
    def lasting(self, sort: str, name: str) -> Iterator[None]:
        """The fault is there inside the block; a program beside the stack is away."""
        fault = faults.lasting(Fault(sort, name, 0), self.instance)
        with self.programs[name].away() if name in self.programs else fault:
            yield
        supervision.wait_for_shop(self.instance)

    def campaign(self, strategy: str = "group_commit", **terms: Any) -> int:
        """A new campaign that is open."""
        return self.shop.create_campaign("Alerts", strategy=strategy, **{"quantity": 100_000, **terms})

    def product(self) -> int:
        """A new product with stock."""
        return self.shop.create_product("Alerts", next(NUMBERS), 100_000).id

    def coupon_call(self, account: Account, campaign: int) -> Call:
        return Call("POST", "/coupons", account.token, {"campaign": campaign})

    def order_call(self, account: Account, product: int, *, card: str = "", wait: int = 0) -> Call:
        """The call that places an order, to be paid if there is a card, and waits for so many seconds."""
        body: dict[str, Any] = {"items": [{"product": product, "quantity": 1}]}
        body |= {"payment": {"token": card}} if card else {}
        return Call("POST", "/orders", account.token, body, key=str(uuid.uuid4()), wait=wait)

    def require(self, call: Call, *statuses: int, of: Connection | None = None) -> Any:
        """The body of the call's final answer. Raises SetupError for another status than these."""
        until = time.monotonic() + CALL_SECONDS
        answer = (of or self.shop.connection).call_until_final(call, until=until)
        if answer.status not in statuses:
            raise SetupError(f"{call.method} {call.path} answered {answer.status}: {answer.body}")
        return answer.body

    def at_gateway(self, path: str, body: Any) -> Any:
        """What the gateway has made. Raises SetupError unless it has."""
        port = self.instance.gateway_port
        gateway = Connection(port, Observations(), seed="", impatient_share=0, prefix="")
        return self.require(Call("POST", path, "", body, str(uuid.uuid4())), 200, 201, of=gateway)

    def load(
        self, clients: int, make_call: Callable[..., Call], **terms: Any
    ) -> AbstractContextManager[object]:
        """Inside the block so many clients call, each by accounts of its own, whatever they are answered."""

        def run(stop: threading.Event, number: int) -> None:
            connection = Connection(self.instance.port, self.shop.seen, seed=f"client {number}")
            for account in itertools.cycle(self.buyers[number::clients]):
                if stop.wait(PAUSE_SECONDS):
                    return
                connection.call_once(make_call(account, **terms))

        return at_work([SimpleNamespace(run=partial(run, number=number)) for number in range(clients)])

    def manage(self, arguments: str) -> None:
        """A management command. Raises SetupError when it fails."""
        url = f"redis://{self.programs['broker'].address}/0"
        children.printed(own_stack.manage(self.instance, arguments, BROKER_URL=url))


@contextmanager
def prepared(instance: Instance) -> Iterator[Stage]:
    """A stack with everything in place, and no alert. Raises SetupError."""
    options = {"bind": ports.HOST, "port": "{port}", "save": "", "maxmemory-policy": "noeviction"}
    with ExitStack() as started:
        # A Redis of its own as the broker, so that one can be away without the other.
        words = [system_packages.program("redis-server"), *processes.words(options)]
        broker = started.enter_context(Program(instance.home / "broker.log", *words))
        url = f"redis://{broker.address}/0"
        started.enter_context(clocks.moved(instance, {"issuer": 0}))
        started.enter_context(own_stack.running(instance, BROKER_URL=url, **SETTINGS))
        known = own_stack.seed(instance, ACCOUNTS, BROKER_URL=url)
        alerts: dict[str, Fired] = {}
        prometheus, exporter = started.enter_context(watching.watching(instance, alerts))
        shop = Shop(instance, known["staff"], Observations())
        buyers = [Account(user["id"], user["access"]) for user in known["users"]]
        programs = {"broker": broker, "redis exporter": exporter}
        yield Stage(instance, shop, buyers, prometheus, alerts, programs)
