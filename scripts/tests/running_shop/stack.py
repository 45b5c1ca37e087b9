"""The running shop: the processes of `make run DB=mariadb`, started here, so that a test may kill any.

Its database server is of the kind that the tests run on.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import environ
import pytest
import urllib3
from django.conf import LazySettings, settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import override_settings

from accounts.tokens import token_pairs
from foundation.redis import redis_client
from foundation.tests.outages import connecting_to
from foundation.tests.racing import wait_until
from foundation.tests.servers import is_mariadb
from scripts.stack import (
    children,
    environment,
    instance as instances,
    own_stack,
    ports,
    processes,
    system_packages,
    throwaway,
)
from scripts.stack.instance import Instance
from shop import configuration

SETTINGS = {
    "PAYMENT_GIVE_UP_SECONDS": "30",
    "TIME_ZONE": "UTC",
    "PAYMENT_ACTION_SECONDS": "60",
    "IDEMPOTENCY_LEASE_SECONDS": "4",
    "OPEN_ORDERS_PER_ACCOUNT": "10000",
    # Workers advance all payments, but where a test says otherwise.
    "WEB_PAYMENTS": "0",
    "GATEWAY_LATENCY_MS": "10",
    "GATEWAY_TIMEOUT_SECONDS": "1",
    "SWEEP_SECONDS": "2",
    "RECONCILE_SECONDS": "20",
    # Audits are the tests' own.
    "AUDIT_SECONDS": "0",
    # As in production.
    "STAFF_OTP_REQUIRED": "1",
    "LOG_LEVEL": "INFO",
    "PARTNER_FAILURE_RATE": "0",
    **own_stack.NO_RATES,
}
"""Short times, so that what a kill leaves undone ends within a test."""
SIMULATORS = ("gateway", "sink", "partner")
SHOP = ("web", "worker", "beat")
START_SECONDS = 60
OUTSIDE = ("GATEWAY_URL", "DATA_PLATFORM_URL", "PARTNER_URL", "EVENT_SECRET", "WEBHOOK_SECRET_SIMULATOR")
"""Settings of the outside systems that the test's own process shares with the shop."""
HTTP = urllib3.PoolManager(maxsize=64, retries=False, timeout=30)


class RunningShop:
    """A private database server, Redis, a broker, two web processes, a worker, beat, and the simulators."""

    def __init__(self, home):
        port, (server, root) = ports.free(instances.PORTS), throwaway.DATABASES[os.environ[throwaway.KIND]]
        self.instance = Instance(home=home, port=port, database="mariadb", server=server, root=root)
        self.address = self.instance.url
        for folder in ("run", "logs", "data", "static", "metrics"):
            getattr(self.instance, folder).mkdir(parents=True)
        self._broker = ports.free()
        self.broker_url = f"redis://{ports.HOST}:{self._broker}/0"
        names = environment.defaults(self.instance)
        outer = {name: value for name, value in os.environ.items() if name not in names}
        # The test signs tokens and sessions for the shop.
        own = SETTINGS | {"SECRET_KEY": settings.SECRET_KEY, "BROKER_URL": self.broker_url}
        self.environment = environment.compose(self.instance, outer | own)
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self._worker_log_began_at = 0

    def boot(self):
        with ThreadPoolExecutor(1) as pool:
            prepared = pool.submit(self.instance.mariadb().prepare)
            for name in ("redis", "broker", *SIMULATORS):
                self.launch(name)
            with override_settings(STATIC_ROOT=str(self.instance.static)):
                call_command("collectstatic", interactive=False, verbosity=0)
            dump = _dump()
            prepared.result()
        self.start("mariadb")
        words = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
        if dump:
            words = client_command("mariadb", environ.Env.db_url_config(self.environment["DATABASE_URL"]))
        subprocess.run(words, env=self.environment, input=dump, check=True, text=True)
        for name in SHOP:
            self.launch(name)
        self.wait_until_ready()

    def end(self):
        for name in reversed(self.children):
            self.children[name].send_signal(signal.SIGTERM if name in SHOP else signal.SIGKILL)
        for child in self.children.values():
            children.stop(child, number=0)

    def launch(self, name: str):
        if name == "worker" and self.log(name).exists():
            self._worker_log_began_at = self.log(name).stat().st_size
        child = children.start(
            self._command(name),
            log=self.log(name),
            environment=environment.for_process(name, self.instance, self.environment),
        )
        self.children[name] = child

    def start(self, name: str):
        """Start the process; returns once it answers."""
        self.launch(name)
        self.wait_until_up(name)

    def wait_until_up(self, name: str):
        child, log = self.children[name], self.log(name)
        children.wait_until(
            self._answers(name), name=name, child=child, log=log, within_seconds=START_SECONDS
        )

    def kill(self, name: str):
        """End the process like a crash; returns once it is gone."""
        self.children[name].kill()
        self.children[name].wait()

    @contextmanager
    def frozen(self, name: str):
        """The process stands still until the block ends."""
        self.children[name].send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.children[name].send_signal(signal.SIGCONT)

    @contextmanager
    def away(self, name: str):
        """The process is killed, and started again at the end of the block, until the shop is ready."""
        self.kill(name)
        try:
            yield
        finally:
            self.start(name)
            self.wait_until_ready()

    def repair(self) -> list[str]:
        """Start each process that has ended; returns the names of those."""
        ended = [name for name, child in self.children.items() if child.poll() is not None]
        for name in ended:
            self.start(name)
        self.wait_until_ready()
        return ended

    def log(self, name: str) -> Path:
        return self.instance.logs / f"{name}.log"

    def web_processes(self) -> set[int]:
        """The ids of the processes that serve, without their supervisor's."""
        found = Path(f"/proc/{self.children['web'].pid}/task/{self.children['web'].pid}/children")
        return {int(word) for word in found.read_text().split()}

    def wait_until_ready(self):
        """Return once `/readyz` answers 200, both web processes answer, and the worker takes tasks."""
        wait_until(lambda: self.down() == [], seconds=START_SECONDS)
        with ExitStack() as opened:
            answering = set[int]()

            def both_answer():
                # It stays open: a new connection goes to the process that has fewer.
                client = HTTPConnection(ports.HOST, self.instance.port, timeout=20)
                opened.callback(client.close)
                with suppress(OSError):
                    client.request("GET", "/healthz")
                    client.sock.recv(1, socket.MSG_PEEK)
                    answering.add(self.process_serving(client))
                return len(answering & self.web_processes()) == 2

            wait_until(both_answer, seconds=START_SECONDS)
        self.wait_until_up("worker")

    def process_serving(self, client: HTTPConnection) -> int:
        """The web process at the other end of the connection; 0 if none has taken it yet."""
        near, far = client.sock.getsockname()[1], self.instance.port
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        inodes = [row[9] for row in rows if [_port(row[1]), _port(row[2])] == [far, near]]
        sockets = {f"socket:[{inode}]" for inode in inodes}
        return next((pid for pid in self.web_processes() if sockets & _open_files(pid)), 0)

    def down(self) -> list[str] | None:
        """What `/readyz` names as down; None if it doesn't answer."""
        try:
            answer = HTTP.request("GET", f"{self.address}/readyz")
        except urllib3.exceptions.HTTPError:
            return None
        assert (answer.status == 200) == (answer.json()["down"] == [])
        return answer.json()["down"]

    def call(
        self, account: User | None, method: str, path: str, body=None, *, key="", **headers: str
    ) -> urllib3.BaseHTTPResponse:
        """A call of the API, signed in as the account."""
        if account:
            headers["Authorization"] = f"Bearer {token_pairs.create_access_token(account)}"
        if key:
            headers["Idempotency-Key"] = key
        return HTTP.request(method, f"{self.address}/api/v1{path}", json=body, headers=headers)

    def text(self, path: str) -> str:
        """The body of a page that needs no sign-in."""
        return HTTP.request("GET", f"{self.address}{path}").data.decode()

    def received_events(self, order_id: str) -> list[str]:
        """The types of the order's events that the data platform has."""
        url = f"{self.environment['DATA_PLATFORM_URL']}/events?order={order_id}"
        return [event["type"] for event in HTTP.request("GET", url).json()["results"]]

    def _command(self, name):
        if name != "broker":
            return processes.command(name, self.instance, self.environment)
        options = {"bind": ports.HOST, "port": self._broker, "save": "", "dir": self.instance.run}
        return [system_packages.program("redis-server"), *processes.words(options)]

    def _answers(self, name):
        if name == "worker":
            return lambda: b" ready." in self.log(name).read_bytes()[self._worker_log_began_at :]
        first = self.instance.port
        places: Mapping[str, ports.Address] = {
            "mariadb": self.instance.mariadb_socket,
            "redis": self.instance.redis_socket,
            "broker": (ports.HOST, self._broker),
            "web": (ports.HOST, first),
            "beat": (ports.HOST, first + instances.METRICS_PORTS["beat"]),
            "gateway": (ports.HOST, self.instance.gateway_port),
            "sink": (ports.HOST, self.instance.data_platform_port),
            "partner": (ports.HOST, self.instance.partner_port),
        }
        return places[name]


@contextmanager
def used_by_this_process(shop: RunningShop, settings: LazySettings, patched: pytest.MonkeyPatch):
    """Rows, Redis and outside systems of this process, and of others that it starts, are the shop's."""
    for name in ("DATABASE_URL", "REDIS_URL", "BROKER_URL", *OUTSIDE):
        patched.setenv(name, shop.environment[name])
    for name in OUTSIDE:
        setattr(settings, name, shop.environment[name])
    location = {"LOCATION": shop.environment["REDIS_URL"]}
    settings.CACHES = {"default": settings.CACHES["default"] | location}
    redis_client.reset()
    own = configuration.database("DATABASE_URL")
    address = {name: own[name] for name in ("NAME", "USER", "PASSWORD", "HOST", "PORT")}
    with connecting_to(options=own["OPTIONS"], **address):
        try:
            yield
        finally:
            redis_client.reset()


def _dump():
    """The tables of the test's database with the rows of migrations, which is faster than to migrate again.

    Empty where no other test of the run needs that database, or its server is MySQL.
    """
    used = connection.settings_dict
    if not is_mariadb() or not connection.introspection.table_names():
        return ""
    command = client_command("mariadb-dump", used, "--single-transaction", "--skip-comments")
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def client_command(program: str, used: Mapping[str, Any], *options: str) -> list[str]:
    """A program of MariaDB's, signed in to this database."""
    words = {"user": used["USER"], "password": used["PASSWORD"], "socket": used["OPTIONS"]["unix_socket"]}
    return [program, *(f"--{name}={word}" for name, word in words.items()), *options, used["NAME"]]


def _port(address):
    return int(address.partition(":")[2], 16)


def _open_files(process):
    with suppress(OSError):
        return {str(path.readlink()) for path in Path(f"/proc/{process}/fd").iterdir()}
    return set()
