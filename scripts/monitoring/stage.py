"""The stage of a run: a stack of its own, what watches it, and what causes of alerts need to be made."""

import itertools
import json
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from scripts.chaos.calls import Call, Connection, NoFinalAnswer, Observations
from scripts.chaos.memory import Account
from scripts.chaos.shop import Shop
from scripts.monitoring import watchers
from scripts.monitoring.watchers import Watchers
from scripts.stack import (
    SetupError,
    children,
    database,
    environment as environments,
    own_stack,
    ports,
    processes,
    supervision,
)
from scripts.stack.instance import Instance
from scripts.stack.mariadb import SEARCH_PATH
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
        discount = {"type": "amount", "value": 100}
        body = {"name": f"Alerts {next(self._numbers)}", "strategy": strategy, "quantity": 100_000} | terms
        return int(self.shop.call("POST", "/campaigns", {**body, "discount": discount})["id"])

    def product(self) -> int:
        """A new product with stock."""
        number = next(self._numbers)
        terms = {"sku": f"ALERT-{number}", "name": f"Alerts {number}", "price": 1_000}
        made = int(self.shop.call("POST", "/products", terms)["id"])
        delivery = {"delta": 100_000, "reason": "delivered"}
        self.shop.call("POST", f"/products/{made}/stock-adjustments", delivery, key=f"alerts-{number}")
        return made

    def sale(self, product: int) -> int:
        """A new sale of the product with a waiting room, which opens in an hour."""
        now = datetime.now(UTC)
        terms = {
            "name": f"Alerts {next(self._numbers)}",
            "products": [product],
            "opens_at": (now + timedelta(hours=1)).isoformat(),
            "closes_at": (now + timedelta(hours=2)).isoformat(),
            "admission": "queue",
        }
        return int(self.shop.call("POST", "/sales", terms)["id"])

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
        try:
            answer = connection.call_until_final(call, until=time.monotonic() + CALL_SECONDS)
        except NoFinalAnswer as error:
            raise SetupError(str(error)) from error
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
        ran = own_stack.manage(self.instance, arguments, BROKER_URL=self.broker_url)
        if ran.returncode != 0:
            raise SetupError(f"{arguments} ended with {ran.returncode}: {ran.stdout}{ran.stderr}")


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
        shop, buyers = _seed(instance, seen, broker_url)
        issuer = started.enter_context(_second_issuer(instance, offset_file, issuer_port))
        targets = instance.metrics_targets()
        targets["issuer"].append(f"{ports.HOST}:{issuer_port}")
        watched = started.enter_context(watchers.watching(instance, targets=targets))
        stage = Stage(
            instance=instance,
            shop=shop,
            buyers=buyers,
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
    program = shutil.which("redis-server", path=SEARCH_PATH)
    if program is None:
        raise SetupError("redis-server is missing; run this first: sudo apt-get install -y redis-server")
    options = {"bind": ports.HOST, "port": port, "save": "", "maxmemory-policy": "noeviction"}
    log = instance.home / "broker.log"
    child = children.start([program, *processes.words(options)], log=log, environment={})
    children.wait_until(
        lambda: ports.answers((ports.HOST, port)), name="the broker", child=child, log=log, within_seconds=30
    )
    return child


def _seed(instance: Instance, seen: Observations, broker_url: str) -> tuple[Shop, list[Account]]:
    tokens = instance.home / "tokens.json"
    arguments = f"seed_demo --users {ACCOUNTS} --tokens {tokens}"
    ran = own_stack.manage(instance, arguments, BROKER_URL=broker_url)
    if ran.returncode != 0:
        raise SetupError(f"seed_demo ended with {ran.returncode}: {ran.stdout}{ran.stderr}")
    known = json.loads(tokens.read_text())
    buyers = [Account(user["id"], user["access"]) for user in known["users"]]
    return Shop(instance, known["staff"], seen), buyers


@contextmanager
def _second_issuer(instance: Instance, offset_file: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """An issuer on another host, as it were: with a wall clock of its own, which is right at first."""
    faketime.set_offset(offset_file, 0)
    environment = environments.for_process("issuer", instance, supervision.environment(instance))
    environment |= {"METRICS_PORT": str(port), **faketime.environment(offset_file)}
    command = faketime.command(processes.command("issuer", instance, environment))
    log = instance.logs / "second-issuer.log"
    child = children.start(command, log=log, environment=environment)
    try:
        children.wait_until(
            lambda: ports.answers((ports.HOST, port)),
            name="the second issuer",
            child=child,
            log=log,
            within_seconds=60,
        )
        yield child
    finally:
        child.kill()
        child.wait()
        faketime.remove_shared_memory(child.pid)


def wait_until(is_so: Callable[[], object], *, what: str, within_seconds: float) -> None:
    """Return once it is so. Raises SetupError that says what is not."""
    until = time.monotonic() + within_seconds
    while not is_so():
        if time.monotonic() > until:
            raise SetupError(f"not within {within_seconds:.0f} s: {what}")
        time.sleep(0.2)
