"""The stage of a run: a stack of its own, what watches it, and what causes of alerts need to be made."""

import itertools
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.alerts import watchers
from lab.alerts.watchers import Watchers
from lab.chaos.calls import Call, Connection, Observations
from lab.chaos.memory import Account
from lab.chaos.shop import Shop
from scripts.stack import (
    SetupError,
    children,
    database,
    environment as environments,
    own_stack,
    ports,
    processes,
    supervision,
    system_packages,
    waiting,
)
from scripts.stack.instance import Instance
from scripts.stack.programs import faketime

ACCOUNTS = 120
STOP_SECONDS, CALL_SECONDS, PAUSE_SECONDS = 10, 30, 0.2
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
    """A running stack with accounts, its watchers, and the second issuer, whose clock can be moved."""

    instance: Instance
    shop: Shop
    buyers: list[Account]
    watchers: Watchers
    broker_url: str
    start_broker: Callable[[], Any]
    issuer: "subprocess.Popen[bytes]"
    offset_file: Path
    seen: Observations
    _broker: Any = None
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def stop_broker(self) -> None:
        children.stop(self._broker, within_seconds=STOP_SECONDS)

    def restart_broker(self) -> None:
        self._broker = self.start_broker()

    def execute(self, statement: str, *values: object) -> None:
        """Run one statement without the check of constraints, and commit it."""
        with database.connected(self.instance) as connection, connection.cursor() as cursor:
            cursor.execute("SET SESSION check_constraint_checks = OFF")
            cursor.execute(statement, values)

    @contextmanager
    def changed(self, change: str, back: str, *values: object) -> Iterator[None]:
        """Inside the block the rows are as the first statement makes them; afterwards as the second does."""
        self.execute(change, *values)
        with undone(lambda: self.execute(back, *values)):
            yield

    @contextmanager
    def locked(self, select_for_update: str, *values: object) -> Iterator[None]:
        """Inside the block a transaction keeps the selected rows locked."""
        with database.connected(self.instance) as connection, connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(select_for_update, values)
            yield

    def query(self, statement: str, *values: object) -> Sequence[tuple[Any, ...]]:
        """The rows of one statement."""
        return database.rows(self.instance, statement, *values)

    def campaign(self, strategy: str = "group_commit", **terms: Any) -> int:
        """A new campaign that is open."""
        return self.shop.create_campaign("Alerts", strategy=strategy, **{"quantity": 100_000, **terms})

    def product(self) -> int:
        """A new product with stock."""
        return self.shop.create_product("Alerts", next(self._numbers), 100_000).id

    def sale(self, product: int) -> int:
        """A new sale of the product with a waiting room, which opens in an hour."""
        return self.shop.create_sale(product, in_seconds=3_600)

    def coupon_call(self, account: Account, campaign: int) -> Call:
        """The call that asks for a coupon."""
        return Call("POST", "/coupons", account.token, {"campaign": campaign})

    def order_call(self, account: Account, product: int, *, card: str = "", wait: int = 0) -> Call:
        """The call that places an order, to be paid if there is a card, and waits for so many seconds."""
        body: dict[str, Any] = {"items": [{"product": product, "quantity": 1}]}
        body |= {"payment": {"token": card}} if card else {}
        return Call("POST", "/orders", account.token, body, key=str(uuid.uuid4()), wait=wait)

    def require(self, call: Call, *, status: int) -> Any:
        """The body of the call's final answer. Raises SetupError for another status."""
        connection = Connection(self.instance.port, self.seen, seed="required")
        answer = connection.call_until_final(call, until=time.monotonic() + CALL_SECONDS)
        if answer.status != status:
            raise SetupError(f"{call.method} {call.path} answered {answer.status}: {answer.body}")
        return answer.body

    @contextmanager
    def load(self, make_call: Callable[[Account], Call], *, clients: int) -> Iterator[None]:
        """Inside the block so many clients call, each by accounts of its own, whatever they are answered."""
        stop = threading.Event()

        def run(number: int) -> None:
            connection = Connection(self.instance.port, self.seen, seed=f"client {number}")
            for account in itertools.cycle(self.buyers[number::clients]):
                if stop.is_set():
                    return
                connection.call_once(make_call(account))
                stop.wait(PAUSE_SECONDS)

        threads = [threading.Thread(target=run, args=[number], daemon=True) for number in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def manage(self, arguments: str) -> None:
        """A management command. Raises SetupError when it fails."""
        children.printed(own_stack.manage(self.instance, arguments, BROKER_URL=self.broker_url))


@contextmanager
def prepared(instance: Instance) -> Iterator[Stage]:
    """A stack with everything in place, and no alert."""
    faketime.require()
    offset_file, broker_port, issuer_port = instance.home / "issuer.offset", ports.free(), ports.free()
    broker_url = f"redis://{ports.HOST}:{broker_port}/0"
    with ExitStack() as started:
        start_broker = lambda: _start_broker(instance, broker_port)  # noqa: E731
        broker = start_broker()
        started.enter_context(own_stack.running(instance, BROKER_URL=broker_url, **SETTINGS))
        seen = Observations()
        known = own_stack.seed(instance, ACCOUNTS, BROKER_URL=broker_url)
        issuer = started.enter_context(_second_issuer(instance, offset_file, issuer_port))
        targets = instance.metrics_targets()
        targets["issuer"].append(f"{ports.HOST}:{issuer_port}")
        watched = started.enter_context(watchers.watching(instance, targets=targets))
        stage = Stage(
            instance=instance,
            shop=Shop(instance, known["staff"], seen),
            buyers=[Account(user["id"], user["access"]) for user in known["users"]],
            watchers=watched,
            broker_url=broker_url,
            start_broker=start_broker,
            issuer=issuer,
            offset_file=offset_file,
            seen=seen,
            _broker=broker,
        )
        started.callback(stage.stop_broker)
        yield stage


def _start_broker(instance: Instance, port: int) -> "subprocess.Popen[bytes]":
    """A Redis of its own as the broker, so that one can be away without the other."""
    options = {"bind": ports.HOST, "port": port, "save": "", "maxmemory-policy": "noeviction"}
    command, log = (
        [system_packages.program("redis-server"), *processes.words(options)],
        instance.home / "broker.log",
    )
    child = children.start(command, log=log, environment={})
    children.wait_until((ports.HOST, port), name="the broker", child=child, log=log, within_seconds=30)
    return child


@contextmanager
def _second_issuer(instance: Instance, offset_file: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """An issuer on another host, as it were: with a wall clock of its own, which is right at first."""
    faketime.set_offset(offset_file, 0)
    environment = environments.for_process("issuer", instance, supervision.environment(instance))
    environment |= {"METRICS_PORT": str(port), **faketime.environment(offset_file)}
    command = faketime.command(processes.command("issuer", instance, environment))
    log = instance.logs / "second-issuer.log"
    with children.running(
        command, name="the second issuer", log=log, is_ready=(ports.HOST, port), environment=environment
    ) as child:
        try:
            yield child
        finally:
            child.kill()
            faketime.remove_shared_memory(child.pid)


@contextmanager
def undone(undo: Callable[[], object]) -> Iterator[None]:
    """What was done before the block is undone after it."""
    try:
        yield
    finally:
        undo()


def wait_until(is_so: Callable[[], object], *, what: str, within_seconds: float) -> None:
    """Return once it is so. Raises SetupError that says what is not."""
    waiting.until(is_so, f"not within {within_seconds:.0f} s: {what}", within_seconds=within_seconds)
