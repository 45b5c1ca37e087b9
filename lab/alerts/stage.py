"""The stage of a run: a stack of its own, what watches it, and what causes of alerts need to be made.

Rules and routes are the committed ones, their durations alone are shortened. Waits become a sixtieth. Ranges
such as `[5m]` become 10 to 20 seconds: with less they hold too few scrapes, and with more a burn rate of
three days takes minutes to clear.
"""

import http.server
import itertools
import json
import os
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from lab import calls, stage as stages
from lab.calls import Account, Call, Connection, Observations
from lab.chaos import faults
from lab.chaos.campaigns import clocks
from lab.chaos.clients import at_work
from lab.chaos.faults import Fault
from lab.shop import Shop
from lab.stack import database, prometheus
from lab.stack.prometheus import Program, Prometheus
from scripts import alert_rules
from scripts.stack import (
    Words,
    children,
    own_stack,
    places,
    ports,
    processes,
    supervision,
    system_packages,
    waiting,
)
from scripts.stack.instance import Instance

ACCOUNTS = 120
NUMBERS = itertools.count(1)
PAUSE_SECONDS = 0.2
SETTLE_SECONDS = 60
SETTINGS = {
    **own_stack.NO_RATES,
    # Short times, so that what takes a quarter of an hour happens within seconds.
    "OPEN_ORDERS_PER_ACCOUNT": "10000",
    # Few threads are busy soon.
    "WEB_THREADS": "8",
    "SWEEP_SECONDS": "1",
    "AUDIT_SECONDS": "5",
    "RECONCILE_SECONDS": "5",
    "PAYMENT_GIVE_UP_SECONDS": "6",
}
# Of a range of ten seconds that is five scrapes; or two, on a machine that has more to do than it has cores:
# a process that answers late there is not down. A scrape may take as long. Rules are evaluated as often.
SCRAPE_SECONDS = 2.0
SLOWEST_SCRAPE_SECONDS = 4.0
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
Block = AbstractContextManager[object]


@dataclass
class Fired:
    """When an alert first fired, and when the last one of its name was resolved, by the monotonic clock; and
    to which receivers it went."""

    at: float
    cleared_at: float | None = None
    receivers: set[str] = field(default_factory=set)


Alerts = dict[str, Fired]  # By their names


def take(alerts: Alerts, receiver: str, notification: Any) -> None:
    """Record one notification of Alertmanager's, which has all alerts of a name."""
    name = notification["groupLabels"]["alertname"]
    is_firing = notification["status"] == "firing"
    if is_firing or name in alerts:
        fired = alerts.setdefault(name, Fired(time.monotonic()))
        fired.receivers.add(receiver)
        fired.cleared_at = None if is_firing else time.monotonic()


@contextmanager
def receiving(alerts: Alerts) -> Iterator[str]:
    """The address of a webhook on loopback, which has a path for each of Alertmanager's receivers."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            take(
                alerts, self.path.strip("/"), json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            )
            self.send_response_only(200)
            self.end_headers()

    # One notification at a time: what is recorded has no lock.
    with http.server.HTTPServer((ports.HOST, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{ports.HOST}:{server.server_port}"
        server.shutdown()


def shortened(text: str) -> str:
    """Rules or Alertmanager's configuration with shorter durations, and nothing else changed."""

    def short(found: re.Match[str]) -> str:
        before, number, unit, after = found.groups()
        seconds = max(1, int(number) * UNITS[unit] // 60)
        if after:
            seconds = min(20, max(10, seconds))
        return f"{before}{seconds}s{after}"

    waits = r"\bfor: |group_wait: |group_interval: |repeat_interval: "
    return re.sub(rf"(?m)(\[|{waits})(\d+)([smhd])(\]|$)", short, text)


@dataclass
class Caller:
    connection: Connection
    accounts: list[Account]
    make_call: Callable[[Account], Call]

    def run(self, stop: threading.Event) -> None:
        accounts = itertools.cycle(self.accounts)
        while not stop.wait(PAUSE_SECONDS):
            self.connection.call_once(self.make_call(next(accounts)))


@dataclass
class Stage:
    """A running stack with accounts, what watches it, and programs beside it by name. `rows` below are a
    table's, perhaps with a condition."""

    instance: Instance
    shop: Shop
    buyers: list[Account]
    prometheus: Prometheus
    alerts: Alerts
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
            count = database.value(self.instance, f"SELECT COUNT(*) FROM {rows}", *values)  # noqa: S608
            return bool(count >= number if number else count == 0)

        waiting.until(
            is_so, f"after {SETTLE_SECONDS} s there are not {number} {rows}", within_seconds=SETTLE_SECONDS
        )

    @contextmanager
    def locked(self, rows: str, *values: object, aged: tuple[str, ...] = ()) -> Iterator[None]:
        """Inside the block a transaction keeps the rows locked. A column of theirs may be aged before, by so
        much; the shop is frozen meanwhile, or it might come first."""
        frozen: set[int] = set()
        if aged:
            for name in processes.SHOP:
                frozen |= children.group_of(self.instance.run, name)
        with database.connected(self.instance) as connection, connection.cursor() as cursor:
            with stages.frozen(frozen):
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
        return self.shop.create_campaign("Alerts", strategy=strategy, **{"quantity": 100_000, **terms})

    def product(self) -> int:
        return self.shop.create_product("Alerts", next(NUMBERS), 100_000).id

    def ask(self, call: Call) -> Any:
        """The body of the call's final answer. Raises SetupError for none."""
        return self.shop.ask(call).body

    def at_gateway(self, path: str, body: Any) -> Any:
        """What the gateway has made. Raises SetupError for no answer."""
        gateway = calls.to_gateway(self.instance.gateway_port)
        call = Call("POST", path, "", body, str(uuid.uuid4()))
        return gateway.call_until_final(call, until=time.monotonic() + SETTLE_SECONDS).body

    def load(self, clients: int, make_call: Callable[..., Call], **terms: Any) -> Block:
        """Inside the block so many clients call, each by accounts of its own, whatever they are answered."""
        callers = []
        for number in range(clients):
            connection = Connection(self.instance.port, self.shop.seen, seed=f"client {number}")
            callers.append(Caller(connection, self.buyers[number::clients], partial(make_call, **terms)))
        return at_work(callers)

    def manage(self, arguments: str) -> None:
        """A management command. Raises SetupError when it fails."""
        url = f"redis://{self.programs['broker'].address}/0"
        children.printed(own_stack.manage(self.instance, arguments, BROKER_URL=url))


@contextmanager
def prepared(instance: Instance) -> Iterator[Stage]:
    """A stack with everything in place, and no alert. Raises SetupError."""
    alerts: Alerts = {}
    folder = places.private_folder(instance.home / "watchers")
    for path in [*alert_rules.FILES, alert_rules.ALERTMANAGER]:
        (folder / path.name).write_text(shortened(path.read_text()))
    with ExitStack() as started:
        broker = started.enter_context(own_broker(instance))
        url = f"redis://{broker.address}/0"
        clock = started.enter_context(clocks.moved(instance, "issuer=issuer"))
        started.enter_context(own_stack.running(instance, **SETTINGS, **clock, BROKER_URL=url))
        known = stages.seed(instance, ACCOUNTS, BROKER_URL=url)
        alertmanager = started.enter_context(
            own_alertmanager(folder, started.enter_context(receiving(alerts)))
        )
        redis = started.enter_context(prometheus.of_redis(instance, folder))
        mysql = started.enter_context(prometheus.of_mariadb(instance, folder, *exporter_options()))
        busy = os.getloadavg()[0] / (os.cpu_count() or 1) / 2
        exporters = {
            "redis": [redis.address],
            "mysql": [mysql.address],
            "alertmanager": [alertmanager.address],
        }
        rules = [folder / path.name for path in alert_rules.FILES]
        scrape_seconds = min(SLOWEST_SCRAPE_SECONDS, SCRAPE_SECONDS * max(1.0, busy))
        watching = prometheus.running(
            folder / "prometheus",
            targets={**instance.metrics_targets(), **exporters},
            rules=rules,
            alertmanagers=[alertmanager.address],
            scrape_seconds=scrape_seconds,
        )
        buyers = [Account(user["id"], user["access"]) for user in known["users"]]
        yield Stage(
            instance,
            shop=Shop(instance, known["staff"], Observations()),
            buyers=buyers,
            prometheus=started.enter_context(watching),
            alerts=alerts,
            programs={"broker": broker, "redis exporter": redis},
        )


def own_broker(instance: Instance) -> Program:
    """A Redis of its own as the broker, so that one can be away without the other."""
    return Program(
        instance.home / "broker.log",
        system_packages.program("redis-server"),
        *processes.words(
            {"bind": ports.HOST, "port": "{port}", "save": "", "maxmemory-policy": "noeviction"}
        ),
    )


def own_alertmanager(folder: Path, webhook: str) -> Program:
    return Program(
        folder / "alertmanager.log",
        sys.executable,
        f"{alert_rules.OPS}/monitoring/alertmanager.py",
        f"{folder}/alertmanager.yml",
        "--cluster.listen-address=",
        f"--storage.path={folder / 'data'}",
        "--web.listen-address={address}",
        PAGER_WEBHOOK_URL=f"{webhook}/pager",
        TICKET_WEBHOOK_URL=f"{webhook}/tickets",
        TMPDIR=str(folder),
    )


def exporter_options() -> Words:
    """Those of Compose's exporter of MySQL, but where its server is."""
    compose = yaml.safe_load((places.PROJECT / "docker-compose.yml").read_text())["services"]
    return [
        option for option in compose["mysql_exporter"]["command"][1:] if not option.startswith("--mysqld.")
    ]
